"""What the streams' tests share: an executor without threads, a sink on the broker in memory, messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, text

from domain.clock import ManualClock
from domain.errors import Busy
from streaming.broker import Broker
from streaming.consumer import EpochWatch, Runtime
from streaming.decode import Decode, Limits
from streaming.messages import CandleMessage, Message, PostMessage, outgoing
from streaming.service import Counts
from streaming.sink import Sink, Writer
from streaming.steps import Gather
from workers.client.queue import Priority

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
T0 = int(NOW.timestamp()) - 3600


class Inline(Executor):
    """Runs at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class FakeScoring:
    """Remembers what was handed over, also when the transaction was rolled back later."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.rings = 0
        self.full = False

    def refuse_if_busy(self, connection: Connection, priority: Priority) -> None:
        if self.full:
            raise Busy("The queue has 9 posts waiting.", retry_after=9.0)

    def enqueue(
        self, connection: Connection, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None
    ) -> int:
        assert priority == Priority.LIVE
        self.ids += post_ids
        return len(post_ids)

    def ring(self, priority: Priority) -> None:
        self.rings += 1


class Rig:
    """A whole sink without threads and without time of its own."""

    def __init__(self, engine: Engine, broker: Broker, *, limits: Limits | None = None, rows: int = 1000) -> None:
        self.clock = ManualClock(NOW)
        self.counts = Counts()
        self.scoring = FakeScoring()
        self.writer = Writer(engine, "test", self.scoring)
        self.sink = Sink(self.writer, self.clock, Inline(), self.counts.stored)
        self.gather = Gather(self.sink, self.clock, rows, 0.05)
        self.decode = Decode(self.gather, self.clock, limits or Limits(), lambda text: "en")
        self.watch = EpochWatch(broker)
        self.runtime = Runtime(engine, broker, self.watch, self.decode, self.sink, "test", self.clock)
        self.watch.look()

    def turn(self, times: int = 4) -> None:
        """A few turns of the loop, with time passing between them."""
        for _ in range(times):
            self.runtime.step()
            self.clock.advance(0.1)


def candle(
    minute: int, *, symbol: str = "BTC/USDT", stream: str = "", close: float = 100.5, **more: Any
) -> CandleMessage:
    """A good candle that opens ``minute`` minutes after T0, on a stream that counts minutes."""
    return CandleMessage(
        "binance",
        symbol,
        T0 + 60 * minute,
        100.0,
        101.0,
        99.0,
        close,
        5.0,
        stream=stream,
        after=minute,
        upto=minute + 1,
        **more,
    )


def closes(message: Message) -> dict[int, float]:
    """Opening time → close of the candles in a message."""
    assert isinstance(message, CandleMessage)
    at, close = message.at, message.close
    return dict(zip(at, close, strict=True)) if isinstance(at, list) and isinstance(close, list) else {at: close}  # type: ignore[dict-item]


def post(number: int, *, stream: str = "", words: str = "bitcoin is fine", **more: Any) -> PostMessage:
    """A good post."""
    return PostMessage(
        f"test:{number}", "test", f"{words} {number}", T0 + number, stream=stream, after=number, upto=number + 1, **more
    )


def send(broker: Broker, *messages: Message) -> None:
    """Put messages on their topics."""
    producer = broker.producer()
    for message in map(outgoing, messages):
        producer.send(message.topic, message.key, message.value)
    producer.flush(5)
    producer.close()


def count(engine: Engine, query: str) -> Any:
    """One number from the database."""
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar()
