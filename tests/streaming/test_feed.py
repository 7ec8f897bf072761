"""The producing half: a source goes on only from what the database has stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from db.queries import streams
from domain.errors import ConfigError, Unavailable
from streaming import feed as feeds
from streaming.broker import MemoryBroker
from streaming.feed import Feed, StreamState, Waiter
from streaming.messages import TOPICS, Message, Outgoing
from tests.streaming.kit import Rig, candle, count


@dataclass
class Counting:
    """``upto`` candles of one market, counted by minutes; remembers where it was asked to begin."""

    upto: int
    live: bool = False
    name: str = "counting"
    begun: list[int] = field(default_factory=list)

    def streams(self) -> Mapping[str, int]:
        return {"c": 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        self.begun.append(cursors["c"])
        for minute in range(cursors["c"], self.upto):
            yield [candle(minute, stream="c")]
        while self.live:
            await wait.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(feeds, "FIRST_WAIT", 0.01)


async def drive(feed: Feed, rig: Rig, turns: int = 2000) -> None:
    """Run the feed beside the sink until the feed has ended."""
    task = asyncio.create_task(feed.run())
    for _ in range(turns):
        await asyncio.sleep(0.005)
        rig.watch.look()
        rig.runtime.step()
        rig.clock.advance(0.1)
        if task.done():
            break
    feed.stop()
    await task


@dataclass
class Refusing(Counting):
    """Refuses the first readings with a settings error, as a source does whose account was closed in mid-run."""

    refusals: int = 2

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        if self.refusals:
            self.refusals -= 1
            raise ConfigError("the site refuses the token")
        async for messages in super().read(cursors, wait):
            yield messages


async def until(done: Callable[[], bool]) -> None:
    """Let the loop run until something has happened."""
    for _ in range(2000):
        if done():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def position(engine: Engine) -> int:
    with engine.connect() as connection:
        return streams.positions(connection, ["c"])["c"]


@pytest.mark.usefixtures("quick")
async def test_a_source_ends_when_all_is_stored(engine: Engine) -> None:
    """A finite source is finished only when its last row is in the database; a second run sends nothing."""
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    rig, source = Rig(engine, broker), Counting(20)
    feed = Feed(source, engine, broker, rig.clock, 1000)
    await drive(feed, rig)
    assert (feed.finished, feed.sent, position(engine)) == (True, 20, 20)
    again = Feed(source, engine, broker, rig.clock, 1000)
    await drive(again, rig)
    assert (again.sent, count(engine, "select count(*) from candles")) == (0, 20)


@pytest.mark.usefixtures("quick")
async def test_the_window_bounds_what_is_ahead(engine: Engine) -> None:
    """A source is never further ahead of the database than its window."""
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    rig = Rig(engine, broker)
    feed = Feed(Counting(50), engine, broker, rig.clock, 7)
    task = asyncio.create_task(feed.run())
    await until(lambda: feed.ahead == 8)
    await asyncio.sleep(0.05)
    assert feed.ahead == 8
    assert feed.well
    rig.clock.advance(feeds.STALL_SECONDS)
    assert not feed.well
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("quick")
async def test_a_broker_that_loses_everything_loses_nothing(engine: Engine) -> None:
    """What was sent and not stored when the broker's memory went is sent again from the stored cursor."""
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    rig, source = Rig(engine, broker), Counting(30)
    feed = Feed(source, engine, broker, rig.clock, 1000, lambda: rig.watch.epochs)
    task = asyncio.create_task(feed.run())
    await until(lambda: feed.sent == 30)
    broker.lose_everything()
    rig.watch.look()
    assert count(engine, "select count(*) from candles") == 0
    await drive_task(task, rig)
    assert source.begun[:2] == [0, 0]
    assert count(engine, "select count(*) from candles") == 30
    assert position(engine) == 30


async def drive_task(task: asyncio.Task[None], rig: Rig) -> None:
    for _ in range(2000):
        await asyncio.sleep(0.005)
        rig.watch.look()
        rig.runtime.step()
        rig.clock.advance(0.1)
        if task.done():
            return await task
    raise AssertionError("the feed did not end")


@pytest.mark.usefixtures("quick")
async def test_a_cursor_that_stands_still_rewinds(engine: Engine) -> None:
    """When a message vanished without a trace, the source is read again after the patience is over."""
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    rig, source = Rig(engine, broker), Counting(10)
    feed = Feed(source, engine, broker, rig.clock, 1000)
    task = asyncio.create_task(feed.run())
    await until(lambda: feed.sent == 10)
    for partition, log in broker.logs.items():
        if len(log) > 5:
            broker.logs[partition] = [type(r)(n, r.key, r.value) for n, r in enumerate(log[5:])]
    rig.clock.advance(feeds.STALL_SECONDS + 1)
    await drive_task(task, rig)
    assert source.begun == [0, 0]
    assert count(engine, "select count(*) from candles") == 10


@pytest.mark.usefixtures("quick")
async def test_a_broker_that_is_away_is_waited_for(engine: Engine) -> None:
    """The source pauses and goes on when the broker is back."""
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    rig, source = Rig(engine, broker), Counting(10)
    broker.down = True
    feed = Feed(source, engine, broker, rig.clock, 1000)
    task = asyncio.create_task(feed.run())
    await until(lambda: bool(source.begun))
    assert not task.done()
    broker.down = False
    await drive_task(task, rig)
    assert count(engine, "select count(*) from candles") == 10


def test_a_stream_forgets_what_is_stored() -> None:
    """Rows ahead are those of messages whose end lies beyond the stored cursor."""
    stream = StreamState(0, 0)
    for upto in (10, 20, 30):
        stream.note(Outgoing("t", b"", b"", "l", upto, rows=10), now=0.0)
    stream.settle(20, now=1.0)
    assert (stream.rows, stream.stored, stream.moved_at) == (10, 20, 1.0)
    stream.settle(15, now=2.0)
    assert (stream.rows, stream.stored, stream.moved_at) == (10, 20, 1.0)


@pytest.mark.usefixtures("quick")
async def test_a_live_source_that_refuses_is_tried_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told and its feed goes on trying; when it is read again the trouble is over. A finite source ends."""
    monkeypatch.setattr(feeds, "REFUSED_WAIT", 0.01)
    broker = MemoryBroker()
    rig = Rig(engine, broker)
    feed = Feed(Refusing(3, live=True), engine, broker, rig.clock, 100)
    task = asyncio.create_task(feed.run())
    await until(lambda: bool(feed.troubles))
    assert feed.troubles == ["counting: the site refuses the token"]
    await until(lambda: feed.sent == 3)
    assert feed.troubles == []
    feed.stop()
    await task
    with pytest.raises(ConfigError):
        await Feed(Refusing(3), engine, broker, rig.clock, 100).run()


@dataclass
class Away(Counting):
    """Does not answer for a while, then has nothing new."""

    here: bool = False

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        if not self.here:
            raise Unavailable("the site answers 503")
        async for messages in super().read(cursors, wait):
            yield messages


@pytest.mark.usefixtures("quick")
async def test_a_source_that_stays_away_is_told_of(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts it stands among the troubles and in the gauge; it leaves them when it can be read, news or none."""
    monkeypatch.setattr(feeds, "AWAY_WAIT", 0.01)
    broker = MemoryBroker()
    rig, source = Rig(engine, broker), Away(0, live=True, name="away")
    feed = Feed(source, engine, broker, rig.clock, 1000)
    task = asyncio.create_task(feed.run())
    await until(lambda: bool(feed.troubles))
    labels = {"source": "away", "item": ""}
    assert feed.troubles == ["away: the site answers 503"]
    assert REGISTRY.get_sample_value("moodtape_feed_refused", labels) == 1
    source.here = True
    await until(lambda: not feed.troubles)
    assert REGISTRY.get_sample_value("moodtape_feed_refused", labels) == 0
    feed.stop()
    await task
