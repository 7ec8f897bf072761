"""The band: its measures, its history, its edges, and nothing from after the moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.types import STEPS, WINDOWS, BandHistory, MarketContext, Minutes
from models.trajectories import band, measures
from models.trajectories.band import KNOTS, LEVELS, BandParameters
from models.trajectories.conformal import STEPS as EXPERTS
from models.trajectories.conformal import TARGET, Experts

FIRST = 28_400_640
"""A UTC midnight, in epoch minutes."""


def tape(minutes: int, volatility: float = 0.1, seed: int = 0) -> Minutes:
    """A random walk with this volatility (percent per minute) and a lognormal volume."""
    rng = np.random.default_rng(seed)
    mid = 100 * np.exp(np.cumsum(rng.normal(0, volatility / 100, minutes)))
    return Minutes("BTC/USDT", FIRST, mid, np.exp(rng.normal(size=minutes)))


def parameters(spread: float = 1.28) -> BandParameters:
    """The volatility of the last day carries on; the prior is a Gaussian's."""
    weights = np.zeros((3, len(measures.NAMES)))
    weights[:, measures.NAMES.index("log volatility, 1440 min")] = 1
    at_level = np.interp(LEVELS, [0.005, 0.1, 0.5, 0.9, 0.995], [-2 * spread, -spread, 0, spread, 2 * spread])
    return BandParameters(weights, np.repeat(at_level[None], len(KNOTS), axis=0), 100.0)


def context(minutes: Minutes, history: BandHistory | None = None) -> MarketContext:
    """What is known at the end of a tape."""
    last = Minutes(minutes.symbol, minutes.first, minutes.mid, minutes.volume)
    nothing = np.zeros(WINDOWS)
    return MarketContext(minutes.symbol, datetime(2024, 1, 1, tzinfo=UTC), minutes.mid[-STEPS:], nothing, last, history)


def test_a_walk_gets_the_band_of_a_walk() -> None:
    """The expected volatility is the walk's, the band starts at 0, widens with the root of time, and is not flagged."""
    found = band.forecast(parameters(), context(tape(8192, 0.2)), usual=9.0)
    low, high = found.edges()
    assert np.exp(found.expected) == pytest.approx(0.2, rel=0.1)
    assert low[0] == high[0] == 0
    assert high[255] == pytest.approx(1.28 * 0.2 * 255**0.5, rel=0.1)
    assert high[160] / high[40] == pytest.approx(2, rel=0.02)
    assert found.widened == ""


def test_a_larger_miss_rate_gives_a_narrower_band() -> None:
    """Edges follow the miss rate of each horizon, and between horizons lie between."""
    found = band.forecast(parameters(), context(tape(8192)), usual=1.0)
    wide, plain = found.edges((0.1, 0.1, 0.1)), found.edges()
    assert (wide[1] - wide[0] >= plain[1] - plain[0]).all()
    mixed = found.edges((0.1, 0.2, 0.2))
    assert mixed[1][15] == pytest.approx(wide[1][15])
    assert mixed[1][60] == pytest.approx(plain[1][60])


@pytest.mark.parametrize(("missing", "said"), [(5, ""), (90, "stale"), (8150, "blind")])
def test_a_stale_tape_widens_and_says_so(missing: int, said: str) -> None:
    """Minutes missing at the end widen the band; with next to none known the fallback is used."""
    whole = tape(8192)
    mid = whole.mid.copy()
    mid[-missing:] = np.nan
    plain = band.forecast(parameters(), context(whole), usual=0.1)
    found = band.forecast(parameters(), context(replace(whole, mid=mid)), usual=0.1)
    assert found.widened == said
    assert found.edges()[1][255] >= plain.edges()[1][255] * (1.02 if said else 0.95)


def test_without_a_context_the_usual_volatility_gives_a_wider_band() -> None:
    """No minutes: the fallback volatility times the factor for it."""
    found = band.forecast(parameters(), None, usual=0.3)
    assert found.widened == "blind"
    assert found.edges()[1][255] == pytest.approx(band.BLIND * 1.28 * 0.3 * 255**0.5, rel=0.01)


def test_history_counts_windows_before_midnight_only() -> None:
    """Windows that end in the hour before midnight or later stay out; poisoned minutes from then on change nothing."""
    days = 12
    whole, midnight = tape(days * 1440 + 600), FIRST + days * 1440
    poisoned = whole.mid.copy()
    poisoned[days * 1440 - band.LATE :] *= np.exp(np.random.default_rng(1).normal(size=600 + band.LATE))
    clean = band.history(parameters(), whole, midnight)
    after = band.history(parameters(), replace(whole, mid=poisoned), midnight)
    assert clean.windows == after.windows > 100
    assert np.array_equal(clean.quantiles, after.quantiles)
    assert clean.climatology is not None
    assert after.climatology is not None
    assert np.array_equal(clean.climatology, after.climatology)
    assert (clean.big_move, clean.bias) == (after.big_move, after.bias)


def test_a_short_history_leans_on_the_prior() -> None:
    """With no windows the prior stands alone; with many, the market's own quantiles outweigh it."""
    given = parameters(spread=5.0)
    none = band.history(given, tape(100), FIRST + 1440)
    assert none.windows == 0
    assert np.array_equal(none.quantiles, given.prior)
    many = band.history(given, tape(40 * 1440), FIRST + 40 * 1440)
    upper = int(np.flatnonzero(np.isclose(LEVELS, 0.9))[0])
    assert 1.28 < many.quantiles[-1, upper] < 2.2


@settings(max_examples=25, deadline=None)
@given(at=st.integers(8192, 12_000), seed=st.integers(0, 5))
def test_measures_see_only_what_had_closed(at: int, seed: int) -> None:
    """Noise in the place of every minute from the moment on moves no measure; a slice gives what the whole tape gives."""
    whole = tape(13_000, seed=seed)
    poisoned = whole.mid.copy()
    poisoned[at:] = np.random.default_rng(seed).uniform(1, 1000, len(poisoned) - at)
    where = np.array([at])
    clean = measures.measures(measures.Sums.of(whole), where, band.HORIZONS)
    after = measures.measures(measures.Sums.of(replace(whole, mid=poisoned)), where, band.HORIZONS)
    assert np.array_equal(clean, after)
    part = band.clip(whole, FIRST + at - measures.LONG - 1, FIRST + at)
    alone = measures.measures(measures.Sums.of(part), np.array([len(part.mid)]), band.HORIZONS)
    assert alone == pytest.approx(clean, abs=1e-8)


def test_where_a_tape_begins_makes_no_difference() -> None:
    """Minutes before the first candle count as missing, whether the tape holds them as such or not."""
    young = tape(3000)
    gone = np.full(6000, np.nan)
    padded = replace(young, first=FIRST - 6000, mid=np.append(gone, young.mid), volume=np.append(gone, young.volume))
    short = measures.measures(measures.Sums.of(young), np.array([200, 900, 3000]), band.HORIZONS)
    long = measures.measures(measures.Sums.of(padded), np.array([200, 900, 3000]) + 6000, band.HORIZONS)
    assert short == pytest.approx(long, abs=1e-8, nan_ok=True)


def test_measures_have_names() -> None:
    """One name per column, and a window on a Saturday is told as a weekend."""
    found = measures.measures(measures.Sums.of(tape(9000)), np.array([8900]), (15,))
    assert found.shape == (1, 1, len(measures.NAMES))
    assert np.isfinite(found).all()


def test_experts_follow_what_is_missed() -> None:
    """Bands that always hold narrow (a larger miss rate), bands that never do widen; weights stay a distribution."""
    fresh = Experts.fresh()
    assert fresh.rate == pytest.approx(TARGET)
    held, missed = fresh, fresh
    for _ in range(300):
        held, missed = held.after(0.5), missed.after(0.999)
    assert held.rate > TARGET > missed.rate
    for experts in (held, missed):
        assert experts.weight.sum() == pytest.approx(1)
        assert len(experts.weight) == len(EXPERTS)


def test_experts_reach_the_nominal_rate_on_a_band_that_is_too_narrow() -> None:
    """Outcomes with twice the spread that the forecast claims: after adapting, four fifths fall inside."""
    rng = np.random.default_rng(0)
    experts, inside = Experts.fresh(), []
    for value in rng.normal(0, 1.5, 6000):
        place = float(np.interp(value, np.linspace(-3, 3, 61), np.linspace(0, 1, 61)))
        inside.append(experts.rate / 2 <= place <= 1 - experts.rate / 2)
        experts = experts.after(place)
    assert np.mean(inside[2000:]) == pytest.approx(0.8, abs=0.03)
