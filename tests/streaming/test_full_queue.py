"""A scoring queue without room: the posts wait in the broker, everything else goes on, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from domain.types import Post
from streaming import decode
from streaming import feed as feeds
from streaming.broker import MemoryBroker, MemoryConsumer
from streaming.feed import Feed, Waiter
from streaming.messages import POSTS, TOPICS, Message, PostMessage
from streaming.sink import no_room
from streaming.validate import to_post
from tests.streaming.kit import Rig, candle, count, post, send


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    return broker


def stored(engine: Engine) -> tuple[int, int, int]:
    """Candles, posts, and how far the posts' partitions are committed."""
    with_offsets = f"select coalesce(sum(next_offset), 0) from stream_offsets where topic = '{POSTS}'"
    queries = ("select count(*) from candles", "select count(*) from posts", with_offsets)
    candles, posts, offset = (int(count(engine, query)) for query in queries)
    return candles, posts, offset


def test_a_full_scoring_queue_pauses_the_posts_and_nothing_else(engine: Engine, broker: MemoryBroker) -> None:
    """Candles are stored all the time, few posts are held, the stream counts as well; later each post is queued once."""
    rig = Rig(engine, broker)
    rig.scoring.full = True
    send(broker, *(candle(n) for n in range(10)), *(post(n) for n in range(10)))
    rig.turn()
    assert stored(engine) == (10, 0, 0)
    assert rig.sink.busy
    for k in range(1, 30):
        send(broker, candle(10 + k), *(post(100 * k + n) for n in range(20)))
        rig.turn()
        rig.clock.advance(5)
        assert rig.runtime.ready
    assert stored(engine) == (39, 0, 0)
    assert sum(part.rows for part in rig.sink._held) == 10, "the others are still at the broker"
    assert rig.scoring.ids == []
    rig.scoring.full = False
    rig.clock.advance(5)
    rig.turn(8)
    assert stored(engine) == (39, 590, 590)
    assert len(rig.scoring.ids) == len(set(rig.scoring.ids)) == 590
    assert not rig.sink.busy


def test_posts_that_were_read_already_wait_in_order(engine: Engine, broker: MemoryBroker) -> None:
    """What the pipeline holds when the queue fills up is written behind the refused posts, once there is room."""
    rig = Rig(engine, broker, rows=5)
    rig.turn(2)
    consumer = rig.runtime._consumer
    assert isinstance(consumer, MemoryConsumer)
    rig.scoring.full = True
    pause, consumer.pause = consumer.pause, lambda partitions: None  # type: ignore[method-assign]
    for k in range(6):
        send(broker, *(post(10 * k + n) for n in range(10)), candle(k))
        rig.turn(2)
    assert stored(engine) == (6, 0, 0)
    consumer.pause = pause  # type: ignore[method-assign]
    rig.scoring.full = False
    rig.turn(40)
    assert stored(engine) == (6, 60, 60)
    assert len(rig.scoring.ids) == len(set(rig.scoring.ids)) == 60


def test_a_consumer_that_dies_with_held_posts_costs_nothing(engine: Engine, broker: MemoryBroker) -> None:
    """Held posts were never committed: the next consumer reads and stores them, and the first forgets them."""
    first = Rig(engine, broker)
    first.scoring.full = True
    send(broker, *(post(n) for n in range(10)))
    first.turn()
    second = Rig(engine, broker)
    for _ in range(8):
        first.turn(1)
        second.turn(1)
    broker.leave(first.runtime._consumer)  # type: ignore[arg-type]  # as a kill -9 looks from the broker
    second.turn(8)
    assert stored(engine) == (0, 10, 10)
    assert len(second.scoring.ids) == 10
    assert {part.partition for part in first.sink._held} <= set(first.runtime._at)


def test_a_post_that_the_database_refuses_while_others_wait_costs_only_itself(
    engine: Engine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken apart or held back, once or several times: each partition is written in order and each good post once."""

    def lax_post(message: PostMessage, now: float, language: Callable[[str], str]) -> Post:
        endless = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(9_000))
        return replace(to_post(message, now, language), author_hash=endless if message.id == "test:5" else None)

    monkeypatch.setattr(decode, "to_post", lax_post)
    rig = Rig(engine, broker)
    rig.scoring.full = True
    send(broker, *(candle(n) for n in range(5)), *(post(n) for n in range(10)))
    for _ in range(20):
        rig.turn(1)
        rig.clock.advance(1)
        rig.scoring.full = not rig.scoring.full
    rig.scoring.full = False
    for _ in range(20):
        rig.turn(1)
        rig.clock.advance(1)
    assert stored(engine) == (5, 9, 10)
    assert len(rig.scoring.ids) == len(set(rig.scoring.ids)) == 9
    assert (rig.counts.refused, rig.sink.busy) == (1, False)


class Writing:
    """A live source of ten posts; remembers where it was asked to begin."""

    name, live = "writing", True

    def __init__(self) -> None:
        self.begun: list[int] = []

    def streams(self) -> Mapping[str, int]:
        return {"p": 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        self.begun.append(cursors["p"])
        for number in range(cursors["p"], 10):
            yield [post(number, stream="p")]
        while True:
            await wait.sleep(0.01)


async def test_a_source_whose_posts_wait_is_not_read_again(
    engine: Engine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor stands still for a good reason, so nothing is sent twice; a cursor that stands still for none rewinds."""
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.01)
    rig, source = Rig(engine, broker), Writing()
    rig.scoring.full = True
    feed = Feed(source, engine, broker, rig.clock, 1000, full=lambda: no_room(engine, rig.scoring))
    task = asyncio.create_task(feed.run())
    for _ in range(40):
        await asyncio.sleep(0.02)
        rig.turn(2)
        rig.clock.advance(4)
    assert (source.begun, feed.sent, feed.well) == ([0], 10, True)
    rig.scoring.full = False
    rig.clock.advance(feeds.STALL_SECONDS + 1)
    await asyncio.sleep(0.2)
    feed.stop()
    await task
    assert source.begun == [0, 0]
