"""The producing half: sources, streams, and the rule that a source goes on only from what the database has stored.

A stream is one ordered list (the candles of a market, the posts of a source). What a source sends is remembered until the
stream's cursor in the database has passed it. When a cursor stands still though more was sent – the broker died with
everything in it, a message was lost, the sink was away – the source is started again from the stored cursor; doubled rows
are refused by the database's keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.queries import streams
from domain.clock import Clock
from domain.errors import ConfigError, InputError, Unavailable
from streaming import steps
from streaming.broker import Broker, BrokerDown, Producer
from streaming.messages import POSTS, Message, Outgoing, outgoing

log = structlog.get_logger()

LOOK_SECONDS = 0.25
STALL_SECONDS, LONGEST_STALL = 30.0, 300.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
AWAY_WAIT = 2.0
"""A source that still does not answer when so many seconds were waited is told of in ``status``."""
REFUSED_WAIT = 60.0
"""Seconds after which a live source that refuses – a market gone, a token no longer taken – is tried again."""


class Waiter(Protocol):
    """What a source may wait for; both end early, by cancellation, when the feed stops or rewinds."""

    async def sleep(self, seconds: float) -> None:
        """Wait for time to pass."""
        ...

    async def stored(self, cursors: Mapping[str, int]) -> None:
        """Wait until the database has everything up to these cursors."""
        ...


class Source(Protocol):
    """Candles or posts from outside, in one or more streams, each with a whole number as its growing cursor.

    It must be readable again from any cursor it has given out.

    Example:
        >>> class Three:
        ...     name, live = "three", False
        ...
        ...     def streams(self):
        ...         return {"three": 0}
        ...
        ...     async def read(self, cursors, wait):
        ...         for n in range(cursors["three"], 3):
        ...             yield [PostMessage(f"x:{n}", "x", "bitcoin", 1.7e9 + n, stream="three", after=n, upto=n + 1)]
    """

    name: str
    live: bool
    """True for a source without end; when another one ends, the feed has finished."""

    def streams(self) -> Mapping[str, int]:
        """The streams, each with the cursor to begin at when nothing is stored yet."""
        ...

    def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        """Messages after the cursors, in order within each stream, without end for a live source."""
        ...


@dataclass(slots=True)
class StreamState:
    """How far one stream was sent and stored."""

    sent: int
    stored: int
    rows: int = 0
    """Rows sent and not stored yet."""
    ahead: deque[tuple[int, int]] = field(default_factory=deque)
    moved_at: float = 0.0
    posts: bool = False

    def note(self, message: Outgoing, now: float) -> None:
        """Remember a message that was sent."""
        if not self.ahead:
            self.moved_at = now
        self.sent, self.posts = message.upto, message.topic == POSTS
        self.rows += message.rows
        self.ahead.append((message.upto, message.rows))

    def settle(self, stored: int, now: float) -> None:
        """Learn how far the database has come."""
        if stored > self.stored:
            self.stored, self.moved_at = stored, now
        while self.ahead and self.ahead[0][0] <= self.stored:
            self.rows -= self.ahead.popleft()[1]


class Rewind(Exception):
    """The source must read again from its stored cursors."""


class Feed:
    """Sends what one source gives to the broker, never more than ``window`` rows ahead of the database.

    ``full``: whether the scoring queue takes no posts now; a stream of posts may then stand still.

    Example:
        >>> feed = Feed(Synthetic(7, clock), engine, broker, clock, window=100_000)  # doctest: +SKIP
        >>> await feed.run()  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Source,
        engine: Engine,
        broker: Broker,
        clock: Clock,
        window: int,
        epochs: Callable[[], Mapping[str, str]] = dict,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        self.source = source
        self._engine = engine
        self._broker = broker
        self._clock = clock
        self._window = window
        self._epochs = epochs
        self._full = full
        self._log_of: Mapping[str, str] = {}
        self._stall = STALL_SECONDS
        self._streams: dict[str, StreamState] = {}
        self._producer: Producer | None = None
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self.sent = 0
        self.finished = False
        self.refusal: InputError | ConfigError | None = None
        """Why the source cannot be read at present, though the settings name it."""
        self.away = ""
        """What a source says that does not answer, again and again; the feed goes on trying."""

    @property
    def well(self) -> bool:
        """Whether the stored cursors move, or nothing is ahead of them."""
        now = self._clock.monotonic()
        return all(not stream.ahead or now - stream.moved_at < STALL_SECONDS for stream in self._streams.values())

    async def run(self) -> None:
        """Send until the source has ended and all of it is stored, or until :meth:`stop` is called."""
        wait = FIRST_WAIT
        while not self._stopping.is_set() and not self.finished:
            before = self.sent
            try:
                await self._once()
            except Rewind:
                steps.REWINDS.labels(self.source.name).inc()
                log.warning("reading again from the stored cursor", source=self.source.name)
            except (InputError, ConfigError) as error:
                await self._refused(error)
            except (BrokerDown, Unavailable, OSError, TimeoutError) as error:
                wait = FIRST_WAIT if self.sent > before else min(2 * wait, LONGEST_WAIT)
                steps.RECONNECTS.labels(self.source.name).inc()
                log.warning("the source pauses", source=self.source.name, error=str(error), seconds=wait)
                if wait > AWAY_WAIT and not isinstance(error, BrokerDown):
                    self.away = error.message if isinstance(error, Unavailable) else type(error).__name__
                    steps.REFUSED.labels(self.source.name, "").set(1)
                await self.pause(wait)
            finally:
                await asyncio.to_thread(self._let_go)

    async def _refused(self, error: InputError | ConfigError) -> None:
        """A live source that refuses is left alone for a while: the other sources go on."""
        if not self.source.live:
            raise error
        self.refusal = error
        steps.REFUSED.labels(self.source.name, "").set(1)
        log.error("the source refuses and is tried again", source=self.source.name, error=error.message)
        await self.pause(REFUSED_WAIT)

    @property
    def troubles(self) -> list[str]:
        """What of this source is not read at present, in sentences."""
        why = self.refusal.message if self.refusal else self.away
        own = [f"{self.source.name}: {why}"] if why else []
        lost: Mapping[str, str] = getattr(self.source, "lost", {})
        return own + [f"{self.source.name} {item}: {why}" for item, why in sorted(lost.items())]

    def stop(self) -> None:
        """Stop after the current batch of messages."""
        self._stopping.set()

    async def pause(self, seconds: float) -> None:
        """Wait, or return at once when the feed stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def sleep(self, seconds: float) -> None:
        """For the source: wait for time to pass; one that comes so far can be read."""
        self._readable()
        await asyncio.sleep(max(0.0, seconds))

    async def stored(self, cursors: Mapping[str, int]) -> None:
        """For the source: wait until the database has everything up to these cursors."""
        await asyncio.to_thread(self._flush)
        while any(self._streams[name].stored < at for name, at in cursors.items()):
            self._moved.clear()
            await self._moved.wait()

    async def _once(self) -> None:
        self._log_of = self._epochs()
        self._producer = await asyncio.to_thread(self._broker.producer)
        cursors = await asyncio.to_thread(self._open)
        now = self._clock.monotonic()
        self._streams = {name: StreamState(at, at, moved_at=now) for name, at in cursors.items()}
        async with aclosing(_closing(self.source.read(cursors, self))) as messages:
            watcher = asyncio.create_task(self._watch())
            try:
                await self._pump(messages, watcher)
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    async def _pump(self, source: AsyncIterator[Sequence[Message]], watcher: asyncio.Task[None]) -> None:
        """Send what the source gives, until it ends, the watcher fails or the feed is stopped."""
        stopping = asyncio.create_task(self._stopping.wait())
        ended = False
        try:
            while True:
                turn = asyncio.ensure_future(anext(source, None))
                await asyncio.wait({turn, watcher, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    turn.cancel()
                    await asyncio.gather(turn, return_exceptions=True)
                    if watcher.done():
                        watcher.result()
                    break
                if (messages := turn.result()) is None:
                    ended = not self.source.live
                    break
                await self._send([outgoing(m) for m in messages])
                await self._until(lambda: self.ahead <= self._window, watcher)
            await asyncio.to_thread(self._flush)
            if ended:
                await self._until(lambda: not self.ahead, watcher)
                self.finished = not self.ahead
        finally:
            stopping.cancel()

    async def _until(self, done: Callable[[], bool], watcher: asyncio.Task[None]) -> None:
        while not done() and not self._stopping.is_set():
            if watcher.done():
                watcher.result()
            await asyncio.sleep(LOOK_SECONDS / 5)

    @property
    def ahead(self) -> int:
        """Rows sent and not yet stored."""
        return sum(stream.rows for stream in self._streams.values())

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        await asyncio.to_thread(self._hand_over, messages)
        now, rows = self._clock.monotonic(), 0
        for message in messages:
            rows += message.rows
            if message.stream:
                self._streams[message.stream].note(message, now)
        self.sent += rows
        self._readable()
        steps.SENT.labels(self.source.name).inc(rows)

    def _readable(self) -> None:
        """The source is not, or no more, in trouble."""
        if self.refusal is not None or self.away:
            self.refusal, self.away = None, ""
            steps.REFUSED.labels(self.source.name, "").set(0)

    def _hand_over(self, messages: Sequence[Outgoing]) -> None:
        assert self._producer is not None
        for message in messages:
            self._producer.send(message.topic, message.key, message.value)

    def _flush(self) -> None:
        if self._producer is not None:
            self._producer.flush(10.0)

    def _open(self) -> dict[str, int]:
        with transaction(self._engine, PATIENCE) as connection:
            return streams.open_streams(connection, self.source.streams())

    def _let_go(self) -> None:
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    async def _watch(self) -> None:
        """Follow the stored cursors; raise :class:`Rewind` when one stands still with messages ahead of it."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._epochs() != self._log_of:
                raise Rewind
            if not any(stream.ahead for stream in self._streams.values()):
                continue
            try:
                stored = await asyncio.to_thread(self._positions)
                await self._excuse_posts()
            except Unavailable:
                for stream in self._streams.values():
                    stream.moved_at = self._clock.monotonic()
                continue
            now = self._clock.monotonic()
            for name, stream in self._streams.items():
                before = stream.stored
                stream.settle(stored.get(name, before), now)
                if stream.stored > before:
                    self._moved.set()
                    self._stall = STALL_SECONDS
                elif stream.ahead and now - stream.moved_at > self._stall:
                    self._stall = min(2 * self._stall, LONGEST_STALL)
                    raise Rewind

    async def _excuse_posts(self) -> None:
        """Posts that wait for the scoring queue are not lost: their streams may stand still."""
        now = self._clock.monotonic()
        still = [
            stream for stream in self._streams.values() if stream.posts and now - stream.moved_at > STALL_SECONDS / 2
        ]
        if any(stream.ahead for stream in still) and await asyncio.to_thread(self._full):
            for stream in still:
                stream.moved_at = now

    def _positions(self) -> dict[str, int]:
        waiting = [name for name, stream in self._streams.items() if stream.ahead]
        with transaction(self._engine, PATIENCE) as connection:
            return streams.positions(connection, waiting)


async def _closing(items: AsyncIterator[Sequence[Message]]) -> AsyncGenerator[Sequence[Message]]:
    """An async generator around any async iterator, so that it can be closed in time."""
    async for item in items:
        yield item
