"""Hype: the probability that the next 256 minutes trade more than the trailing 80th percentile of the past windows.

A calibrated logistic regression on volume windows, posts and the clock, stored as plain numbers. Report 003's product form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.answer import Hype, HypeForecast
from domain.candles import volatility_before
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import HYPE_QUANTILE, STEPS, WINDOWS, Floats, MarketContext
from models import checkpoint
from models.manifest import ARTIFACTS

FOLDER = "hype"
MIN_WINDOWS = 12
"""Fewest past windows with enough candles for a percentile to mean something (a little over two days)."""
LAGS = 6
DAYS = np.arange(1, 6)
"""Past days whose windows at the same time of day make a market's own daily profile."""

Doubles = NDArray[np.float64]

NAMES = (
    *(f"log volume over its median, window -{lag + 1}" for lag in range(LAGS)),
    "volume at the next window's time on the past five days",
    "its change from the last window's time",
    "log last window over the threshold",
    "last window was above the threshold",
    "share of the last eight windows above it",
    "log threshold over the median",
    "last hour's volatility over the last four hours'",
    "posts are counted",
    "log posts in the last window over their mean",
    *(f"{f} of {n} × hour" for n in (1, 2) for f in ("sin", "cos")),
    "sin of weekday",
    "cos of weekday",
)


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """Features of one context and the threshold they are about (base currency)."""

    features: Doubles
    threshold: float
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class HypeParameters:
    """What training fits: logit = ((features - mean) / scale) · weights + intercept.

    ``signal`` says whether the model beat persistence on the latest walk-forward fold; ``base_rate`` is of the training rows.
    """

    mean: Doubles
    scale: Doubles
    weights: Doubles
    intercept: float
    base_rate: float
    signal: bool


def situation(context: MarketContext | None) -> Situation | Reason:
    """Features of a context, or the reason why there are none."""
    if context is None:
        return Reason("no_market_history")
    volume = context.volume
    valid = np.isfinite(volume)
    if not valid[-1]:
        return Reason("few_candles")
    if valid.sum() < MIN_WINDOWS:
        return Reason("few_windows", {"count": int(valid.sum()), "windows": WINDOWS, "least": MIN_WINDOWS})
    threshold = float(np.quantile(volume[valid], HYPE_QUANTILE))
    if threshold <= 0:
        return Reason("no_trade")
    return Situation(_features(context, threshold), threshold, float(volume[-1]))


def _features(context: MarketContext, threshold: float) -> Doubles:
    volume = context.volume
    valid = np.isfinite(volume)
    floor = threshold * 1e-3
    middle = np.log(max(float(np.median(volume[valid])), floor))
    ratios = np.where(valid, np.log(np.maximum(np.where(valid, volume, 1.0), floor)) - middle, 0.0)[::-1]
    above = (volume[-8:] > threshold)[valid[-8:]]
    return np.array(
        [
            *ratios[:LAGS],
            *_profile(ratios),
            ratios[0] + middle - np.log(threshold),
            float(volume[-1] > threshold),
            float(above.mean()),
            np.log(threshold) - middle,
            _lately(context),
            *_posts(context),
            *_clock(context),
        ]
    )


def _profile(ratios: Doubles) -> tuple[float, float]:
    """Mean log ratio at the next window's time of day on past days, and its change; ``ratios``: newest window first."""
    ago = DAYS * 1440 / STEPS - 1
    usual, last = (float(np.interp(at, np.arange(WINDOWS), ratios).mean()) for at in (ago, ago + 1))
    return usual, usual - last


def _lately(context: MarketContext) -> float:
    whole, last = volatility_before(context.mid), volatility_before(context.mid[-65:])
    return float(np.log(last / whole)) if whole and last else 0.0


def _posts(context: MarketContext) -> tuple[float, float]:
    posts = context.posts[np.isfinite(context.posts)]
    if not len(posts) or posts.sum() == 0 or not np.isfinite(context.posts[-1]):
        return 0.0, 0.0
    return 1.0, float(np.log1p(posts[-1]) - np.log1p(posts.mean()))


def _clock(context: MarketContext) -> tuple[float, ...]:
    """Hour and weekday of the middle of the next window."""
    middle = context.as_of + timedelta(minutes=STEPS / 2)
    hour = 2 * np.pi * (middle.hour + middle.minute / 60) / 24
    day = 2 * np.pi * (middle.weekday() + middle.hour / 24) / 7
    return np.sin(hour), np.cos(hour), np.sin(2 * hour), np.cos(2 * hour), np.sin(day), np.cos(day)


class LogisticHype:
    """Implements :class:`models.parts.HypeModel`. Words and mood are taken but not used: see the card."""

    def __init__(self, parameters: HypeParameters) -> None:
        self.parameters = parameters

    def forecast(self, contexts: Sequence[MarketContext | None], embeddings: Floats, moods: Floats) -> list[Hype]:
        """One forecast per context; ``probability`` is None with a reason where the past does not suffice."""
        return [Hype(self._forecast(situation(c)), post_reason=Reason("no_post_hype")) for c in contexts]

    def probability(self, features: Doubles) -> Doubles:
        """Of hype, for features (n, f): float64[n]."""
        p = self.parameters
        logit = ((features - p.mean) / p.scale) @ p.weights + p.intercept
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))), dtype=np.float64)

    def _forecast(self, now: Situation | Reason) -> HypeForecast:
        p = self.parameters
        if isinstance(now, Reason):
            return HypeForecast(None, p.base_rate, STEPS, None, signal=False, reason=now)
        said = float(self.probability(now.features[None])[0])
        reason = None if p.signal else Reason("no_better_than_persistence")
        return HypeForecast(said, p.base_rate, STEPS, now.threshold, signal=p.signal, reason=reason)


def save_hype(folder: Path, parameters: HypeParameters, config: dict[str, Any], card: str) -> None:
    """Write a checkpoint: numbers as weights; base rate, signal and what the caller adds as config."""
    arrays = {name: getattr(parameters, name) for name in ("mean", "scale", "weights")}
    arrays["intercept"] = np.array([parameters.intercept])
    body = {"base_rate": parameters.base_rate, "signal": parameters.signal, "features": NAMES, **config}
    checkpoint.save(folder, body, arrays, card)


def load_hype(artifacts: Path = ARTIFACTS) -> LogisticHype:
    """The shipped model.

    Raises:
        WeightsError: its files are missing, altered or unreadable, or of another version of moodtape.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        if any(arrays[name].shape != (len(NAMES),) for name in ("mean", "scale", "weights")):
            raise ValueError("it was trained on other features")
        parameters = HypeParameters(
            mean=arrays["mean"],
            scale=arrays["scale"],
            weights=arrays["weights"],
            intercept=float(arrays["intercept"][0]),
            base_rate=float(config["base_rate"]),
            signal=bool(config["signal"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The hype model does not fit this program ({error}); install moodtape again.") from None
    return LogisticHype(parameters)
