"""From a live post over its closing candles to a row of the library, and what breaks on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import revisions
from db.queries.candles import upsert_candles
from db.queries.outcomes import correct, give_up, open_windows
from db.queries.posts import insert_posts
from db.queries.telegram import forget
from db.queries.trajectories import load_library_rows
from db.queries.verdicts import upsert_verdicts
from domain.candles import CandleColumns
from domain.clock import ManualClock
from domain.types import Post
from models.trajectories.index import SeriesIndex
from tests.fakes.candles import candles_at
from tests.fakes.scoring import FakeScorer, FakeText
from tests.workers.conftest import NOON
from tests.workers.test_library import StarterModule
from workers import inputs
from workers.inputs import LibraryFeed
from workers.runner import ScoringInput

MINUTE = timedelta(minutes=1)
PAIR = "BTC/USDT"
CLOSED = NOON + 257 * MINUTE


@pytest.fixture
def feed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> LibraryFeed:
    monkeypatch.setattr(inputs, "library", StarterModule())
    with transaction(engine) as connection:
        revisions.register(connection, "fake", {})
    return LibraryFeed(engine)


def candles(minutes: Sequence[int], symbol: str = PAIR, exchange: str = "x", rise: float = 0.1) -> CandleColumns:
    """Minutes counted from noon; the mid price is 100 at noon and rises by ``rise`` a minute after it."""
    mids = [100.0 + rise * max(n, 0) + (0.01 * (n % 2) if n < 0 else 0.0) for n in minutes]
    return candles_at(NOON, minutes, [(m, m + 1, m - 1, m, 1.0) for m in mids], symbol, exchange)


def posted(engine: Engine, name: str, at: datetime = NOON, *, scored: bool = True, **more: object) -> str:
    """A stored live post with its window open and, by default, its verdict."""
    post = Post(f"s:{name}", "s", f"bitcoin {name}", "en", at, **{"symbols": (PAIR,), **more})  # type: ignore[arg-type]
    with transaction(engine) as connection:
        insert_posts(connection, [post])
        open_windows(connection, [post.id])
        open_windows(connection, [post.id])
        if scored:
            verdicts = FakeScorer("fake").score([ScoringInput(post, None, None, PAIR)])
            upsert_verdicts(connection, verdicts)  # type: ignore[arg-type]
    return post.id


def store(engine: Engine, *made: CandleColumns) -> None:
    with transaction(engine) as connection:
        for part in made:
            upsert_candles(connection, part)


def complete(feed: LibraryFeed, at: datetime = CLOSED, words: FakeText | None = None, revision: str = "fake") -> int:
    return feed.complete(words or FakeText(), revision, ManualClock(at))


def number(engine: Engine, query: str) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text(query)).scalar() or 0)


def test_a_closing_window_joins_the_library_once(engine: Engine, feed: LibraryFeed) -> None:
    """Not before the 256th candle, then with its 256 steps, its times and its words' vector; never twice."""
    post = posted(engine, "a", NOON - timedelta(seconds=30))
    store(engine, candles(range(-256, 255)))
    assert complete(feed) == 0
    store(engine, candles([255]))
    assert complete(feed, NOON + 255 * MINUTE) == 0
    assert complete(feed) == 1
    assert complete(feed) == 0
    with transaction(engine) as connection:
        rows, _ = load_library_rows(connection, "encoder1")
        assert open_windows(connection, [post]) == 1
    assert complete(feed) == 0
    assert (rows.post_ids, rows.sources, rows.symbols) == ((post,), ("s",), (PAIR,))
    assert rows.starts_at[0] - rows.posted_at[0] == 30_000_000
    assert rows.change[0] == pytest.approx(0.1 * np.arange(256), abs=0.02)
    assert rows.volatility[0] == pytest.approx(0.01, rel=0.05)


def test_a_joined_window_answers_only_posts_after_its_end(engine: Engine, feed: LibraryFeed) -> None:
    """posted_at(match) + 256 minutes ≤ posted_at(query): one second less and the index knows nothing of it."""
    posted(engine, "a")
    store(engine, candles(range(-256, 256)))
    index = SeriesIndex()
    assert complete(feed) == 1
    assert feed.refresh(index) == 1
    query, end = np.ones((1, 384), np.float32), NOON + 256 * MINUTE
    assert index.search(query, [PAIR], [end - timedelta(seconds=1)])[0] == []
    assert [hit.row for hit in index.search(query, [PAIR], [end])[0]] == [0]


def test_a_window_with_a_hole_is_never_completed(engine: Engine, feed: LibraryFeed) -> None:
    """A missing minute is not invented: the window waits, is filled by a late candle, or is given up after two days."""
    posted(engine, "a")
    posted(engine, "b", NOON + 300 * MINUTE)
    store(engine, candles([n for n in range(-256, 300) if n != 100]))
    assert complete(feed) == 0
    with transaction(engine) as connection:
        assert give_up(connection, CLOSED) == 0
        connection.execute(text("update open_windows set opened_at = starts_at"))
    store(engine, candles([100]))
    assert complete(feed) == 1
    with transaction(engine) as connection:
        assert give_up(connection, NOON + timedelta(days=3)) == 1
    assert number(engine, "select count(*) from open_windows") == 0


def test_another_exchange_may_be_whole(engine: Engine, feed: LibraryFeed) -> None:
    """A hole at one exchange does not matter where another has all the minutes; they are never mixed."""
    posted(engine, "a")
    store(engine, candles([n for n in range(-256, 256) if n != 100]), candles(range(256), exchange="y", rise=0.2))
    assert complete(feed) == 1
    assert number(engine, "select round((change::real[])[256]) from trajectories") == 51


def test_what_does_not_join(engine: Engine, feed: LibraryFeed) -> None:
    """A repeat, a post that was never scored, one of a pair nobody follows, one whose pair was not followed before it."""
    posted(engine, "unscored", scored=False)
    posted(engine, "elsewhere", symbols=("ETH/USDT",))
    posted(engine, "unknown before", symbols=("SOL/USDT",))
    with transaction(engine) as connection:
        repeat = Post("s:again", "s", "bitcoin again", "en", NOON, (PAIR,))
        insert_posts(connection, [repeat], {repeat.id: "s:first"})
        assert open_windows(connection, [repeat.id]) == 0
    store(engine, candles(range(-256, 256)), candles(range(256), "SOL/USDT"))
    assert complete(feed) == 0
    assert number(engine, "select count(*) from open_windows") == 2
    assert complete(feed, revision="a shadow") == 0


def test_all_are_stored_and_searches_see_one_an_hour(engine: Engine, feed: LibraryFeed) -> None:
    """Every post keeps its trajectory; the index of the workers grows by one per pair and 64 minutes."""
    names = [f"n{n}" for n in range(150)]
    for n, name in enumerate(names):
        posted(engine, name, NOON + n * timedelta(seconds=50))
    store(engine, candles(range(-256, 400)))
    words = FakeText()
    done = [complete(feed, CLOSED + 200 * MINUTE, words) for _ in range(6)]
    assert done == [32, 32, 32, 32, 22, 0]
    assert number(engine, "select count(*) from trajectories") == 150
    assert number(engine, "select count(*) from trajectories where shelved") == 3
    assert len(feed.rows()) == 3


def test_a_corrected_candle_corrects_the_row(engine: Engine, feed: LibraryFeed) -> None:
    """After the window has joined, a correction within it is worked in once; one outside changes nothing."""
    posted(engine, "a")
    store(engine, candles(range(-256, 300)))
    assert complete(feed) == 1
    store(engine, candles([299], rise=0.2))
    with transaction(engine) as connection:
        assert correct(connection, NOON - 300 * MINUTE) == 0
    store(engine, candles([255], rise=0.2))
    with transaction(engine) as connection:
        assert correct(connection, NOON - 300 * MINUTE) == 1
        assert correct(connection, NOON - 300 * MINUTE) == 0
    assert number(engine, "select round((change::real[])[256]) from trajectories") == 51


def test_forgetting_a_person_takes_the_window_too(engine: Engine, feed: LibraryFeed) -> None:
    """Neither an open window nor a row of the library outlives its post's deletion by its author."""
    posted(engine, "a", author_hash="me")
    posted(engine, "b", NOON + 600 * MINUTE, author_hash="me")
    store(engine, candles(range(-256, 256)))
    assert complete(feed) == 1
    with transaction(engine) as connection:
        assert forget(connection, "me", None) == 2
    assert number(engine, "select (select count(*) from trajectories) + (select count(*) from open_windows)") == 0
