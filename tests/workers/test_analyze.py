"""The use-case behind every door, on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import revisions
from db.queries.posts import load_images, load_posts
from domain.clock import ManualClock, parse_time
from domain.errors import EmptyPost, InputError, NoCandles, TooLarge, Unavailable, UnknownSymbol, UnreadableImage
from domain.types import complete_at
from tests.fakes.answers import REVISION, store_candles, working
from tests.workers.test_images import encoded, photo
from workers.client.analyze import Request, analyze, prepare
from workers.client.queue import ScoringClient
from workers.settings import WorkerSettings

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON + timedelta(seconds=30))


@pytest.fixture
def client(engine: Engine) -> Iterator[ScoringClient]:
    """A client whose Redis is away; the worker looks for itself."""
    client = ScoringClient(engine, WorkerSettings(redis_url="redis://127.0.0.1:1/0"))
    yield client
    client.close()


def test_a_post_is_cleaned_and_stored(engine: Engine, clock: ManualClock) -> None:
    """Words without tricks, the picture re-encoded, the named markets, and the minute."""
    store_candles(engine, "ETH/USDT", NOON, 5)
    image = encoded(photo(), "PNG")
    post = prepare(
        engine, Request(text="so happy,\u202e $BTC\x00 \ud800 and doge", image=image, symbol="eth"), clock.now()
    )
    with transaction(engine) as connection:
        stored = load_posts(connection, [post.id])[post.id]
        assert post.image is not None
        assert load_images(connection, [post.image.sha256])[post.image.sha256].startswith(b"\xff\xd8")
    assert stored == post
    assert stored.text == "so happy, $BTC and doge"
    assert stored.symbols == ("ETH/USDT",)
    assert (stored.posted_at, stored.language, stored.source) == (NOON, "en", "door")


def test_one_request_is_one_post_within_a_minute(engine: Engine, clock: ManualClock) -> None:
    """The same words give the same id until the minute changes; other words, markets or authors give another."""
    first = prepare(engine, Request("to the moon"), clock.now())
    clock.advance(20)
    assert prepare(engine, Request("  to the\u200b moon "), clock.now()).id == first.id
    others = {
        prepare(engine, request, clock.now()).id
        for request in (
            Request("to the sun"),
            Request("to the moon", author_hash="a"),
            Request("to the moon", source="x"),
        )
    }
    clock.advance(60)
    others.add(prepare(engine, Request("to the moon"), clock.now()).id)
    assert len(others - {first.id}) == 4


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (Request(), EmptyPost, "empty_post"),
        (Request(" \n\u200b\u2060\x00 "), EmptyPost, "empty_post"),
        (Request("x" * 20_001), TooLarge, "text_too_long .count 20001, most 20000"),
        (Request("x", image=b""), UnreadableImage, "picture_empty"),
        (Request("x", symbol="FOO/BAR"), UnknownSymbol, "market_unknown .symbol FOO/BAR, known BTC/USDT"),
        (Request("x", symbol="???"), UnknownSymbol, "not_a_market"),
        (Request("x", at=NOON + timedelta(hours=1)), NoCandles, "time_in_future"),
        (Request("x", at=NOON - timedelta(days=3)), NoCandles, "no_candles_then .symbol BTC/USDT"),
        (Request("doge!", at=NOON), NoCandles, "no_candles_then .symbol DOGE/USDT"),
        (Request("x", at=datetime(1, 1, 1, tzinfo=UTC)), NoCandles, "time_too_early"),
    ],
)
def test_bad_input_is_refused_by_name(
    engine: Engine, clock: ManualClock, request_: Request, error: type[InputError], says: str
) -> None:
    """Each with its own class and one reason; nothing is stored."""
    store_candles(engine, "BTC/USDT", NOON, 30)
    with pytest.raises(InputError, match=says) as caught:
        prepare(engine, request_, clock.now())
    assert type(caught.value) is error


def test_a_past_moment_with_candles_is_taken(engine: Engine, clock: ManualClock) -> None:
    """A time that the candles reach needs no market to be named; the last covered minute is 256 after the last candle."""
    store_candles(engine, "BTC/USDT", NOON - timedelta(hours=8), 30)
    last = complete_at(NOON - timedelta(hours=8, minutes=1))
    assert prepare(engine, Request("x", at=last), clock.now()).posted_at == last
    with pytest.raises(NoCandles):
        prepare(engine, Request("x", at=last + timedelta(minutes=1)), clock.now())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-05-19T12:00Z", datetime(2021, 5, 19, 12, tzinfo=UTC)),
        ("2021-05-19 12:00", datetime(2021, 5, 19, 12, tzinfo=UTC)),
        (" 2021-05-19T14:00+02:00 ", datetime(2021, 5, 19, 12, tzinfo=UTC)),
        ("2021-05-19", datetime(2021, 5, 19, tzinfo=UTC)),
        ("1621425600", datetime(2021, 5, 19, 12, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc(text: str, moment: datetime) -> None:
    """A zone is honoured; none means UTC."""
    assert parse_time(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2021-13-01", "0001-01-01T00:00+23:00", "12:00", "\x00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """By its reason, whose sentence shows how to write it."""
    with pytest.raises(InputError, match="time_too_early" if text.startswith("0001") else "not_a_time"):
        parse_time(text)


def test_an_answer_comes_back_whole_and_is_the_same_again(
    engine: Engine, client: ScoringClient, clock: ManualClock
) -> None:
    """Photo and caption through the real queue; asking again gives the same answer without a second job."""
    store_candles(engine, "BTC/USDT", NOON, 300)
    asked = Request("so happy", image=encoded(photo(), "JPEG"), symbol="btc")
    with working(engine) as runner:
        answer = analyze(engine, client, asked, clock=clock, deadline=20)
        scored = runner.pace.rate
        assert analyze(engine, client, asked, clock=clock, deadline=20) == answer
        assert runner.pace.rate == scored
    assert answer["revision"] == REVISION
    assert answer["emotions"]["faces"] == 1
    assert answer["trajectories"]["symbol"] == "BTC/USDT"


def test_what_the_worker_refused_is_raised_here(engine: Engine, client: ScoringClient, clock: ManualClock) -> None:
    """An error of the scoring has its own class at the door."""
    with working(engine), pytest.raises(UnreadableImage, match="picture_broken"):
        analyze(engine, client, Request("FAIL please"), clock=clock, deadline=20)


def test_without_a_worker_the_wait_ends(engine: Engine, client: ScoringClient, clock: ManualClock) -> None:
    """The deadline is kept, the post too: a worker that comes later answers it."""
    with transaction(engine) as connection:
        revisions.register(connection, REVISION, {})
    with pytest.raises(Unavailable, match="no_answer_yet"):
        analyze(engine, client, Request("hello"), clock=clock, deadline=0.05)
    with working(engine):
        assert analyze(engine, client, Request("hello"), clock=clock, deadline=20)["post_id"].startswith("door:")


def test_equal_requests_at_once_share_one_post(engine: Engine, client: ScoringClient, clock: ManualClock) -> None:
    """Four callers with the same words get the same answer."""
    answers: list[str] = []
    with working(engine):
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    str(analyze(engine, client, Request("all at once"), clock=clock, deadline=20))
                )
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
