"""The first step: bytes into checked rows; what cannot be stored becomes a dead letter, and too many stop the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from db.queries.candles import Key
from db.queries.dead_letters import Letter
from domain.clock import Clock
from domain.errors import MoodtapeError
from streaming import metrics
from streaming.broker import Chunk, Partition, Record
from streaming.messages import CandleBlock, CandleMessage, PostMessage, decode, span_of
from streaming.steps import Decoded, Step
from streaming.validate import candle_reasons, market_key, same_length, summary, to_post


class TooManyRefused(MoodtapeError):
    """So many messages could not be stored that something else must be wrong; the process ends with status 70."""

    code = "dead_letter_limit"


class Assigned(NamedTuple):
    """A chunk with what its commit must find in the database."""

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


class Decode:
    """Decodes and checks chunks. After :attr:`stopped` is set it takes no more; what came before is still to be stored."""

    def __init__(self, gather: Step[Decoded], clock: Clock, limits: Limits, language: Callable[[str], str]) -> None:
        self._gather = gather
        self._clock = clock
        self._limits = limits
        self._language = language
        self._tallies: dict[Partition, _Tally] = {}
        self._keys: dict[tuple[str, str, str, str], Key] = {}
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
        partition, records = item.chunk
        out = Decoded(partition, item.epoch, item.expected, records[-1].offset + 1)
        refused: dict[int, str] = {}
        owners: list[int] = []
        """Record number of each candle row."""
        for number, record in enumerate(records):
            try:
                self._one(partition.topic, record, out)
            except ValueError as error:
                refused[number] = str(error)
                if (span := span_of(record.value or b"")) is not None:
                    out.spans.append(span)
            owners.extend([number] * (len(out.at) - len(owners)))
        refused |= self._check_candles(out, owners)
        self._count(out, records, refused)
        return out

    def _one(self, topic: str, record: Record, out: Decoded) -> None:
        message = decode(topic, record.value or b"")
        if isinstance(message, CandleMessage):
            key = self._key(message)
            bar = (message.open, message.high, message.low, message.close, message.volume)
            _add(out, key, [message.at], [bar], message.final)
        elif isinstance(message, CandleBlock):
            columns = (message.open, message.high, message.low, message.close, message.volume)
            if not same_length((message.at, *columns)):
                raise ValueError("the columns of the block are empty or of different lengths")
            _add(out, self._key(message), message.at, list(zip(*columns, strict=True)), True)
        else:
            self._post(message, out)
        if message.lane:
            out.spans.append((message.lane, message.after, message.upto))

    def _post(self, message: PostMessage, out: Decoded) -> None:
        post = to_post(message, self._clock.now().timestamp(), self._language)
        out.posts.append(post)
        if message.score:
            out.scored.add(post.id)

    def _key(self, message: CandleMessage | CandleBlock) -> Key:
        raw = (message.exchange, message.market, message.symbol, message.timeframe)
        if raw not in self._keys:
            if len(self._keys) > 100_000:
                self._keys.clear()
            self._keys[raw] = market_key(*raw)
        return self._keys[raw]

    def _check_candles(self, out: Decoded, owners: list[int]) -> dict[int, str]:
        """Refuse wrong candles row by row; the reason goes to the record that held them."""
        if not out.at:
            return {}
        at, bars = np.array(out.at, dtype=np.float64), np.array(out.bars, dtype=np.float64)
        wrong = candle_reasons(at, bars, self._clock.now().timestamp())
        if not wrong:
            return {}
        refused = {}
        for owner in {owners[i] for i in wrong}:
            first, size = owners.index(owner), owners.count(owner)
            own = {i - first: reason for i, reason in wrong.items() if owners[i] == owner}
            refused[owner] = own[0] if size == 1 else summary(own, size)
        keep = [i for i in range(len(out.at)) if i not in wrong]
        out.keys, out.at = [out.keys[i] for i in keep], [out.at[i] for i in keep]
        out.bars, out.final = [out.bars[i] for i in keep], [out.final[i] for i in keep]
        return refused

    def _count(self, out: Decoded, records: Iterable[Record], refused: dict[int, str]) -> None:
        tally = self._tallies.setdefault(out.partition, _Tally())
        for number, record in enumerate(records):
            tally.seen += 1
            if number not in refused:
                tally.row = 0
                continue
            tally.bad += 1
            tally.row += 1
            key, value = record.key, record.value or b""
            out.letters.append(Letter(*out.partition, record.offset, out.epoch, key, value, refused[number]))
            metrics.DEAD_LETTERS.labels(out.partition.topic).inc()
        self._judge(out.partition, tally)

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


def _add(
    out: Decoded, key: Key, at: list[int], bars: list[tuple[float, float, float, float, float]], final: bool
) -> None:
    out.keys.extend([key] * len(at))
    out.at.extend(at)
    out.bars.extend(bars)
    out.final.extend([final] * len(at))
