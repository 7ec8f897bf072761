"""The broker over kafka-python: Apache Kafka, or anything that speaks its protocol."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from streaming.broker import BrokerDown, Chunk, Partition

_CLIENT_LIMITS = {
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 1000,
    "request_timeout_ms": 10_000,
    "bootstrap_timeout_ms": 5_000,
}
_DELIVERY_MS = 15_000
"""A message not acknowledged by then counts as lost; its source reads again from its stored cursor."""

MOST_BYTES = 8 << 20
"""Longest message that travels: far more than is ever stored, so that what is too long is refused with its bytes."""

LINGER_MS = 50
"""Milliseconds that a message waits for others, to be sent in one batch: brokers pay per batch."""

SESSION_MS = 6_000
"""Silence after which a member's partitions go to others; Apache Kafka takes nothing shorter by default."""

QUICK_MS = 3_000
"""The same for the packaged broker: it forms a group after half of this, and frees a dead member's place after twice."""

_NO_ID = "00000000-0000-0000-0000-000000000000"


def partition_of(key: bytes, count: int) -> int:
    """The partition, of ``count``, that messages with this key go to."""
    return zlib.crc32(key) % count


def knock(bootstrap: str) -> None:
    """Check quickly that somebody listens: kafka-python would try for seconds and leave sockets behind.

    Raises:
        BrokerDown: no address of the list takes a connection.
    """
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host, int(port)), timeout=3.0):
            return
    raise BrokerDown("nobody listens at KAFKA_BOOTSTRAP")


class KafkaBroker:
    """Topics, producers and consumers of one Kafka-protocol cluster.

    ``member``: a name that this process keeps over restarts. A member of that name gets its partitions back at once when
    it comes again, and they stay with it for the session's length when it goes.
    """

    def __init__(self, bootstrap: str, member: str = "") -> None:
        self._bootstrap = bootstrap
        self._member = member
        self._admin: Any = None
        self._lock = threading.Lock()

    def ensure(self, topics: Mapping[str, int]) -> None:
        present = self.epochs(topics)
        for name, partitions in topics.items():
            if name not in present:
                with suppress(TopicAlreadyExistsError):
                    size = {"max.message.bytes": str(MOST_BYTES)}
                    self._ask("create_topics", [NewTopic(name, partitions, 1, topic_configs=size)])

    def epochs(self, topics: Iterable[str]) -> dict[str, str]:
        described = self._ask("describe_topics", list(topics))
        ids = {t["name"]: str(t["topic_id"]) for t in described if not t["error_code"]}
        if _NO_ID in ids.values():
            cluster = str(self._ask("describe_cluster")["cluster_id"])
            return dict.fromkeys(ids, cluster)
        return ids

    def producer(self) -> KafkaSender:
        return KafkaSender(self._bootstrap, idempotent=not self._packaged())

    def consumer(self, group: str, topics: Sequence[str]) -> KafkaReader:
        """A member of the group; with the packaged broker the group's name carries the identity of the log.

        That broker hangs a group for ever when a member from before its restart speaks to it, and when a member leaves
        while another is joining: there a member that goes falls silent instead.
        """
        if not self._packaged():
            return KafkaReader(self._bootstrap, group, topics, SESSION_MS, self._member)
        log = self.epochs(topics).get(topics[0], "")
        return KafkaReader(self._bootstrap, f"{group}-{log[-12:]}", topics, QUICK_MS, leaves=False)

    def close(self) -> None:
        with self._lock:
            self._forget_admin()

    def _packaged(self) -> bool:
        """Whether this is the broker from the wheel, which forgets producers and groups when it restarts."""
        return "tansu" in str(self._ask("describe_cluster")["cluster_id"])

    def _ask(self, question: str, *args: Any) -> Any:
        with self._lock:
            try:
                if self._admin is None:
                    knock(self._bootstrap)
                    self._admin = KafkaAdminClient(bootstrap_servers=self._bootstrap, **_CLIENT_LIMITS)
                return getattr(self._admin, question)(*args)
            except TopicAlreadyExistsError:
                raise
            except (KafkaError, OSError) as error:
                self._forget_admin()
                raise BrokerDown(f"the broker does not answer ({type(error).__name__})") from error

    def _forget_admin(self) -> None:
        if self._admin is not None:
            with suppress(KafkaError, OSError):
                self._admin.close()
            self._admin = None


class KafkaSender:
    """A producer (acks=all, lz4, in order); after the first message that fails it takes no more, so that no gap arises.

    Idempotent where the broker remembers its producers. The packaged one gives the same producer id again after a restart
    and then refuses the sequence numbers; there one request at a time keeps the order, and the database refuses doubles.
    """

    def __init__(self, bootstrap: str, *, idempotent: bool) -> None:
        self._error: BaseException | None = None
        self._counts: dict[str, int] = {}
        knock(bootstrap)
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap,
                acks="all",
                enable_idempotence=idempotent,
                max_in_flight_requests_per_connection=5 if idempotent else 1,
                compression_type="lz4",
                linger_ms=LINGER_MS,
                batch_size=256 * 1024,
                max_request_size=MOST_BYTES,
                max_block_ms=_DELIVERY_MS,
                delivery_timeout_ms=_DELIVERY_MS,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                **_CLIENT_LIMITS,
            )
        except (KafkaError, OSError) as error:
            raise BrokerDown(f"no producer could be made ({type(error).__name__})") from error

    def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        if self._error is not None:
            raise BrokerDown(f"a message was not acknowledged ({type(self._error).__name__})") from self._error
        try:
            number = partition_of(key, self._partitions(topic))
            sent = self._producer.send(topic, value=value, key=key, headers=list(headers), partition=number)
        except (KafkaError, OSError) as error:
            self._error = error
            raise BrokerDown(f"a message was not taken ({type(error).__name__})") from error
        sent.add_errback(self._spoil)

    def flush(self, timeout: float) -> None:
        try:
            self._producer.flush(timeout=timeout)
        except (KafkaError, OSError) as error:
            self._error = self._error or error
        if self._error is not None:
            raise BrokerDown(f"a message was not acknowledged ({type(self._error).__name__})") from self._error

    def close(self) -> None:
        with suppress(KafkaError, OSError):
            self._producer.close(timeout=0 if self._error else 5, null_logger=True)

    def _spoil(self, error: BaseException) -> None:
        self._error = self._error or error

    def _partitions(self, topic: str) -> int:
        if topic not in self._counts:
            partitions = self._producer.partitions_for(topic)
            if not partitions:
                raise BrokerDown(f"there is no topic {topic}")
            self._counts[topic] = len(partitions)
        return self._counts[topic]


class _Changes(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what a rebalance did; the callbacks run on the client's own loop and must not wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.given: set[Partition] = set()
        self.taken: set[Partition] = set()
        self.consumer: Any = None

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        assigned = list(assigned)
        self.consumer.pause(*assigned)
        with self.lock:
            self.given |= {Partition(p.topic, p.partition) for p in assigned}

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        gone = {Partition(p.topic, p.partition) for p in revoked}
        with self.lock:
            self.taken |= gone
            self.given -= gone


class KafkaReader:
    """A member of a consumer group; offsets live in the database, so nothing is committed to Kafka."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        session_ms: int,
        member: str = "",
        *,
        leaves: bool = True,
    ) -> None:
        self._changes = _Changes()
        self._leaves = leaves
        knock(bootstrap)
        try:
            self._consumer = KafkaConsumer(
                bootstrap_servers=bootstrap,
                group_id=group,
                group_instance_id=member or None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=session_ms // 6,
                max_poll_interval_ms=60_000,
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=4 << 20,
                fetch_max_bytes=16 << 20,
                allow_auto_create_topics=False,
                metadata_max_age_ms=30_000,
                metrics_enabled=False,
                **_CLIENT_LIMITS,
            )
        except (KafkaError, OSError) as error:
            raise BrokerDown(f"no consumer could be made ({type(error).__name__})") from error
        self._changes.consumer = self._consumer
        self._consumer.subscribe(list(topics), listener=self._changes)

    def poll(self, timeout: float, limit: int) -> list[Chunk]:
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=limit)
        except (KafkaError, OSError) as error:
            raise BrokerDown(f"reading failed ({type(error).__name__})") from error
        return [Chunk(Partition(p.topic, p.partition), records) for p, records in polled.items()]

    def changes(self) -> tuple[set[Partition], set[Partition]]:
        with self._changes.lock:
            given, taken = self._changes.given, self._changes.taken
            self._changes.given, self._changes.taken = set(), set()
        return given, taken

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            if (there := TopicPartition(*partition)) in self._consumer.assignment():
                self._consumer.seek(there, offset)
                self._consumer.resume(there)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._consumer.pause(*self._own(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._consumer.resume(*self._own(partitions))

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        try:
            offsets = self._consumer.end_offsets([TopicPartition(*p) for p in partitions], timeout_ms=5_000)
        except (KafkaError, OSError) as error:
            raise BrokerDown(f"the ends are not known ({type(error).__name__})") from error
        return {Partition(p.topic, p.partition): offset for p, offset in offsets.items()}

    def close(self) -> None:
        with suppress(KafkaError, OSError):
            if not self._leaves:
                self._consumer._coordinator.reset_generation()  # without a member's id close() sends no LeaveGroup
            self._consumer.close(autocommit=False, timeout_ms=3_000)

    def _own(self, partitions: Iterable[Partition]) -> list[Any]:
        mine = self._consumer.assignment()
        return [there for p in partitions if (there := TopicPartition(*p)) in mine]
