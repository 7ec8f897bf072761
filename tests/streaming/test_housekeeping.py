"""Holes are recorded and noted as filled; predictions get their score when their window has closed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from db.queries.candles import upsert_candles
from db.queries.market_history import note_gaps, open_gaps
from db.queries.posts import insert_posts
from db.queries.predictions import Said, insert_predictions
from domain.candles import CandleColumns, join
from domain.errors import Unavailable
from domain.types import Post
from streaming.housekeeping import Housekeeping
from streaming.steps import Batch
from tests.fakes.candles import candles_at
from workers.closing import settle

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BAR = (100.0, 110.0, 90.0, 100.0, 2.0)


def candles(*minutes: int, close: float = 100.0) -> CandleColumns:
    return candles_at(START, minutes, [(100.0, 110.0, 90.0, close if n == 255 else 100.0, 2.0) for n in minutes])


def test_a_hole_is_recorded_once_and_noted_when_filled(engine: Engine) -> None:
    """Sixty missing minutes become one row, never a candle; when they arrive the row says so."""
    with engine.begin() as connection:
        upsert_candles(connection, candles(0, 1, 62))
        assert note_gaps(connection, START) == (1, 0)
        assert note_gaps(connection, START) == (0, 0)
        gap = connection.execute(text("select start_at, end_at, filled_at from candle_gaps")).one()
        assert (gap.start_at, gap.end_at, gap.filled_at) == (START + 2 * MINUTE, START + 62 * MINUTE, None)
        assert connection.execute(text("select count(*) from candles")).scalar() == 3
        exchange = connection.execute(text("select exchange from markets")).scalar_one()
        assert open_gaps(connection, exchange, START) == [("BTC/USDT", gap.start_at, gap.end_at)]
        assert open_gaps(connection, exchange, gap.end_at) == open_gaps(connection, "other", START) == []
        upsert_candles(connection, candles(*range(2, 62)))
        assert note_gaps(connection, START) == (0, 1)
        assert open_gaps(connection, exchange, START) == []


def test_a_hole_longer_than_the_look_is_recorded(engine: Engine) -> None:
    """The candle before the first one of the span counts, however long ago it was; of another market it does not."""
    with engine.begin() as connection:
        upsert_candles(connection, join([candles(0, 1200, 1201), candles_at(START, [1200], BAR, "ETH/USDT")]))
        assert note_gaps(connection, START + 1000 * MINUTE) == (1, 0)
        gap = connection.execute(text("select start_at, end_at from candle_gaps")).one()
    assert tuple(gap) == (START + MINUTE, START + 1200 * MINUTE)


def batch(candles: CandleColumns) -> Batch:
    """What the sink tells of candles that it stored."""
    return Batch([], candles, [], set(), [], [])


def gaps(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("select count(*) from candle_gaps")).scalar() or 0)


def test_rounds_look_as_far_back_as_candles_were_stored(engine: Engine) -> None:
    """The first looks back a week; candles that come long after their time are looked at in the next one."""
    house, now = Housekeeping(engine), START + 20 * DAY
    with engine.begin() as connection:
        upsert_candles(connection, candles(0, 2, 14 * 1440, 14 * 1440 + 2))
    house.keep(now)
    assert gaps(engine) == 2
    late = candles(*range(17 * 1440, 17 * 1440 + 3), 17 * 1440 + 63)
    with engine.begin() as connection:
        upsert_candles(connection, late)
    house.keep(now)
    assert gaps(engine) == 2
    house.stored(batch(late))
    house.keep(now)
    assert gaps(engine) == 4


def test_a_look_that_failed_is_made_up_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is away nothing is forgotten, and nothing is raised."""

    def away(*_: object) -> tuple[int, int]:
        raise Unavailable("away")

    house, now = Housekeeping(engine), START + 5 * DAY
    house.keep(now)
    with engine.begin() as connection:
        upsert_candles(connection, candles(0, 2))
    house.stored(batch(candles(0, 2)))
    with monkeypatch.context() as patched:
        patched.setattr("streaming.housekeeping.note_gaps", away)
        house.keep(now)
    assert gaps(engine) == 0
    house.keep(now)
    assert gaps(engine) == 1


def predict(engine: Engine, *, low: float, high: float, probability: float, threshold: float) -> None:
    due = START + 256 * MINUTE
    with engine.begin() as connection:
        insert_posts(connection, [Post("t:1", "t", "btc", "en", START, ("BTC/USDT",))])
        insert_predictions(connection, [Said("t:1", "r", "BTC/USDT", due, probability, threshold, 0.0, low, high)])


@pytest.mark.parametrize(("threshold", "hype", "brier"), [(500.0, True, 0.09), (513.0, False, 0.49)])
def test_a_prediction_is_scored_when_all_its_candles_are_there(
    engine: Engine, threshold: float, hype: bool, brier: float
) -> None:
    """End change of the mid price, inside the band or not, hype against its threshold, Brier score; and only once."""
    predict(engine, low=-1.0, high=6.0, probability=0.7, threshold=threshold)
    now = START + 257 * MINUTE
    with engine.begin() as connection:
        upsert_candles(connection, candles(*range(255)))
        assert settle(connection, now) == 0
        upsert_candles(connection, candles(255, close=110.0))
        assert settle(connection, START + 255 * MINUTE) == 0
        assert settle(connection, now) == 1
        assert settle(connection, now) == 0
        row = connection.execute(text("select end_change, inside_band, hype, brier from prediction_scores")).one()
    assert row.end_change == pytest.approx(5.0)
    assert (row.inside_band, row.hype) == (True, hype)
    assert row.brier == pytest.approx(brier)


def test_a_window_with_a_hole_gets_no_figures(engine: Engine) -> None:
    """Two days after a window that never became whole, the case is closed without a figure."""
    predict(engine, low=-1.0, high=1.0, probability=0.7, threshold=1.0)
    with engine.begin() as connection:
        upsert_candles(connection, candles(0, 1, 2))
        assert settle(connection, START + timedelta(days=1)) == 0
        assert settle(connection, START + timedelta(days=3)) == 1
        row = connection.execute(text("select end_change, inside_band, hype, brier from prediction_scores")).one()
    assert tuple(row) == (None, None, None, None)


def test_predictions_behind_a_hole_do_not_hold_up_others(engine: Engine) -> None:
    """However many older windows wait for a missing candle, those that are whole are scored."""
    with engine.begin() as connection:
        for n in range(6):
            symbol, due = ("ETH/USDT" if n < 5 else "BTC/USDT"), START + (256 + (n == 5)) * MINUTE
            insert_posts(connection, [Post(f"t:{n}", "t", "btc", "en", START, (symbol,))])
            insert_predictions(connection, [Said(f"t:{n}", "r", symbol, due, 0.5, 1.0, 0.0, -1.0, 1.0)])
        upsert_candles(connection, candles(*range(257)))
        upsert_candles(connection, candles_at(START, [0], [1.0] * 5, "ETH/USDT"))
        assert settle(connection, START + 300 * MINUTE, limit=2) == 1
        assert connection.execute(text("select post_id from prediction_scores")).scalar() == "t:5"
