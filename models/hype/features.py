"""What a hype forecast looks at: one definition for training and for serving, over many moments at once.

All volumes are per minute and enter as logarithms relative to the threshold, so that a coin's unit does not matter. Nothing
after the moment is looked at: the windows of the grid had closed, and the last 256 minutes had too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.series import PAST, QUARTER, rates, volatilities
from models.hype.past import Past

Doubles = NDArray[np.float64]

SPANS = (1, 5, 15, 60, 256)
"""Minutes of the windows that end at the moment of the forecast."""

HOT_QUANTILE = 0.8
MIN_PAST = 2 * 24 * 60 // QUARTER
"""Fewest closed windows (two days) for a percentile to mean something."""

DAYS = range(1, 8)
FLOOR = 1e-4
"""Volumes count as at least this share of the threshold: a minute without trades is no minus infinity."""

NAMES = (
    *(f"log volume of the last {span} min over the threshold" for span in SPANS),
    *(f"log volume of 15 min, window -{lag}" for lag in range(2, 9)),
    *(f"log volume of 60 min, window -{lag}" for lag in range(2, 5)),
    "volume at the next window's time on past days, mean",
    "volume at the next window's time on past days, largest",
    "volume at the last window's time on past days, mean",
    "volume at the next window's time yesterday",
    "volume at the next window's time a week ago",
    "change of the usual volume from the last window to the next",
    "last window over the usual at its time",
    "log volume of the last day",
    "log threshold over the median",
    "spread of the log volume over the past",
    *(f"volatility of the last {span} min over the usual" for span in (5, 15, 60, 256)),
    *(f"price moved in the last {span} min over the usual volatility" for span in (15, 60)),
    "share of the last day's windows above the threshold",
    "share of the last four hours' windows above the threshold",
    *(f"{f} of {n} × time of day" for n in (1, 2, 3, 4) for f in ("sin", "cos")),
    *(f"weekday {day}" for day in range(7)),
    "sin of the minute in its hour",
    "cos of the minute in its hour",
    "log posts of the last hour over the usual",
    "log posts of the last 15 min over the usual",
    "authors per post of the last hour",
    "posts are counted",
)
POSTS = tuple(i for i, name in enumerate(NAMES) if "posts" in name or "authors" in name)


@dataclass(frozen=True, slots=True, eq=False)
class Situations:
    """Features (n, f), the threshold they are about (base currency in the next window), and what stands in the way.

    ``level``: log of the last window of the horizon's length over the threshold; ``enough``: 0 where a forecast can be
    made, else a number of :data:`TROUBLES`.
    """

    features: Doubles
    threshold: Doubles
    level: Doubles
    trouble: NDArray[np.int64]


TROUBLES = ("", "thin", "short", "idle")
"""Why nothing can be said: candles missing just before, too few past windows, or nothing traded in them."""


def situations(past: Past, horizon: int, trailing: int = PAST) -> Situations:
    """Features for the next ``horizon`` minutes; the threshold is the 80th percentile of the past's windows of that length.

    ``trailing``: how many windows of the grid, at most PAST, the percentile looks back on.
    """
    blocks = max(1, round(horizon / QUARTER))
    windows = _rolling(past.window_volume, blocks)
    recent = windows[:, -trailing:]
    known = np.isfinite(recent).sum(axis=1)
    threshold = quantile(recent, HOT_QUANTILE)
    middle = quantile(recent, 0.5)
    level = _span(past.volume, horizon)
    needed = min(MIN_PAST, trailing)
    trouble = np.where(~np.isfinite(level), 1, np.where(known < needed, 2, np.where(~(threshold > 0), 3, 0)))
    safe = np.where(threshold > 0, threshold, 1.0)
    view = _View(past, horizon, blocks, safe)
    columns = [
        *view.spans(),
        *view.profile(windows, level),
        view.log(np.where(np.isfinite(past.window_volume[:, -96:]), past.window_volume[:, -96:], 0.0).mean(axis=1)),
        np.log(safe / np.where(middle > 0, middle, safe)),
        _spread(recent),
        *view.volatility(),
        *_hot(windows, threshold),
        *_clock(past.minute, horizon),
        *_posts(past),
    ]
    features = np.stack(columns, axis=1)
    return Situations(features, threshold * horizon, view.log(level), trouble.astype(np.int64))


def quantile(values: Doubles, share: float) -> Doubles:
    """The quantile of each row without its NaN, linear between neighbours; NaN for a row of them."""
    ordered = np.sort(values, axis=1)
    known = np.isfinite(ordered).sum(axis=1)
    place = np.maximum(known - 1, 0) * share
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(known - 1, 0))
    rows = np.arange(len(values))
    a, b = ordered[rows, low], ordered[rows, high]
    return np.asarray(np.where(known > 0, a + (b - a) * (place - low), np.nan))


def _span(minutes: Doubles, length: int, ago: int = 0) -> Doubles:
    """Volume per minute of the ``length`` minutes that ended ``ago`` minutes before the moment; NaN where too thin."""
    stop = minutes.shape[1] - ago
    return rates(minutes[:, max(stop - length, 0) : stop])


def _rolling(windows: Doubles, blocks: int) -> Doubles:
    """Mean of each window and the ``blocks - 1`` before it; NaN where one of them is unknown."""
    if blocks == 1:
        return windows
    out = np.full(windows.shape, np.nan)
    view = np.lib.stride_tricks.sliding_window_view(windows, blocks, axis=1)
    out[:, blocks - 1 :] = view.mean(axis=2)
    return out


def _spread(values: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(values > 0, np.log(values), np.nan)
    known = np.isfinite(logs)
    count = np.maximum(known.sum(axis=1), 1)
    filled = np.where(known, logs, 0.0)
    mean = filled.sum(axis=1) / count
    return np.asarray(np.sqrt((np.where(known, logs - mean[:, None], 0.0) ** 2).sum(axis=1) / count))


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Groups of features that share the threshold's unit."""

    past: Past
    horizon: int
    blocks: int
    unit: Doubles

    def log(self, rate: Doubles) -> Doubles:
        """Log of a volume over the threshold, NaN where unknown."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.log(np.maximum(rate, FLOOR * self.unit) / self.unit))

    def spans(self) -> list[Doubles]:
        minutes = self.past.volume
        out = [self.log(_span(minutes, span)) for span in SPANS]
        out += [self.log(_span(minutes, 15, 15 * (lag - 1))) for lag in range(2, 9)]
        return out + [self.log(_span(minutes, 60, 60 * (lag - 1))) for lag in range(2, 5)]

    def profile(self, windows: Doubles, level: Doubles) -> list[Doubles]:
        """The market's own daily course: its volume at the next and at the last window's time on the past seven days."""
        following = np.stack([self._at(windows, 96 * day - self.blocks) for day in DAYS])
        before = np.stack([self._at(windows, 96 * day) for day in DAYS])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a row of NaN means that nothing is known of those days
            usual, largest, last = (
                np.nanmean(following, axis=0),
                np.nanmax(following, axis=0),
                np.nanmean(before, axis=0),
            )
        return [usual, largest, last, following[0], following[6], usual - last, self.log(level) - last]

    def _at(self, windows: Doubles, ago: int) -> Doubles:
        """The window that ended ``ago`` windows before the last closed one."""
        place = windows.shape[1] - 1 - ago
        return self.log(windows[:, place]) if place >= 0 else np.full(len(windows), np.nan)

    def volatility(self) -> list[Doubles]:
        """Recent volatility and moves of the price over the median volatility of a minute in the past week."""
        mid = self.past.mid
        usual = np.maximum(quantile(self.past.window_volatility, 0.5), 1e-7)
        with np.errstate(divide="ignore", invalid="ignore"):
            out = [np.log(np.maximum(volatilities(mid[:, -span - 1 :]) / usual, 1e-3)) for span in (5, 15, 60, 255)]
            moved = [np.abs(np.log(mid[:, -1] / mid[:, -1 - span])) / (usual * np.sqrt(span)) for span in (15, 60)]
        return [np.asarray(c) for c in (*out, *moved)]


def _hot(windows: Doubles, threshold: Doubles) -> list[Doubles]:
    out = []
    for length in (96, 16):
        part = windows[:, -length:]
        known = np.isfinite(part).sum(axis=1)
        with np.errstate(invalid="ignore"):
            above = (part > threshold[:, None]).sum(axis=1)
        out.append(above / np.maximum(known, 1))
    return out


def _clock(minute: NDArray[np.int64], horizon: int) -> list[Doubles]:
    """Time of day and weekday of the middle of the next window (UTC), and where in its hour the moment lies."""
    middle = minute + horizon / 2
    day = 2 * np.pi * (middle % 1440) / 1440
    weekday = (minute // 1440 + 3) % 7
    out = [f(n * day) for n in (1, 2, 3, 4) for f in (np.sin, np.cos)]
    out += [(weekday == d).astype(np.float64) for d in range(7)]
    hour = 2 * np.pi * (minute % 60) / 60
    return [*out, np.sin(hour), np.cos(hour)]


def _posts(past: Past) -> list[Doubles]:
    """Posts of the last closed windows over the usual; zeros where nobody was counted in the whole week."""
    posts = np.where(np.isfinite(past.window_posts), past.window_posts, 0.0)
    authors = np.where(np.isfinite(past.window_authors), past.window_authors, 0.0)
    counted = posts.sum(axis=1) > 0
    usual = np.log1p(posts.mean(axis=1))
    hour, quarter = posts[:, -4:], posts[:, -1]
    per_post = authors[:, -4:].sum(axis=1) / np.maximum(hour.sum(axis=1), 1)
    out = [np.log1p(hour.mean(axis=1)) - usual, np.log1p(quarter) - usual, per_post]
    return [*(np.where(counted, c, 0.0) for c in out), counted.astype(np.float64)]


CHANNELS = (
    "log volume over the threshold",
    "log volatility over the usual",
    "log posts over the usual",
    "sin of time of day",
    "cos of time of day",
)


def sequences(past: Past, horizon: int, trailing: int = PAST, steps: int = 96) -> Doubles:
    """The last ``steps`` windows, oldest first, for a sequence model: float64 (n, steps, CHANNELS), NaN where unknown."""
    blocks = max(1, round(horizon / QUARTER))
    threshold = quantile(_rolling(past.window_volume, blocks)[:, -trailing:], HOT_QUANTILE)[:, None]
    usual = np.maximum(quantile(past.window_volatility, 0.5), 1e-7)[:, None]
    posts = np.log1p(np.nan_to_num(past.window_posts))
    ends = (past.minute // QUARTER)[:, None] - np.arange(steps)[::-1]
    day = 2 * np.pi * (ends % 96) / 96
    with np.errstate(divide="ignore", invalid="ignore"):
        volume = np.log(np.maximum(past.window_volume[:, -steps:], FLOOR * threshold) / threshold)
        volatility = np.log(np.maximum(past.window_volatility[:, -steps:] / usual, 1e-3))
    channels = (volume, volatility, posts[:, -steps:] - posts.mean(axis=1, keepdims=True), np.sin(day), np.cos(day))
    return np.stack(channels, axis=2)
