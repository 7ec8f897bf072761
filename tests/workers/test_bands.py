"""The band's past as the workers read it: the walk-forward's numbers, states that never change, nothing from the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries.candles import upsert_candles
from db.queries.market_history import market_contexts
from domain.candles import CandleColumns, MarketKey
from domain.types import Minutes
from models.trajectories.band import AT, KNOTS, LATE, POOL, STRIDE, forecast, scale
from models.trajectories.measures import DAY
from tests.models.trajectories.test_band import FIRST, parameters, tape
from training.trajectories.walk_forward import miss_rates, places
from training.trajectories.windows import windows_of
from workers.bands import MEMORY, Bands

PAIR = "BTC/USDT"
DAYS = 16


def store(engine: Engine, minutes: Minutes) -> None:
    """Its minutes as candles of one spot market whose open and close are the mid price."""
    bars = np.stack([*[minutes.mid] * 4, minutes.volume], axis=1)
    at = (minutes.first + np.arange(len(minutes.mid))) * 60
    with transaction(engine) as connection:
        upsert_candles(connection, CandleColumns.of(MarketKey("x", "spot", PAIR), at, bars))


@pytest.fixture
def market(engine: Engine) -> Minutes:
    """Sixteen days of a walk, stored."""
    found = replace(tape(DAYS * DAY, 0.2), symbol=PAIR)
    store(engine, found)
    return found


def moment(minute: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def test_the_live_path_gives_the_numbers_of_the_walk_forward(engine: Engine, market: Minutes) -> None:
    """Expected volatility, quantiles and big-move threshold of random windows are the study's, up to the order of sums."""
    windows, given = windows_of([market]), parameters()
    expected = np.einsum("nhf,hf->nh", windows.inputs, given.weights)
    standard = windows.moves / scale(expected, KNOTS)
    bands = Bands(engine, given)
    for row in np.random.default_rng(0).choice(len(windows), 12, replace=False):
        start = int(windows.start[row])
        with transaction(engine) as connection:
            context = market_contexts(connection, [(PAIR, moment(start))])[0]
            assert context is not None
            known = bands.known(connection, context)
        made = forecast(given, known, 1.0)
        midnight = start // DAY * DAY
        pool = (windows.start >= midnight - POOL) & (windows.start + 256 <= midnight - LATE)
        assert known.history is not None
        assert known.history.windows >= pool.sum()
        assert made.expected == pytest.approx(expected[row], abs=1e-9)
        if known.history.windows == pool.sum() >= 20:
            share = pool.sum() / (pool.sum() + given.prior_weight)
            own = share * np.quantile(standard[pool], 0.9, axis=0) + (1 - share) * 1.28
            assert made.quantiles[KNOTS, -5] == pytest.approx(own * scale(expected[row][None], KNOTS)[0], rel=1e-6)


def test_the_experts_are_those_of_the_walk_forward(engine: Engine, market: Minutes) -> None:
    """From the same first window on, the miss rates are the study's; asked again they come from rows and are the same."""
    given, minute = parameters(), FIRST + 14 * DAY + 77
    bands = Bands(engine, given)
    with transaction(engine) as connection:
        context = market_contexts(connection, [(PAIR, moment(minute))])[0]
        assert context is not None
        first = bands.known(connection, context)
        again = Bands(engine, given).known(connection, context)
        slots = connection.execute(text("select slot, places from band_states order by slot")).all()
    assert first.standing == again.standing
    assert first.standing is not None
    assert slots[0][0] * STRIDE // DAY % 10 in (9, 0)
    assert MEMORY // 4 <= len(slots) <= MEMORY
    starts = np.array([slot * STRIDE for slot, found in slots if found is not None])
    told = np.array([found for _, found in slots if found is not None])
    rates = miss_rates(
        np.zeros(len(starts) + 1, dtype=np.int64), np.append(starts, minute), np.vstack([told, np.full(3, 0.5)])
    )
    assert first.standing.miss == pytest.approx(tuple(rates[-1]))


def test_places_are_those_of_the_stored_outcome(engine: Engine, market: Minutes) -> None:
    """A stored place is where the candles' own move lies in the forecast made at the window's start."""
    given, slot = parameters(), (FIRST + 12 * DAY) // STRIDE
    bands = Bands(engine, given)
    with transaction(engine) as connection:
        context = market_contexts(connection, [(PAIR, moment(FIRST + 13 * DAY))])[0]
        assert context is not None
        bands.known(connection, context)
        stored = connection.execute(text("select places from band_states where slot = :s"), {"s": slot}).scalar_one()
        start = market_contexts(connection, [(PAIR, moment(slot * STRIDE))])[0]
        assert start is not None
        made = forecast(given, bands.known(connection, start), 1.0)
    index = slot * STRIDE - FIRST
    truth = 100 * (market.mid[index + KNOTS[AT]] / market.mid[index] - 1)
    assert stored == pytest.approx(places(truth[None], made.quantiles[KNOTS[AT]][None])[0].tolist(), abs=1e-9)


def test_candles_after_the_moment_change_nothing(engine: Engine, market: Minutes) -> None:
    """With noise in the place of every later candle, history, standing and minutes stay the same, byte for byte."""
    minute = FIRST + 12 * DAY + 500
    asked = [(PAIR, moment(minute))]
    with transaction(engine) as connection:
        context = market_contexts(connection, asked)[0]
        assert context is not None
        clean = Bands(engine, parameters()).known(connection, context)
        connection.execute(text("delete from band_states"))
        connection.execute(
            text("update candles set open = 1e6 * random() + 1, close = 1e6 * random() + 1 where opened_at >= :at"),
            {"at": moment(minute)},
        )
    with transaction(engine) as connection:
        context = market_contexts(connection, asked)[0]
        assert context is not None
        after = Bands(engine, parameters()).known(connection, context)
    assert clean.standing == after.standing
    assert clean.history is not None
    assert after.history is not None
    assert clean.history.quantiles.tobytes() == after.history.quantiles.tobytes()
    assert clean.minutes is not None
    assert after.minutes is not None
    assert clean.minutes.mid.tobytes() == after.minutes.mid.tobytes()


def test_a_market_without_a_past_starts_from_nothing(engine: Engine) -> None:
    """A pair followed for two hours: no windows, the prior's quantiles, nominal miss rates, no live figure."""
    store(engine, replace(tape(120), symbol=PAIR))
    with transaction(engine) as connection:
        context = market_contexts(connection, [(PAIR, moment(FIRST + 120))])[0]
        assert context is not None
        known = Bands(engine, parameters()).known(connection, context)
    assert known.history is not None
    assert known.standing is not None
    assert known.history.windows == 0
    assert known.standing.miss == pytest.approx((0.2, 0.2, 0.2))
    assert (known.standing.inside, known.standing.n) == (None, 0)
