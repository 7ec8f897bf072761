"""The features of a hype forecast: of the past alone, without a unit, and the same one by one as all at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from domain.series import PAST
from domain.types import STEPS
from models.hype.features import CHANNELS, NAMES, TROUBLES, quantile, sequences, situations
from models.hype.past import past_of
from tests.fakes.markets import AT, MINUTE, context, tape
from training.hype.windows import Target, next_rate, past_at, windows
from training.trajectories.tape import Tape, moment


def test_the_threshold_is_the_percentile_of_windows_of_that_length() -> None:
    """For 15 minutes it is that of the windows times 15; for an hour that of means of four windows times 60."""
    known = context()
    assert known.windows is not None
    volume = known.windows.volume
    quarter, hour = situations(past_of([known]), 15), situations(past_of([known]), 60)
    assert quarter.threshold[0] == pytest.approx(15 * np.quantile(volume, 0.8))
    means = np.convolve(volume, np.ones(4) / 4, "valid")
    assert hour.threshold[0] == pytest.approx(60 * np.quantile(means, 0.8))
    assert quarter.features.shape == (1, len(NAMES))
    assert np.isfinite(quarter.features).all()


def test_features_do_not_depend_on_the_unit_of_volume() -> None:
    """A coin traded in millions and one in hundredths give the same features."""
    small, large = situations(past_of([context()]), 15), situations(past_of([context(100e6)]), 15)
    assert small.features == pytest.approx(large.features)
    assert large.threshold == pytest.approx(small.threshold * 1e6)


def test_a_louder_last_hour_raises_the_level() -> None:
    """The level is the log of the last window over the threshold."""
    calm, loud = situations(past_of([context(last=1.0), context(last=5.0)]), 60).level
    assert loud - calm == pytest.approx(np.log(5))


@pytest.mark.parametrize("horizon", [15, 60, 256])
def test_training_and_serving_see_the_same(horizon: int) -> None:
    """Over 1,000 moments of a tape with holes, the rows made all at once equal those made one by one, bit for bit."""
    market = tape()
    minutes = np.sort(np.random.default_rng(3).choice(np.arange(market.first + 10, MINUTE + 600), 1000, replace=False))
    together = past_at(market, minutes)
    single = past_of([market.context(moment(m * 60)) for m in minutes])
    for name in together.__slots__:
        np.testing.assert_array_equal(getattr(together, name), getattr(single, name))
    np.testing.assert_array_equal(situations(together, horizon).features, situations(single, horizon).features)


def test_a_poisoned_future_changes_nothing() -> None:
    """Candles and posts from the moment on, however wild, leave features and sequences as they were."""
    market = tape()
    place = MINUTE - market.first
    volume, mid = market.volume.copy(), market.mid.copy()
    volume[place:], mid[place:] = 1e9, 1e-9
    later = np.concatenate([market.posts[market.posts < MINUTE * 60], np.full(500, MINUTE * 60)])
    poisoned = Tape(
        market.symbol, market.first, mid, volume, later, (*market.authors[: len(later) - 500], *["x"] * 500)
    )
    for horizon in (15, 60):
        clean, after = (past_at(t, np.array([MINUTE])) for t in (market, poisoned))
        np.testing.assert_array_equal(situations(clean, horizon).features, situations(after, horizon).features)
        np.testing.assert_array_equal(sequences(clean, horizon), sequences(after, horizon))


def test_the_label_is_what_comes_after_and_changes_with_it() -> None:
    """Only the label moves when the future does: the windows' rows hold outcomes, their features do not."""
    market = tape()
    assert next_rate(market, np.array([MINUTE]), 15) == pytest.approx(
        np.nanmean(market.volume[MINUTE - market.first : MINUTE - market.first + 15])
    )
    rows = windows({("x", "BTC/USDT"): market}, Target(15), 15)
    louder = Tape(
        market.symbol, market.first, market.mid, np.append(market.volume[:-15], np.full(15, 1e9)), market.posts
    )
    last = windows({("x", "BTC/USDT"): louder}, Target(15), 15)
    assert last.hot[-1]
    assert rows.features[-1][:10] == pytest.approx(last.features[-1][:10])
    assert 0.05 < rows.hot.mean() < 0.5


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (lambda c: replace(c, volume=np.full(STEPS, np.nan)), "thin"),
        (lambda c: replace(c, windows=None), "short"),
        (lambda c: replace(c, windows=replace(c.windows, volume=np.zeros(PAST))), "idle"),
    ],
)
def test_too_little_past_is_named(spoil: object, trouble: str) -> None:
    """Missing candles, too short a past and an idle market are told apart."""
    spoiled = spoil(context())  # type: ignore[operator]
    assert TROUBLES[situations(past_of([spoiled]), 15).trouble[0]] == trouble


def test_the_clock_is_that_of_the_next_window() -> None:
    """Only the clock's features differ between two hours of one market."""
    a, b = (situations(past_of([context(as_of=AT + timedelta(hours=h))]), 15).features[0] for h in (0, 6))
    changed = [NAMES[i] for i in np.flatnonzero(~np.isclose(a, b))]
    assert changed
    assert all("time of day" in name for name in changed)


def test_quantiles_leave_unknown_values_out() -> None:
    """As numpy's nanquantile, and NaN for a row of which nothing is known."""
    values = np.array([[3.0, np.nan, 1.0, 2.0, np.nan], [np.nan] * 5])
    first, second = quantile(values, 0.8)
    assert first == pytest.approx(np.nanquantile(values[0], 0.8))
    assert np.isnan(second)


def test_sequences_end_with_the_last_closed_window() -> None:
    """The last step is the newest window of the past, the first a day before it."""
    past = past_of([context()])
    steps = sequences(past, 15)
    assert steps.shape == (1, 96, len(CHANNELS))
    threshold = situations(past, 15).threshold[0] / 15
    assert steps[0, -1, 0] == pytest.approx(np.log(past.window_volume[0, -1] / threshold))
