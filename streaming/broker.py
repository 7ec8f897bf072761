"""What the streams ask of a broker, and one in memory for tests; :mod:`streaming.kafka` speaks Kafka."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Record(Protocol):
    """One message as it was read (kafka-python's ConsumerRecord fits)."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Chunk(NamedTuple):
    """Consecutive records of one partition."""

    partition: Partition
    records: Sequence[Record]


class BrokerDown(Exception):
    """The broker did not take or give what was asked; try again."""


class Producer(Protocol):
    """Sends messages, in order within a partition."""

    def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Hand over a message; it may wait in a buffer. Raises :class:`BrokerDown`."""
        ...

    def flush(self, timeout: float) -> None:
        """Wait until everything handed over is acknowledged. Raises :class:`BrokerDown` when something was not."""
        ...

    def close(self) -> None:
        """Let go; what is not acknowledged may be lost."""
        ...


class Consumer(Protocol):
    """Reads the partitions that its group gives it; new partitions are paused until :meth:`seek` is called."""

    def poll(self, timeout: float, limit: int) -> list[Chunk]:
        """Records of partitions that are not paused, at most ``limit``."""
        ...

    def changes(self) -> tuple[set[Partition], set[Partition]]:
        """Partitions assigned and revoked since the last call."""
        ...

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Go on reading there, and start delivering."""
        ...

    def pause(self, partitions: Iterable[Partition]) -> None: ...
    def resume(self, partitions: Iterable[Partition]) -> None: ...

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Offset after the newest record of each partition. Raises :class:`BrokerDown`."""
        ...

    def close(self) -> None: ...


class Broker(Protocol):
    """A log of topics."""

    def ensure(self, topics: Mapping[str, int]) -> None:
        """Make the topics that are missing, with that many partitions. Raises :class:`BrokerDown`."""
        ...

    def epochs(self, topics: Iterable[str]) -> dict[str, str]:
        """Identity of each topic's log: another one after the broker has lost it. Raises :class:`BrokerDown`."""
        ...

    def producer(self) -> Producer: ...
    def consumer(self, group: str, topics: Sequence[str]) -> Consumer: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A message in a partition."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class MemoryBroker:
    """Topics as lists, with consumer groups. ``down`` makes every call raise :class:`BrokerDown`.

    Example:
        >>> broker = MemoryBroker()
        >>> broker.ensure({"posts": 1})
        >>> broker.producer().send("posts", b"key", b"value")
        >>> broker.lose_everything()  # what a restart of the packaged broker does
    """

    logs: dict[Partition, list[MemoryRecord]] = field(default_factory=dict)
    down: bool = False
    _epoch: dict[str, str] = field(default_factory=dict)
    _members: dict[str, list[MemoryConsumer]] = field(default_factory=dict)
    _serial: itertools.count[int] = field(default_factory=itertools.count)

    def check(self) -> None:
        """Raise when the broker is meant to be away."""
        if self.down:
            raise BrokerDown("the broker in memory is switched off")

    def ensure(self, topics: Mapping[str, int]) -> None:
        self.check()
        for topic, count in topics.items():
            if topic not in self._epoch:
                self._epoch[topic] = f"memory-{next(self._serial)}"
                self.logs.update({Partition(topic, n): [] for n in range(count)})
        self._rebalance_all()

    def epochs(self, topics: Iterable[str]) -> dict[str, str]:
        self.check()
        return {t: self._epoch[t] for t in topics if t in self._epoch}

    def lose_everything(self) -> None:
        """What a restart does to a broker that keeps its log in memory."""
        self.logs.clear()
        self._epoch.clear()
        for consumer in itertools.chain.from_iterable(self._members.values()):
            consumer.assign(set())

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self)

    def consumer(self, group: str, topics: Sequence[str]) -> MemoryConsumer:
        consumer = MemoryConsumer(self, group, tuple(topics))
        self._members.setdefault(group, []).append(consumer)
        self._rebalance(group)
        return consumer

    def leave(self, consumer: MemoryConsumer) -> None:
        """Take a consumer out of its group."""
        members = self._members[consumer.group]
        if consumer in members:
            members.remove(consumer)
            self._rebalance(consumer.group)

    def close(self) -> None:
        self._members.clear()

    def _rebalance_all(self) -> None:
        for group in self._members:
            self._rebalance(group)

    def _rebalance(self, group: str) -> None:
        members = self._members[group]
        for place, member in enumerate(members):
            mine = sorted(p for p in self.logs if p.topic in member.topics)
            member.assign(set(mine[place :: len(members)]))


@dataclass
class MemoryProducer:
    """Appends at once."""

    broker: MemoryBroker

    def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        self.broker.check()
        count = sum(p.topic == topic for p in self.broker.logs)
        if not count:
            raise BrokerDown(f"there is no topic {topic}")
        log = self.broker.logs[Partition(topic, zlib.crc32(key) % count)]
        log.append(MemoryRecord(len(log), key, value, tuple(headers)))

    def flush(self, timeout: float) -> None:
        self.broker.check()

    def close(self) -> None:
        return None


@dataclass(eq=False)
class MemoryConsumer:
    """A member of a group; partitions stand still until :meth:`seek`."""

    broker: MemoryBroker
    group: str
    topics: tuple[str, ...]
    _at: dict[Partition, int] = field(default_factory=dict)
    _held: set[Partition] = field(default_factory=set)
    _mine: set[Partition] = field(default_factory=set)
    _given: set[Partition] = field(default_factory=set)
    _taken: set[Partition] = field(default_factory=set)

    def assign(self, partitions: set[Partition]) -> None:
        """Called by the broker at a rebalance."""
        self._taken |= self._mine - partitions
        self._given = (self._given | (partitions - self._mine)) & partitions
        self._mine = set(partitions)
        self._at = {p: at for p, at in self._at.items() if p in partitions}

    def changes(self) -> tuple[set[Partition], set[Partition]]:
        given, taken, self._given, self._taken = self._given, self._taken, set(), set()
        return given, taken

    def poll(self, timeout: float, limit: int) -> list[Chunk]:
        if self.broker.down:
            return []
        chunks = []
        for partition, at in sorted(self._at.items()):
            records = self.broker.logs[partition][at : at + limit] if partition not in self._held else []
            if records:
                chunks.append(Chunk(partition, records))
                self._at[partition] = at + len(records)
                limit -= len(records)
        return chunks

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        self._at.update({p: at for p, at in offsets.items() if p in self._mine})

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._held |= set(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._held -= set(partitions)

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        self.broker.check()
        return {p: len(self.broker.logs.get(p, ())) for p in partitions}

    def close(self) -> None:
        self.broker.leave(self)
