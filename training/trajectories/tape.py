"""What was known about a market at a moment, from plain arrays; the reference for the SQL in ``db.queries.candles``.

Conventions (the same there): ``as_of`` is floored to the minute; a candle counts when it had closed by then
(``opened_at`` + 1 min ≤ ``as_of``); the windows of the grid are those of :mod:`domain.series` that had closed by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domain.series import PAST, QUARTER, PastWindows, counts, distinct, last_window, on_grid, rates, volatilities
from domain.types import STEPS, WINDOWS, MarketContext, Minutes

MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """One market on a dense grid of minutes. ``first``: epoch minute of index 0; missing minutes are NaN.

    ``mid`` and ``volume``: float64[m]. ``posts``: int64[p], sorted epoch seconds of the posts about the symbol, and who
    wrote them, where that is known.
    """

    symbol: str
    first: int
    mid: NDArray[np.float64]
    volume: NDArray[np.float64]
    posts: NDArray[np.int64]
    authors: tuple[str | None, ...] = ()

    def context(self, as_of: datetime) -> MarketContext:
        """The market context at a moment; candles and posts from then on are not looked at."""
        end = int(as_of.timestamp() // MINUTE_SECONDS)
        start, span = last_window(end) - PAST, WINDOWS * STEPS
        mid, volume = self._minutes(self.mid, end, span), self._minutes(self.volume, end, span)
        return MarketContext(
            symbol=self.symbol,
            as_of=moment(end * MINUTE_SECONDS),
            mid=mid[-STEPS:],
            volume=volume[-STEPS:],
            minutes=Minutes(self.symbol, end - span, mid, volume),
            windows=self.windows(start, PAST),
        )

    def windows(self, start: int, count: int) -> PastWindows:
        """``count`` windows of the grid from number ``start`` on."""
        minutes = self.posts // MINUTE_SECONDS
        near = slice(*np.searchsorted(minutes, [start * QUARTER, (start + count) * QUARTER]))
        names = self.authors[near] if len(self.authors) else [None] * len(minutes[near])
        return PastWindows(
            volume=rates(on_grid(self.first, self.volume, start, count)),
            volatility=volatilities(on_grid(self.first, self.mid, start, count)),
            posts=counts(minutes[near], start, count),
            authors=distinct(minutes[near], names, start, count),
        )

    @property
    def minutes(self) -> Minutes:
        """The whole tape without its posts."""
        return Minutes(self.symbol, self.first, self.mid, self.volume)

    def _minutes(self, values: NDArray[np.float64], end: int, count: int) -> NDArray[np.float64]:
        """The ``count`` minutes that had closed by epoch minute ``end``, NaN outside the tape."""
        out = np.full(count, np.nan)
        low, high = end - count - self.first, end - self.first
        a, b = max(low, 0), min(high, len(values))
        if a < b:
            out[a - low : b - low] = values[a:b]
        return out


def make_tape(
    symbol: str, opened_at: ArrayLike, open_: ArrayLike, close: ArrayLike, volume: ArrayLike, *, posts: ArrayLike = ()
) -> Tape:
    """A tape from candle arrays in any order, times in epoch seconds; of candles of one minute the last one counts."""
    minutes = np.asarray(opened_at, dtype=np.int64) // MINUTE_SECONDS
    first = int(minutes.min()) if len(minutes) else 0
    size = int(minutes.max()) - first + 1 if len(minutes) else 0
    mid, volumes = np.full(size, np.nan), np.full(size, np.nan)
    mid[minutes - first] = (np.asarray(open_, dtype=np.float64) + np.asarray(close, dtype=np.float64)) / 2
    volumes[minutes - first] = np.asarray(volume, dtype=np.float64)
    return Tape(symbol, first, mid, volumes, np.sort(np.asarray(posts, dtype=np.int64)))


def market_context(
    symbol: str,
    as_of: datetime,
    *,
    opened_at: ArrayLike,
    open_: ArrayLike,
    close: ArrayLike,
    volume: ArrayLike,
    posts: ArrayLike = (),
) -> MarketContext:
    """The context at one moment from candle arrays (epoch seconds) and the times of posts (epoch seconds)."""
    return make_tape(symbol, opened_at, open_, close, volume, posts=posts).context(as_of)


def moment(seconds: float) -> datetime:
    """The UTC time of that many seconds since the epoch."""
    return datetime.fromtimestamp(float(seconds), UTC)
