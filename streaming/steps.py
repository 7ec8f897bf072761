"""The sink's pipeline as small steps, after arroyo: each takes an item or raises :class:`Full`, to be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from db.queries.streams import DeadLetter, Move
from domain.candles import NO_CANDLES, CandleColumns, join
from domain.clock import Clock
from domain.types import Post
from streaming.broker import Partition

Item_contra = TypeVar("Item_contra", contravariant=True)


class Full(Exception):
    """The step cannot take more now; the same item is to be offered again later."""


class Step(Protocol[Item_contra]):
    """One step of a pipeline."""

    def submit(self, item: Item_contra) -> None:
        """Take the item, or raise :class:`Full` and leave everything as it was."""
        ...

    def poll(self) -> None:
        """Do what time brings; called often."""
        ...

    def flush(self) -> bool:
        """Push on what is held; True when nothing is held any more."""
        ...

    def drop(self, partitions: Iterable[Partition] | None = None) -> None:
        """Forget what is held of these partitions (of all by default): another consumer has them now."""
        ...


@dataclass(slots=True)
class Decoded:
    """Consecutive records of one partition, checked."""

    partition: Partition
    epoch: str
    expected: int
    next: int
    candles: CandleColumns = NO_CANDLES
    posts: list[Post] = field(default_factory=list)
    scored: set[str] = field(default_factory=set)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    apart: Callable[[str], Sequence[Decoded]] = lambda reason: ()
    """The same records in two parts; a single one as a dead letter with this reason."""

    @property
    def rows(self) -> int:
        return len(self.candles.at) + len(self.posts) + len(self.dead_letters)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores."""

    moves: list[Move]
    candles: CandleColumns
    posts: list[Post]
    scored: set[str]
    dead_letters: list[DeadLetter]
    spans: list[tuple[str, int, int]]

    @property
    def rows(self) -> int:
        return len(self.candles.at) + len(self.posts) + len(self.dead_letters)


def merge(parts: Sequence[Decoded]) -> Batch:
    """One batch of consecutive parts; per partition its first expected and last next offset."""
    moves: dict[Partition, Move] = {}
    for part in parts:
        known = moves.get(part.partition)
        expected = known.expected if known else part.expected
        moves[part.partition] = Move(*part.partition, part.epoch, expected, part.next)
    return Batch(
        moves=[moves[p] for p in sorted(moves)],
        candles=join([part.candles for part in parts]),
        posts=[post for p in parts for post in p.posts],
        scored={post_id for p in parts for post_id in p.scored},
        dead_letters=[dead_letter for p in parts for dead_letter in p.dead_letters],
        spans=[span for p in parts for span in p.spans],
    )


def halves(parts: Sequence[Decoded], reason: str) -> list[Sequence[Decoded]]:
    """Smaller batches to store one after the other in place of ``parts``, whose values the database refused."""
    if len(parts) == 1:
        return [[part] for part in parts[0].apart(reason)]
    middle = len(parts) // 2
    return [parts[:middle], parts[middle:]]


class Gather:
    """Collects parts into batches of up to ``rows`` rows or ``seconds`` of waiting; holds at most twice that."""

    def __init__(self, sink: Step[Sequence[Decoded]], clock: Clock, rows: int, seconds: float) -> None:
        self._sink = sink
        self._clock = clock
        self._limit = rows
        self._seconds = seconds
        self._parts: list[Decoded] = []
        self._held = 0
        self._since = 0.0

    def submit(self, item: Decoded) -> None:
        if self._held >= 2 * self._limit:
            self._hand_over()
        if not self._parts:
            self._since = self._clock.monotonic()
        self._parts.append(item)
        self._held += item.rows
        if self._held >= self._limit:
            self._try()

    def poll(self) -> None:
        self._sink.poll()
        if self._parts and (self._held >= self._limit or self._clock.monotonic() - self._since >= self._seconds):
            self._try()

    def flush(self) -> bool:
        if self._parts:
            self._try()
        return self._sink.flush() and not self._parts

    def drop(self, partitions: Iterable[Partition] | None = None) -> None:
        gone = None if partitions is None else set(partitions)
        self._parts = [] if gone is None else [p for p in self._parts if p.partition not in gone]
        self._held = sum(p.rows for p in self._parts)
        self._sink.drop(partitions)

    def _try(self) -> None:
        try:
            self._hand_over()
        except Full:
            return

    def _hand_over(self) -> None:
        self._sink.submit(self._parts)
        self._parts, self._held = [], 0
