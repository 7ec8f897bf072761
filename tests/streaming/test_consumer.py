"""The sink: rows, offsets and cursors move together, and whatever dies is made good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import Engine, text

from db.queries import streams
from domain.candles import MarketKey
from domain.errors import Unavailable
from domain.types import Post
from streaming import decode
from streaming.broker import MemoryBroker, MemoryConsumer
from streaming.decode import Limits, TooManyRefused
from streaming.messages import CANDLES, POSTS, TOPICS, CandleMessage, Message, PostMessage
from streaming.sink import Stored
from streaming.steps import Batch
from streaming.validate import market_key, to_post
from tests.streaming.kit import T0, Rig, candle, count, post, send


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    return broker


def offset_sum(engine: Engine) -> int:
    return int(count(engine, "select coalesce(sum(next_offset), 0) from stream_offsets"))


def open_stream(engine: Engine, *names: str) -> None:
    with engine.begin() as connection:
        streams.open_streams(connection, dict.fromkeys(names, 0))


def cursors(engine: Engine, *names: str) -> dict[str, int]:
    with engine.connect() as connection:
        return streams.positions(connection, names)


def test_rows_offsets_and_cursors_are_stored_together(engine: Engine, broker: MemoryBroker) -> None:
    """Every message is stored once, the offsets equal the messages, and the streams stand where they were read to."""
    open_stream(engine, "m", "p")
    send(broker, *(candle(n, stream="m") for n in range(30)), *(post(n, stream="p") for n in range(20)))
    rig = Rig(engine, broker)
    rig.turn()
    assert count(engine, "select count(*) from candles") == 30
    assert count(engine, "select count(*) from posts") == 20
    assert offset_sum(engine) == 50
    assert cursors(engine, "m", "p") == {"m": 30, "p": 20}


def test_new_posts_are_handed_over_once(engine: Engine, broker: MemoryBroker) -> None:
    """A live post is queued when it is first stored; a repeated one and an imported one are not."""
    send(broker, post(1), post(2), post(1), post(3, score=False))
    rig = Rig(engine, broker)
    rig.turn()
    send(broker, post(2), post(4))
    rig.turn()
    assert sorted(rig.scoring.ids) == ["test:1", "test:2", "test:4"]
    assert rig.scoring.rings == 2


def test_a_second_consumer_goes_on_where_the_first_was_killed(engine: Engine, broker: MemoryBroker) -> None:
    """A consumer that vanishes with a batch in hand costs nothing and doubles nothing."""
    send(broker, *(candle(n) for n in range(10)))
    first = Rig(engine, broker, rows=10_000)
    first.runtime.step()
    broker.leave(first.runtime._consumer)  # type: ignore[arg-type]  # as a kill -9 looks from the broker
    send(broker, *(candle(n) for n in range(10, 20)))
    second = Rig(engine, broker)
    second.turn()
    assert count(engine, "select count(*) from candles") == 20
    assert offset_sum(engine) == 20


def test_a_zombie_is_refused(engine: Engine, broker: MemoryBroker) -> None:
    """A consumer that wakes up after another took over stores nothing of its old batch, and reads again."""
    send(broker, *(candle(n) for n in range(10)))
    zombie = Rig(engine, broker, rows=10_000)
    zombie.runtime.step()
    zombie.runtime.step()
    with engine.begin() as connection:
        connection.execute(
            text("update stream_offsets set next_offset = 10 where next_offset = 0 and topic = 'candles'")
        )
    zombie.turn()
    assert count(engine, "select count(*) from candles") == 0
    send(broker, candle(10))
    zombie.turn()
    assert count(engine, "select count(*) from candles") == 1


def test_a_broker_that_forgot_everything_is_read_from_its_start(engine: Engine, broker: MemoryBroker) -> None:
    """After a restart of an in-memory broker the offsets start at 0 again, and what is sent anew is stored."""
    send(broker, *(candle(n) for n in range(10)))
    rig = Rig(engine, broker)
    rig.turn()
    broker.lose_everything()
    rig.watch.look()
    send(broker, *(candle(n) for n in range(5, 15)))
    rig.turn()
    assert count(engine, "select count(*) from candles") == 15
    assert offset_sum(engine) == 10


def test_a_hole_keeps_the_cursor(engine: Engine, broker: MemoryBroker) -> None:
    """When a message of a stream was lost, the rows after it are stored but the cursor waits for the lost one."""
    open_stream(engine, "m")
    send(broker, candle(0, stream="m"), candle(2, stream="m"))
    rig = Rig(engine, broker)
    rig.turn()
    assert count(engine, "select count(*) from candles") == 2
    assert cursors(engine, "m") == {"m": 1}
    send(broker, candle(1, stream="m"), candle(2, stream="m"))
    rig.turn()
    assert cursors(engine, "m") == {"m": 3}


def test_a_slow_database_pauses_the_reading(engine: Engine, broker: MemoryBroker) -> None:
    """While the database is away the memory stays bounded, and afterwards everything is stored once."""
    send(broker, *(candle(n % 60, symbol=f"A{n // 60}/USDT") for n in range(3000)))
    rig = Rig(engine, broker, rows=100)
    rig.turn(1)
    healthy = rig.writer.write
    tries = []

    def away(batch: Batch) -> Stored:
        tries.append(batch.rows)
        raise Unavailable("PostgreSQL does not answer")

    rig.writer.write = away  # type: ignore[method-assign]
    rig.turn(30)
    assert tries
    assert not rig.runtime.ready
    stored_before = count(engine, "select count(*) from candles")
    rig.writer.write = healthy  # type: ignore[method-assign]
    rig.clock.advance(10)
    rig.turn(30)
    assert stored_before < 3000
    assert count(engine, "select count(*) from candles") == 3000
    assert offset_sum(engine) == 3000


def test_a_commit_whose_answer_was_lost_counts(engine: Engine, broker: MemoryBroker) -> None:
    """The connection broke just after the commit: the second attempt sees that it had succeeded."""
    send(broker, *(candle(n) for n in range(10)))
    rig = Rig(engine, broker)
    rig.turn(2)
    healthy = rig.writer.write

    def breaks(batch: Batch) -> Stored:
        healthy(batch)
        rig.writer.write = healthy  # type: ignore[method-assign]
        raise Unavailable("the connection broke")

    rig.writer.write = breaks  # type: ignore[method-assign]
    send(broker, *(candle(n) for n in range(10, 20)))
    rig.turn(5)
    rig.clock.advance(5)
    rig.turn(5)
    assert count(engine, "select count(*) from candles") == 20
    assert offset_sum(engine) == 20


def test_poison_goes_to_the_dead_letters(engine: Engine, broker: MemoryBroker) -> None:
    """What cannot be stored is kept with reason and bytes, and the next row is stored."""
    bad = b'{"exchange": "binance", "symbol": "BTC/USDT"'
    broker.producer().send(CANDLES, b"k", bad)
    send(broker, candle(0, close=-1.0), candle(1))
    rig = Rig(engine, broker)
    rig.turn()
    assert count(engine, "select count(*) from candles") == 1
    with engine.connect() as connection:
        letters = connection.execute(text("select payload, reason from dead_letters order by id")).all()
    assert {bytes(x.payload) for x in letters} >= {bad}
    assert any("zero or negative" in x.reason for x in letters)
    assert offset_sum(engine) == 3


def test_text_that_postgres_cannot_store_stops_nothing(engine: Engine, broker: MemoryBroker) -> None:
    """NUL in a name, an author or a stream, numbers beyond bigint: dead letters; a refused post moves its stream."""
    open_stream(engine, "p")
    good = candle(1)
    bad: list[Message] = [msgspec.structs.replace(good, exchange="bin\0"), msgspec.structs.replace(good, stream="a\0b")]
    bad += [msgspec.structs.replace(good, upto=2**64 - 1), msgspec.structs.replace(good, at=2**64 - 1)]
    send(broker, *bad, good, post(0, stream="p", author_hash="e\0"), post(1, stream="p"))
    Rig(engine, broker).turn()
    assert count(engine, "select count(*) from dead_letters") == 5
    assert count(engine, "select count(*) from candles") == count(engine, "select count(*) from posts") == 1
    assert cursors(engine, "p") == {"p": 2}


def test_too_many_in_a_row_stop_the_stream(engine: Engine, broker: MemoryBroker) -> None:
    """After the limit the stream ends with status 70, and what it had refused is kept."""
    producer = broker.producer()
    for _ in range(7):
        producer.send(POSTS, b"one", b"no json")
    rig = Rig(engine, broker, limits=Limits(row=5))
    with pytest.raises(TooManyRefused) as caught:
        rig.turn()
    assert caught.value.exit_code == 70
    assert count(engine, "select count(*) from dead_letters") >= 5


def test_the_good_candles_of_a_bad_block_are_stored(engine: Engine, broker: MemoryBroker) -> None:
    """A block with a wrong candle is a dead letter that names it; its other candles are stored."""
    times = [T0, T0 + 60, T0 + 120]
    block = CandleMessage("binance", "BTC/USDT", times, [1.0] * 3, [1.0] * 3, [1.0] * 3, [1.0, -1.0, 1.0], [0.0] * 3)
    send(broker, block)
    Rig(engine, broker).turn()
    assert count(engine, "select count(*) from candles") == 2
    assert "number 1" in count(engine, "select reason from dead_letters")


def test_what_only_the_database_refuses_goes_to_the_dead_letters(
    engine: Engine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that pass every check of ours and not PostgreSQL's cost their own rows and no neighbour's, and no restart."""

    def lax_key(exchange: str, market: str, symbol: str, timeframe: str) -> MarketKey:
        found = market_key(exchange, market, symbol, timeframe)
        return found._replace(symbol="BTC/USDT:\0") if symbol == "BAD/USDT" else found

    def lax_post(message: PostMessage, now: float, language: Callable[[str], str]) -> Post:
        endless = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(9_000))
        return replace(to_post(message, now, language), author_hash=endless if message.id == "test:5" else None)

    monkeypatch.setattr(decode, "market_key", lax_key)
    monkeypatch.setattr(decode, "to_post", lax_post)
    open_stream(engine, "p")
    send(broker, *(candle(n) for n in range(20)), candle(20, symbol="BAD/USDT"), *(candle(n) for n in range(21, 40)))
    send(broker, *(post(n, stream="p") for n in range(20)))
    rig = Rig(engine, broker)
    rig.turn(60)
    assert (count(engine, "select count(*) from candles"), count(engine, "select count(*) from posts")) == (39, 19)
    assert count(engine, "select string_agg(topic, ' ' order by topic) from dead_letters") == "candles posts"
    assert count(engine, "select count(*) from dead_letters where reason like 'the database refuses it: %'") == 2
    assert (offset_sum(engine), cursors(engine, "p"), rig.counts.refused) == (60, {"p": 20}, 2)


def test_corrections_and_doubles(engine: Engine, broker: MemoryBroker) -> None:
    """A doubled candle changes nothing; a corrected one replaces the values and counts a revision; unfinished never wins."""
    send(broker, candle(0, close=100.1), candle(0, close=100.1), candle(1), candle(1))
    rig = Rig(engine, broker)
    rig.turn()
    send(broker, candle(0, close=100.9), msgspec.structs.replace(candle(1, close=99.5), final=False))
    rig.turn()
    with engine.connect() as connection:
        rows = connection.execute(text("select close, revision, final from candles order by opened_at")).all()
    assert [tuple(r) for r in rows] == [(100.9, 1, True), (100.5, 0, True)]


def test_a_stream_that_stands_still_ends(engine: Engine, broker: MemoryBroker) -> None:
    """With unread messages and no movement for a minute the process gives up, to be started again."""
    send(broker, *(candle(n) for n in range(5)))
    rig = Rig(engine, broker)
    rig.turn()
    consumer = rig.runtime._consumer
    assert consumer is not None
    send(broker, *(candle(n) for n in range(5, 9)))
    consumer.poll = lambda timeout, limit: []  # type: ignore[method-assign]
    rig.runtime._rejoined_at = rig.clock.monotonic() + 0.1
    rig.clock.advance(70)
    with pytest.raises(Unavailable, match="stood still"):
        rig.turn(8)
    assert rig.counts.candles == 5


def test_a_join_that_hangs_is_begun_again(engine: Engine, broker: MemoryBroker) -> None:
    """A consumer that gets no partitions asks anew, ever more rarely, and then reads everything."""
    send(broker, *(candle(n) for n in range(5)))
    rig = Rig(engine, broker)
    made = broker.consumer
    joins = []

    def hangs(group: str, topics: tuple[str, ...]) -> MemoryConsumer:
        consumer = made(group, topics)
        joins.append(rig.clock.monotonic())
        if len(joins) < 3:
            consumer.changes = lambda: (set(), set())  # type: ignore[method-assign]
        return consumer

    broker.consumer = hangs  # type: ignore[method-assign, assignment]
    rig.turn(400)
    assert len(joins) == 3
    assert joins[2] - joins[1] == pytest.approx(2 * (joins[1] - joins[0]), abs=2)
    assert count(engine, "select count(*) from candles") == 5
