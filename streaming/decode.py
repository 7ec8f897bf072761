"""The first step: bytes into checked rows. What cannot be stored becomes a dead letter; too many of them stop the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from db.queries.streams import DeadLetter
from domain.candles import CandleColumns, MarketKey
from domain.clock import Clock
from domain.errors import MoodtapeError
from streaming import steps
from streaming.broker import Chunk, Partition, Record
from streaming.messages import CandleMessage, PostMessage, decode, span_of
from streaming.steps import Decoded, Step
from streaming.validate import candle_reasons, market_key, refuse_unstorable, summary, to_post


class TooManyRefused(MoodtapeError):
    """So many messages could not be stored that something else must be wrong; the process ends with status 70."""

    code = "dead_letter_limit"


class Assigned(NamedTuple):
    """A chunk with the log's identity and the offset that the database must hold when it is committed."""

    chunk: Chunk
    epoch: str
    expected: int


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    bad: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many refused messages are too many, per partition: ``row`` in a row, or a ``share`` of the recent ones."""

    share: float = 0.05
    row: int = 100
    least: int = 400
    """Messages that must have been seen before a share means anything."""


@dataclass(slots=True)
class _Candles:
    """Columns in the making; an entry of the first four lists stands for one message, which holds ``sizes`` rows."""

    records: list[int] = field(default_factory=list)
    """Number of each message's record in its chunk."""
    keys: list[MarketKey] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    final: list[bool] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    bars: tuple[list[float], ...] = field(default_factory=lambda: ([], [], [], [], []))

    def add(self, record: int, key: MarketKey, message: CandleMessage) -> None:
        """Take the rows of a message.

        Raises:
            ValueError: its columns do not belong together.
        """
        at, columns = message.at, (message.open, message.high, message.low, message.close, message.volume)
        if isinstance(at, list):
            lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
            size = len(at) if lengths == {len(at)} else 0
        else:
            size = 0 if list in map(type, columns) else 1
        if not size:
            raise ValueError("the columns of the message are empty or of different lengths")
        if isinstance(at, list):
            self.at.extend(at)
            for values, column in zip(self.bars, columns, strict=True):
                values.extend(column)  # type: ignore[arg-type]  # a list, as the lengths have told
        else:
            self.at.append(at)
            for values, column in zip(self.bars, columns, strict=True):
                values.append(column)  # type: ignore[arg-type]  # a number, as the types have told
        self.records.append(record)
        self.keys.append(key)
        self.sizes.append(size)
        self.final.append(message.final)

    def checked(self, now: float) -> tuple[CandleColumns, dict[int, str]]:
        """The good candles, and for each record with wrong ones the reason."""
        places: dict[MarketKey, int] = {}
        candles = CandleColumns(
            market=np.repeat([places.setdefault(key, len(places)) for key in self.keys], self.sizes),
            markets=list(places),
            at=np.array(self.at, dtype=np.int64),
            bars=np.array(self.bars, dtype=np.float64).T,
            final=np.repeat(self.final, self.sizes),
        )
        wrong = candle_reasons(candles.at, candles.bars, now)
        if not wrong:
            return candles, {}
        keep = np.ones(len(candles), dtype=bool)
        keep[list(wrong)] = False
        return candles.take(keep), self._reasons(wrong)

    def _reasons(self, wrong: dict[int, str]) -> dict[int, str]:
        """One sentence for each record that holds wrong rows."""
        ends, sizes = np.cumsum(self.sizes), self.sizes
        by_message: dict[int, dict[int, str]] = {}
        for row in sorted(wrong):
            place = int(np.searchsorted(ends, row, side="right"))
            by_message.setdefault(place, {})[row - int(ends[place]) + sizes[place]] = wrong[row]
        return {
            self.records[place]: rows[0] if sizes[place] == 1 else summary(rows, sizes[place])
            for place, rows in by_message.items()
        }


def _go_past(out: Decoded, record: Record) -> None:
    """Let the stream of a refused record go on."""
    span = span_of(record.value or b"")
    if span is not None and span not in out.spans[-1:]:
        out.spans.append(span)


def _refuse(out: Decoded, record: Record, reason: str) -> None:
    """Make a record a dead letter; its bytes are kept."""
    readable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in reason)
    out.dead_letters.append(
        DeadLetter(*out.partition, record.offset, out.epoch, record.key, record.value or b"", readable)
    )


class Decode:
    """Decodes and checks chunks. After :attr:`stopped` is set it takes no more; what came before is still to be stored."""

    def __init__(self, gather: Step[Decoded], clock: Clock, limits: Limits, language: Callable[[str], str]) -> None:
        self._gather = gather
        self._clock = clock
        self._limits = limits
        self._language = language
        self._tallies: dict[Partition, _Tally] = {}
        self._keys: dict[tuple[str, str, str, str], MarketKey] = {}
        self._ready: Decoded | None = None
        self.stopped: TooManyRefused | None = None

    def submit(self, item: Assigned) -> None:
        if (
            self._ready is None
            or self._ready.expected != item.expected
            or self._ready.partition != item.chunk.partition
        ):
            self._ready = self._decode(item)
        self._gather.submit(self._ready)
        self._ready = None

    def poll(self) -> None:
        self._gather.poll()

    def flush(self) -> bool:
        return self._gather.flush()

    def drop(self, partitions: Iterable[Partition] | None = None) -> None:
        self._ready = None
        self._gather.drop(partitions)

    def _decode(self, item: Assigned) -> Decoded:
        out, refused = self._checked(item)
        self._count(out.partition, len(item.chunk.records), refused)
        return out

    def _checked(self, item: Assigned) -> tuple[Decoded, dict[int, str]]:
        """The rows of a chunk, and number and reason of each record that was refused; its dead letter is written."""
        partition, records = item.chunk
        out = Decoded(partition, item.epoch, item.expected, records[-1].offset + 1)
        out.apart = lambda reason: self._apart(item, reason)
        refused: dict[int, str] = {}
        candles = _Candles()
        for number, record in enumerate(records):
            try:
                self._one(partition.topic, number, record, out, candles)
            except ValueError as error:
                refused[number] = str(error)
                _go_past(out, record)
        if candles.at:
            out.candles, wrong = candles.checked(self._clock.now().timestamp())
            refused |= wrong
        for number in sorted(refused):
            _refuse(out, records[number], refused[number])
        return out, refused

    def _apart(self, item: Assigned, reason: str) -> list[Decoded]:
        """The two halves of a chunk that the database refused; of a single record, its dead letter."""
        (partition, records), middle = item.chunk, len(item.chunk.records) // 2
        if not middle:
            out = Decoded(partition, item.epoch, item.expected, records[-1].offset + 1)
            _go_past(out, records[0])
            _refuse(out, records[0], reason)
            steps.DEAD_LETTERS.labels(partition.topic).inc()
            return [out]
        parts = ((records[:middle], item.expected), (records[middle:], records[middle - 1].offset + 1))
        return [self._checked(Assigned(Chunk(partition, own), item.epoch, first))[0] for own, first in parts]

    def _one(self, topic: str, number: int, record: Record, out: Decoded, candles: _Candles) -> None:
        message = decode(topic, record.value or b"")
        refuse_unstorable(stream=message.stream)
        if isinstance(message, CandleMessage):
            candles.add(number, self._key(message), message)
        else:
            self._post(message, out)
        if message.stream:
            out.spans.append((message.stream, message.after, message.upto))

    def _post(self, message: PostMessage, out: Decoded) -> None:
        post = to_post(message, self._clock.now().timestamp(), self._language)
        out.posts.append(post)
        if message.score:
            out.scored.add(post.id)

    def _key(self, message: CandleMessage) -> MarketKey:
        raw = (message.exchange, message.market, message.symbol, message.timeframe)
        if raw not in self._keys:
            if len(self._keys) > 100_000:
                self._keys.clear()
            self._keys[raw] = market_key(*raw)
        return self._keys[raw]

    def _count(self, partition: Partition, records: int, refused: dict[int, str]) -> None:
        tally = self._tallies.setdefault(partition, _Tally())
        for number in range(records):
            tally.seen += 1
            if number not in refused:
                tally.row = 0
                continue
            tally.bad += 1
            tally.row += 1
            steps.DEAD_LETTERS.labels(partition.topic).inc()
        self._judge(partition, tally)

    def _judge(self, partition: Partition, tally: _Tally) -> None:
        limits = self._limits
        if tally.row >= limits.row:
            self._stop(partition, f"{tally.row} messages in a row")
        elif tally.seen >= limits.least and tally.bad > limits.share * tally.seen:
            self._stop(partition, f"{tally.bad} of the last {tally.seen} messages")
        if tally.seen > 10 * limits.least:
            tally.seen, tally.bad = tally.seen // 2, tally.bad // 2

    def _stop(self, partition: Partition, what: str) -> None:
        self.stopped = TooManyRefused(
            f"{what} of topic {partition.topic} could not be stored, so the stream stops; "
            "see “moodtape dlq list”, mend what sends them, and start again."
        )
