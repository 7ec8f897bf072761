"""Windows of a market on a fixed grid of time: what training, serving and the published series all count.

A window of 15 minutes starts on the quarter hour. Its row is made from the candles and posts inside it alone, so a row does
not change once the window has closed. Sums run over one window at a time: where a read starts makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

QUARTER = 15
"""Minutes of a window on the grid."""

PAST = 7 * 24 * 60 // QUARTER
"""Windows that a forecast looks back on: a week."""

FULL = 0.8
"""Smallest share of a window's minutes that must have a candle for its volume to count."""


@dataclass(frozen=True, slots=True, eq=False)
class PastWindows:
    """The closed windows of the grid before a moment, oldest first: float64[PAST] each.

    ``volume``: traded volume per minute (base currency), NaN where fewer than 80 % of the minutes have a candle.
    ``volatility``: root mean square of the one-minute log returns inside the window, NaN likewise. ``posts``,
    ``authors``: how many were published in the window.
    """

    volume: Doubles
    volatility: Doubles
    posts: Doubles
    authors: Doubles


def first_window(minute: int, width: int = QUARTER) -> int:
    """Number, since the epoch, of the first window that starts at or after an epoch minute."""
    return -(-minute // width)


def last_window(minute: int, width: int = QUARTER) -> int:
    """Number of the window that an epoch minute lies in; all windows before it have closed."""
    return minute // width


def rates(volume: Doubles) -> Doubles:
    """Volume per minute of windows (..., minutes) with NaN for missing minutes; NaN where too few are present."""
    present = np.isfinite(volume)
    count = present.sum(axis=-1)
    total = np.where(present, volume, 0.0).sum(axis=-1)
    return np.asarray(np.where(count >= FULL * volume.shape[-1], total / np.maximum(count, 1), np.nan))


def volatilities(mid: Doubles) -> Doubles:
    """Root mean square log return a minute inside windows (..., minutes) of mid prices; NaN where too few are present."""
    with np.errstate(invalid="ignore", divide="ignore"):
        returns = np.diff(np.log(mid), axis=-1)
    present = np.isfinite(returns)
    count = present.sum(axis=-1)
    squares = np.where(present, returns, 0.0) ** 2
    mean = np.sqrt(squares.sum(axis=-1) / np.maximum(count, 1))
    return np.asarray(np.where(count >= FULL * returns.shape[-1], mean, np.nan))


def on_grid(first: int, values: Doubles, start: int, count: int, width: int = QUARTER) -> Doubles:
    """Minutes as windows (count, width), NaN where nothing is known.

    ``values``: one per minute from epoch minute ``first`` on; ``start``: number of the first window wanted.
    """
    out = np.full(count * width, np.nan)
    offset = first - start * width
    low, high = max(offset, 0), min(offset + len(values), len(out))
    if low < high:
        out[low:high] = values[low - offset : high - offset]
    return out.reshape(count, width)


def counts(minutes: NDArray[np.int64], start: int, count: int, width: int = QUARTER) -> Doubles:
    """How many of these epoch minutes lie in each of ``count`` windows from number ``start`` on."""
    which = minutes // width - start
    inside = which[(which >= 0) & (which < count)]
    return np.bincount(inside, minlength=count).astype(np.float64)


def distinct(
    minutes: NDArray[np.int64], names: Sequence[str | None], start: int, count: int, width: int = QUARTER
) -> Doubles:
    """How many different names occur in each window; posts without a name count once each."""
    which = minutes // width - start
    seen = {
        (int(w), f"n{name}" if name else i)
        for i, (w, name) in enumerate(zip(which, names, strict=True))
        if 0 <= w < count
    }
    out = np.zeros(count)
    for window, _ in seen:
        out[window] += 1
    return out


WIDTHS = {"1m": 1, "5m": 5, "15m": QUARTER, "60m": 60, "256m": 256}
"""Intervals of a series and their minutes; those of 15 minutes are stored, with their hype."""

MOODS = ("sadness", "joy", "fear", "anger", "surprise", "neutral", "disgust")

COLUMNS = (
    "minutes",
    "volume",
    "volatility",
    "close",
    "posts",
    "authors",
    "duplicates",
    "scored",
    *(f"mood_{name}" for name in MOODS),
    "mood_error",
    "likes_after_an_hour",
    "hype_15",
    "hype_60",
)
"""What a row says: candles present; traded volume; volatility per minute; last mid price; posts, their authors, the share of
near-duplicates; posts with a mood, the mean share of each mood and the largest standard error of these means; the mean likes
at an age of one hour of the posts that reached it in this window; the chance of hype as forecast when the window closed."""


@dataclass(frozen=True, slots=True, eq=False)
class PostColumns:
    """Posts about a symbol: epoch minutes, authors, whether each repeats another, and mood shares (n, 7), NaN where none.

    ``aged``, ``likes``: the minutes at which posts turned an hour old, and their likes then.
    """

    minutes: NDArray[np.int64]
    authors: Sequence[str | None]
    repeats: NDArray[np.bool_]
    moods: Doubles
    aged: NDArray[np.int64]
    likes: Doubles


def summaries(
    first: int, mid: Doubles, volume: Doubles, posts: PostColumns, start: int, count: int, width: int
) -> dict[str, Doubles]:
    """The columns of a series but the hype: float64[count] each, for windows of ``width`` minutes from number ``start``."""
    traded, prices = on_grid(first, volume, start, count, width), on_grid(first, mid, start, count, width)
    present = np.isfinite(traded)
    published = counts(posts.minutes, start, count, width)
    out = {
        "minutes": present.sum(axis=1).astype(np.float64),
        "volume": np.where(present.any(axis=1), np.where(present, traded, 0.0).sum(axis=1), np.nan),
        "volatility": volatilities(prices) if width > 1 else np.full(count, np.nan),
        "close": _last(prices),
        "posts": published,
        "authors": distinct(posts.minutes, posts.authors, start, count, width),
        "duplicates": _mean(posts.minutes, posts.repeats.astype(np.float64), start, count, width),
        "likes_after_an_hour": _mean(posts.aged, posts.likes, start, count, width),
    }
    return out | _moods(posts, start, count, width)


def _moods(posts: PostColumns, start: int, count: int, width: int) -> dict[str, Doubles]:
    known = np.isfinite(posts.moods).all(axis=1)
    minutes, shares = posts.minutes[known], posts.moods[known]
    number = counts(minutes, start, count, width)
    out: dict[str, Doubles] = {"scored": number}
    errors = []
    for i, name in enumerate(MOODS):
        mean = _mean(minutes, shares[:, i], start, count, width)
        square = _mean(minutes, shares[:, i] ** 2, start, count, width)
        errors.append(np.sqrt(np.maximum(square - mean**2, 0.0) / np.maximum(number - 1, 1)))
        out[f"mood_{name}"] = mean
    out["mood_error"] = np.where(number > 1, np.max(errors, axis=0), np.nan)
    return out


def _mean(minutes: NDArray[np.int64], values: Doubles, start: int, count: int, width: int) -> Doubles:
    """Mean value of each window, NaN where it holds none."""
    which = minutes // width - start
    inside = (which >= 0) & (which < count)
    number = np.bincount(which[inside], minlength=count)
    total = np.bincount(which[inside], values[inside], minlength=count)
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))


def _last(prices: Doubles) -> Doubles:
    """The last known price of each window, NaN where there is none."""
    known = np.isfinite(prices)
    place = prices.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.asarray(np.where(known.any(axis=1), prices[np.arange(len(prices)), place], np.nan))
