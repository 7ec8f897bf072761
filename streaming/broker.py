"""What the streams ask of a broker; :mod:`streaming.kafka` speaks Kafka, :mod:`streaming.memory` is for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
