"""The sink's pipeline as small steps, after arroyo: each takes an item or raises :class:`Full`, to be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram

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


ROWS = Counter("moodtape_stream_rows_total", "Rows stored", ["kind"])
DUPLICATES = Counter("moodtape_stream_duplicates_total", "Rows that were stored already", ["kind"])
DEAD_LETTERS = Counter("moodtape_stream_dead_letters_total", "Messages refused", ["topic"])
FENCED = Counter("moodtape_stream_fenced_total", "Batches refused because another consumer had moved the offsets")
BATCH_SECONDS = Histogram(
    "moodtape_stream_batch_seconds",
    "Time of one transaction",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LAG = Gauge("moodtape_stream_lag_messages", "Messages not read yet", ["topic"])
CANDLE_AGE = Gauge("moodtape_candle_age_seconds", "Age of the newest stored candle", ["exchange", "symbol"])
SENT = Counter("moodtape_feed_rows_total", "Rows that sources sent", ["source"])
RECONNECTS = Counter("moodtape_feed_reconnects_total", "Times a source was started again", ["source"])
STALLS = Counter("moodtape_feed_stalls_total", "Markets whose websocket was silent while they moved", ["source"])
BUSY = Counter("moodtape_exchange_busy_total", "Answers that asked us to wait (429)", ["exchange"])
UNREADABLE = Counter("moodtape_feed_unreadable_total", "Events of a source that could not be read", ["source"])
SKIPPED = Counter("moodtape_feed_skipped_total", "Times a source had more new items than are read at once", ["source"])
REFUSED = Gauge(
    "moodtape_feed_refused",
    "1 while a source or one of its markets is refused and tried again slowly",
    ["source", "item"],
)
GAPS = Counter("moodtape_candle_gaps_total", "Holes between stored candles that were recorded")
OUTCOMES = Counter("moodtape_predictions_scored_total", "Predictions whose outcome became known")
REWINDS = Counter("moodtape_feed_rewinds_total", "Times a source went back to its stored cursor", ["source"])
BROKER_UP = Gauge("moodtape_broker_up", "1 while the broker answers")
