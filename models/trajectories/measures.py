"""Realised measures of a market's last days: what the band's regressions see of the minutes before a post.

Heterogeneous autoregression (Corsi, 2009) with bipower and downside variation (Barndorff-Nielsen and Shephard, 2004; Patton
and Sheppard, 2015), traded volume, the same clock time of past days, hour and weekday, from minutes that had closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import Minutes

LONG = 8_191
"""Changes before a moment that its measures look back on (5.7 days); they take one minute more."""
PAST = (5, 15, 30, 60, 128, 256, 720, 1440, 2880, LONG)
DAY = 1_440
FLOOR = 1e-6
"""Least variance in squared percent per minute: a tape that did not move still gets a band."""
ENOUGH = 0.3
"""Share of a span's minutes that its mean needs."""
BOUND = 4.0

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Prefix sums over one tape's 1-minute percent changes; entry i covers the minutes before index i.

    ``count``, ``change``, ``size`` (absolute), ``square``, ``bipower``, ``down`` (squares of falls), ``still`` (minutes without
    a change), ``volume`` and ``traded`` (minutes with a known volume): float64[m + 1].
    """

    first: int
    count: Doubles
    change: Doubles
    size: Doubles
    square: Doubles
    bipower: Doubles
    down: Doubles
    still: Doubles
    volume: Doubles
    traded: Doubles

    @classmethod
    def of(cls, tape: Minutes) -> Sums:
        """The sums of a tape; a minute without a candle, and the one after it, have no change."""
        change = np.full(len(tape.mid), np.nan)
        change[1:] = 100.0 * np.diff(np.log(np.where(tape.mid > 0, tape.mid, np.nan)))
        known, traded = np.isfinite(change), np.isfinite(tape.volume)
        change = np.where(known, change, 0.0)
        size, square = np.abs(change), change**2
        bipower = size * np.concatenate([[0.0], size[:-1]]) * (np.pi / 2)
        parts = (known, change, size, square, bipower, square * (change < 0), known & (change == 0))
        volume = np.where(traded, tape.volume, 0.0)
        return cls(tape.first, *(_running(part) for part in (*parts, volume, traded)))

    def mean(self, total: Doubles, low: Ints, high: Ints, count: Doubles | None = None) -> Doubles:
        """Mean of what ``total`` sums over the known minutes in [low, high); NaN where too few are known."""
        count = self.count if count is None else count
        width = np.maximum(high - low, 1)  # also of what lies before the tape: where it begins makes no difference
        low, high = np.clip(low, 0, len(count) - 1), np.clip(high, 0, len(count) - 1)
        known = count[high] - count[low]
        enough = known >= ENOUGH * width
        return np.where(enough, (total[high] - total[low]) / np.maximum(known, 1.0), np.nan)

    def log_volatility(self, low: Ints, high: Ints) -> Doubles:
        """Log of the root mean square change per minute in [low, high), percent; NaN where too few minutes are known."""
        return _half_log(self.mean(self.square, low, high))


def log_volatility_of(change: Doubles) -> float:
    """Log of the root mean square change per minute of a path in percent since its start, float64[n]."""
    steps = 100.0 * np.diff(np.log1p(np.maximum(change, -99.9) / 100.0))
    return float(_half_log(np.mean(steps**2)))


def measures(sums: Sums, at: Ints, horizons: Sequence[int]) -> Doubles:
    """float64[n, horizons, len(NAMES)]: regressors at tape indices ``at`` for the volatility over each horizon.

    NaN where not one span of the past is known.
    """
    volatility = _past(sums, at)
    shared = [np.ones(len(at)), *(volatility[span] for span in PAST), *_shape(sums, at, volatility)]
    usual = _log_volume(sums, at - LONG, at)
    shared += [_bounded(_log_volume(sums, at - span, at) - usual) for span in (15, 60, 256, 1440)]
    days = np.arange(1, 6)[:, None] * DAY
    last = _over_days(sums.log_volatility(at - days - 256, at - days))
    shared.append(_known(volatility[256] - last))
    out = []
    for horizon in horizons:
        same = sums.log_volatility(at - days, at - days + horizon)
        volume = _over_days(_log_volume(sums, at - days, at - days + horizon))
        own = [
            _bounded(volume - usual),
            _known(same[0] - volatility[1440]),
            _known(_over_days(same) - volatility[LONG]),
        ]
        out.append(np.stack([*shared, *own, *_clock(sums.first + at + horizon / 2)], axis=1))
    return np.stack(out, axis=1)


NAMES = (
    "one",
    *(f"log volatility, {span} min" for span in PAST),
    *(f"{what}, {span} min" for span in (60, 256, 1440) for what in ("absolute over square", "bipower over square")),
    *(f"{what}, {span} min" for span in (60, 256, 1440) for what in ("downside share", "change", "size of change")),
    "still minutes, day",
    *(f"log volume over the long mean, {span} min" for span in (15, 60, 256, 1440)),
    "last 256 min over the same of the past five days",
    "volume at this time of the past five days",
    "volatility at this time yesterday",
    "volatility at this time of the past five days",
    *(f"{f} of {n} × hour" for n in (1, 2, 3, 4) for f in ("sin", "cos")),
    *(f"weekend × {f} of {n} × hour" for n in (1, 2) for f in ("sin", "cos")),
    "weekend",
    "Monday",
    "Friday",
)


def _running(values: NDArray[np.generic]) -> Doubles:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _half_log(mean_square: Any) -> Doubles:
    return np.asarray(0.5 * np.log(np.maximum(mean_square, FLOOR)), dtype=np.float64)


def _past(sums: Sums, at: Ints) -> dict[int, Doubles]:
    """Log volatility of each span; one that is not known takes the next longer known one, else the next shorter."""
    found = {span: sums.log_volatility(at - span, at) for span in PAST}
    for spans in (PAST[::-1], PAST):
        for before, span in pairwise(spans):
            found[span] = np.where(np.isfinite(found[span]), found[span], found[before])
    return found


def _shape(sums: Sums, at: Ints, volatility: dict[int, Doubles]) -> list[Doubles]:
    columns, signs = [], []
    for span in (60, 256, 1440):
        low = at - span
        square = np.maximum(sums.mean(sums.square, low, at), FLOOR)
        size = np.log(np.maximum(sums.mean(sums.size, low, at) * np.sqrt(np.pi / 2), np.sqrt(FLOOR)))
        columns += [size - volatility[span], _half_log(sums.mean(sums.bipower, low, at)) - volatility[span]]
        moved = (sums.change[at] - sums.change[np.maximum(low, 0)]) / np.sqrt(span) / np.exp(volatility[span])
        moved = np.clip(moved, -BOUND, BOUND)
        signs += [sums.mean(sums.down, low, at) / square - 0.5, moved, np.abs(moved)]
    return [_known(c) for c in (*columns, *signs, sums.mean(sums.still, at - DAY, at))]


def _log_volume(sums: Sums, low: Ints, high: Ints) -> Doubles:
    return np.asarray(np.log(np.maximum(sums.mean(sums.volume, low, high, sums.traded), 1e-12)), dtype=np.float64)


def _over_days(values: Doubles) -> Doubles:
    """Mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _bounded(column: Doubles) -> Doubles:
    return _known(np.clip(column, -BOUND, BOUND))


def _known(column: Doubles) -> Doubles:
    return np.where(np.isfinite(column), column, 0.0)


def _clock(minute: NDArray[np.floating[Any]]) -> list[Doubles]:
    angle, weekday = 2 * np.pi * (minute % DAY) / DAY, (minute // DAY + 3) % 7
    weekend = (weekday >= 5).astype(np.float64)
    waves = [f(n * angle) for n in (1, 2, 3, 4) for f in (np.sin, np.cos)]
    return [*waves, *(weekend * wave for wave in waves[:4]), weekend, (weekday == 0) * 1.0, (weekday == 4) * 1.0]
