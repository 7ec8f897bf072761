"""Candles: upserts keep the last truth with a revision; a market context knows nothing of the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.migrate import existing, maintain
from db.queries.candles import known_symbols, recent, upsert_candles
from db.queries.market_history import market_contexts
from db.queries.posts import insert_posts
from domain.candles import CandleColumns, MarketKey, join
from domain.series import PAST, QUARTER
from domain.types import MINUTE, STEPS, Post
from tests.fakes.candles import candles_at

pytestmark = pytest.mark.stack

START = datetime(2024, 1, 30, tzinfo=UTC)
CLOSE, VOLUME = 3, 4


def candles(count: int, start: datetime = START, symbol: str = "BTC/USDT") -> CandleColumns:
    """A walk of closed one-minute candles; volume is the number of the minute."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    bars = [(c, c * 1.001, c * 0.999, c, float(i)) for i, c in enumerate(close.tolist())]
    return candles_at(start, range(count), bars, symbol, "binance")


def changed(candles: CandleColumns, row: int, column: int, value: float, *, final: bool = True) -> CandleColumns:
    """One of the candles with another value."""
    one = candles.take([row])
    bars = one.bars.copy()
    bars[0, column] = value
    return replace(one, bars=bars, final=np.array([final]))


def test_upsert_inserts_once_and_counts_corrections(engine: Engine) -> None:
    """A second run changes nothing; a corrected candle keeps its key and gets revision 1; both months get a partition."""
    rows = candles(4000)
    with engine.begin() as connection:
        assert upsert_candles(connection, rows).inserted == 4000
    with engine.begin() as connection:
        again = upsert_candles(connection, rows)
        assert (again.inserted, again.corrected, again.unchanged) == (0, 0, 4000)
    with engine.begin() as connection:
        assert upsert_candles(connection, changed(rows, 5, VOLUME, 99.0)).corrected == 1
        assert connection.execute(text("select volume, revision from candles where revision > 0")).all() == [(99.0, 1)]
        assert sorted(existing(connection)) == ["candles_y2024m01", "candles_y2024m02"]


def test_same_key_twice_in_a_batch_and_unfinished_candles(engine: Engine) -> None:
    """The last of two equal keys wins without an error; a candle that is not final never replaces a final one."""
    one = candles(1)
    unfinished = replace(one, final=np.array([False]))
    with engine.begin() as connection:
        assert upsert_candles(connection, join([unfinished, changed(one, 0, CLOSE, 101.0), unfinished])).inserted == 1
        assert connection.execute(text("select close, final, revision from candles")).one() == (101.0, True, 0)
        assert upsert_candles(connection, changed(one, 0, CLOSE, 5.0, final=False)).unchanged == 1
        assert connection.execute(text("select close from candles")).scalar() == 101.0


def test_context_equals_the_arithmetic_and_ignores_the_future(engine: Engine) -> None:
    """Mid prices, window volumes and post counts are those before the moment; poisoned later rows move nothing."""
    count = STEPS * 4 + 90
    rows = candles(count)
    as_of = START + (count - 30) * MINUTE
    posts = [Post(f"x:{i}", "x", "gm", "en", as_of - timedelta(seconds=60 * i), ("BTC/USDT",)) for i in range(-5, 10)]
    with engine.begin() as connection:
        upsert_candles(connection, rows)
        insert_posts(connection, posts)
        (before,) = market_contexts(connection, [("BTC/USDT", as_of + timedelta(seconds=12))], posts=True)
        assert before is not None
    expected = rows.bars[count - 30 - STEPS : count - 30, [0, CLOSE]].mean(axis=1)
    np.testing.assert_allclose(before.mid, expected)
    assert before.mid.shape == (STEPS,)
    np.testing.assert_allclose(before.volume, np.arange(count - 30 - STEPS, count - 30))
    windows = before.windows
    assert windows is not None
    closed = int(as_of.timestamp()) // 60 // QUARTER * QUARTER - int(START.timestamp()) // 60
    assert windows.volume.shape == (PAST,)
    np.testing.assert_allclose(windows.volume[-1], np.mean(range(closed - QUARTER, closed)))
    assert np.isnan(windows.volume[: -count // QUARTER]).all()
    assert windows.posts[-1] == windows.authors[-1] == 5
    with engine.begin() as connection:
        connection.execute(
            text("update candles set open = 1e9, close = 1e9, volume = 1e9 where opened_at >= :t"), {"t": as_of}
        )
        connection.execute(text("delete from posts where posted_at >= :t"), {"t": as_of})
        (after,) = market_contexts(connection, [("BTC/USDT", as_of + timedelta(seconds=12))], posts=True)
        assert after is not None
    for name in ("mid", "volume"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert after.windows is not None
    for name in windows.__slots__:
        np.testing.assert_array_equal(getattr(windows, name), getattr(after.windows, name))


def test_contexts_keep_order_and_say_none_where_nothing_is_known(engine: Engine) -> None:
    """An unknown symbol or an uncovered time gives None in its place; recent() gives closed candles only."""
    with engine.begin() as connection:
        upsert_candles(connection, candles(300))
        end = START + 300 * MINUTE
        got = market_contexts(connection, [("ETH/USDT", end), ("BTC/USDT", end), ("BTC/USDT", START - 300 * MINUTE)])
        assert [c is None for c in got] == [True, False, True]
        assert market_contexts(connection, []) == []
        assert known_symbols(connection) == ["BTC/USDT"]
        last = recent(connection, "BTC/USDT", START + 10 * MINUTE + timedelta(seconds=30), 5)
        assert last.at.tolist() == [int(START.timestamp()) + 60 * i for i in range(5, 10)]
        np.testing.assert_array_equal(last.bars, candles(10).bars[5:])
        assert (list(last.markets), last.final.all()) == ([MarketKey("binance", "spot", "BTC/USDT")], True)
        assert len(recent(connection, "ETH/USDT", end, 5)) == 0


def test_partitions_are_made_ahead_and_dropped_when_old(engine: Engine) -> None:
    """Two months are ready in advance; retention detaches and drops whole months only."""
    with engine.begin() as connection:
        upsert_candles(connection, candles(10))
        made, dropped = maintain(connection, datetime(2024, 3, 5, tzinfo=UTC))
        assert made == ["candles_y2024m03", "candles_y2024m04", "candles_y2024m05"]
        assert dropped == []
        assert maintain(connection, datetime(2024, 3, 5, tzinfo=UTC), keep=timedelta(days=10))[1] == [
            "candles_y2024m01"
        ]
        assert connection.execute(text("select count(*) from candles")).scalar() == 0
        assert maintain(connection, datetime(2024, 3, 5, tzinfo=UTC)) == ([], [])
