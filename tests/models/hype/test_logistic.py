"""The hype forecast: about the next window, from the past alone, with a reason where it says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from domain.answer import HypeForecast
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import STEPS, WINDOWS, MarketContext
from models.hype.logistic import NAMES, HypeParameters, LogisticHype, Situation, load_hype, save_hype, situation

AT = datetime(2024, 5, 6, 12, tzinfo=UTC)


def context(volume: np.ndarray | None = None, as_of: datetime = AT) -> MarketContext:
    """A market with given volume windows."""
    if volume is None:
        volume = np.random.default_rng(0).lognormal(3, 0.5, WINDOWS)
    mid = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.001, STEPS)))
    return MarketContext("BTC/USDT", as_of, mid, volume, np.full(WINDOWS, 2.0))


def model(signal: bool = True) -> LogisticHype:
    """A model that looks at the last window over the threshold only."""
    weights = np.array([float(name == "log last window over the threshold") for name in NAMES])
    return LogisticHype(HypeParameters(np.zeros(len(NAMES)), np.ones(len(NAMES)), weights, -1.0, 0.22, signal))


def forecast(known: MarketContext | None, signal: bool = True) -> HypeForecast:
    """One forecast."""
    nothing = np.zeros((1, 1), dtype=np.float32)
    return model(signal).forecast([known], nothing, nothing)[0].symbol


def test_a_forecast_says_what_it_is_about() -> None:
    """Probability in (0, 1), threshold the 80th percentile of the past windows, horizon 256 minutes, base rate beside."""
    known = context()
    said = forecast(known)
    assert said.probability is not None
    assert 0 < said.probability < 1
    assert said.threshold == pytest.approx(np.quantile(known.volume, 0.8))
    assert (said.horizon_minutes, said.base_rate, said.signal, said.reason) == (256, 0.22, True, None)


def test_a_louder_last_window_is_likelier_followed_by_hype() -> None:
    """The forecast moves with what it looks at."""
    loud = context().volume.copy()
    loud[-1] *= 5
    assert (forecast(context(loud)).probability or 0) > (forecast(context()).probability or 0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda v: None, Reason("no_market_history")),
        (lambda v: np.where(np.arange(WINDOWS) == WINDOWS - 1, np.nan, v), Reason("few_candles")),
        (
            lambda v: np.where(np.arange(WINDOWS) < WINDOWS - 5, np.nan, v),
            Reason("few_windows", {"count": 5, "windows": WINDOWS, "least": 12}),
        ),
        (lambda v: v * 0, Reason("no_trade")),
    ],
)
def test_too_little_past_gives_a_reason(spoil: object, reason: Reason) -> None:
    """Where nothing can be said, the probability is None and the reason says why."""
    volume = spoil(context().volume)  # type: ignore[operator]
    said = forecast(None if volume is None else context(volume))
    assert said.probability is None
    assert said.threshold is None
    assert not said.signal
    assert said.reason == reason


def test_no_signal_has_a_reason() -> None:
    """A model that did not beat persistence still answers, and says that there is no signal."""
    said = forecast(context(), signal=False)
    assert said.probability is not None
    assert not said.signal
    assert said.reason == Reason("no_better_than_persistence")


def test_features_do_not_depend_on_the_unit_of_volume() -> None:
    """A coin traded in millions and one in hundredths give the same features."""
    small, large = situation(context()), situation(context(context().volume * 1e6))
    assert isinstance(small, Situation)
    assert isinstance(large, Situation)
    assert small.features == pytest.approx(large.features)
    assert len(small.features) == len(NAMES)
    assert large.threshold == pytest.approx(small.threshold * 1e6)


def test_the_clock_is_that_of_the_next_window() -> None:
    """Only the clock's features differ between two hours of one market."""
    a, b = situation(context()), situation(replace(context(), as_of=AT + timedelta(hours=6)))
    assert isinstance(a, Situation)
    assert isinstance(b, Situation)
    changed = np.flatnonzero(~np.isclose(a.features, b.features))
    assert all("hour" in NAMES[i] or "weekday" in NAMES[i] for i in changed)
    assert len(changed) >= 2


def test_the_model_survives_saving(tmp_path: Path) -> None:
    """Loaded, it forecasts the same; weights for other features are refused."""
    save_hype(tmp_path / "hype", model().parameters, {}, "# card")
    nothing = np.zeros((1, 1), dtype=np.float32)
    assert load_hype(tmp_path).forecast([context()], nothing, nothing) == model().forecast(
        [context()], nothing, nothing
    )
    short = replace(model().parameters, weights=np.ones(3), mean=np.zeros(3), scale=np.ones(3))
    save_hype(tmp_path / "hype", short, {}, "# card")
    with pytest.raises(WeightsError, match="hype model"):
        load_hype(tmp_path)
