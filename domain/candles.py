"""Candles as columns: the one shape of candles between a file, an exchange or a message and the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class MarketKey(NamedTuple):
    """One series of candles. ``kind`` is ``spot`` or ``swap``; ``symbol`` a ccxt unified pair."""

    exchange: str
    kind: str
    symbol: str
    timeframe: str = "1m"


@dataclass(frozen=True, slots=True)
class CandleColumns:
    """``n`` candles of any markets.

    ``market``: int64[n], index into ``markets``. ``at``: int64[n], opening time in epoch seconds. ``bars``:
    float64[n, 5], open, high, low, close (quote currency) and volume (base currency). ``final``: bool[n], False while
    the candle is still open.

    Example:
        >>> key = MarketKey("binance", "spot", "BTC/USDT")
        >>> len(CandleColumns.of(key, np.array([1_700_000_040]), np.array([[1.0, 2.0, 0.5, 1.5, 10.0]])))
        1
    """

    markets: Sequence[MarketKey]
    market: NDArray[np.int64]
    at: NDArray[np.int64]
    bars: NDArray[np.float64]
    final: NDArray[np.bool_]

    @classmethod
    def of(cls, key: MarketKey, at: NDArray[np.int64], bars: NDArray[np.float64]) -> CandleColumns:
        """Final candles of one market."""
        market, final = np.broadcast_to(np.int64(0), len(at)), np.broadcast_to(np.True_, len(at))
        return cls((key,), market, at, bars, final)

    def __len__(self) -> int:
        return len(self.at)

    @property
    def key(self) -> MarketKey:
        """The market of candles that are all of one."""
        (key,) = self.markets
        return key

    def take(self, rows: Any) -> CandleColumns:
        """The candles at these row numbers, in this slice, or where this mask is True."""
        return CandleColumns(self.markets, self.market[rows], self.at[rows], self.bars[rows], self.final[rows])

    def newest(self) -> dict[MarketKey, int]:
        """The newest opening time of each market."""
        times = np.zeros(len(self.markets), dtype=np.int64)
        np.maximum.at(times, self.market, self.at)
        return {key: int(at) for key, at in zip(self.markets, times, strict=True) if at}


NO_CANDLES = CandleColumns(
    (), np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 5), np.float64), np.empty(0, np.bool_)
)


def join(parts: Sequence[CandleColumns]) -> CandleColumns:
    """The candles of all parts, in order, under one list of markets."""
    if not parts:
        return NO_CANDLES
    places: dict[MarketKey, int] = {}
    own = [np.array([places.setdefault(key, len(places)) for key in p.markets], dtype=np.int64) for p in parts]
    return CandleColumns(
        markets=list(places),
        market=np.concatenate([place[p.market] for place, p in zip(own, parts, strict=True)]),
        at=np.concatenate([p.at for p in parts]),
        bars=np.concatenate([p.bars for p in parts]),
        final=np.concatenate([p.final for p in parts]),
    )


MIN_CHANGES = 64
"""Fewest 1-minute changes that a volatility is told from."""

FLOOR = 1e-4
"""Least volatility in percent per minute: a tape that did not move still gets a band."""


def volatility_before(mid: NDArray[np.floating[Any]]) -> float | None:
    """Standard deviation of the 1-minute percent changes of mid prices; None with fewer than 64 changes."""
    usable = np.where(np.asarray(mid, dtype=np.float64) > 0, mid, np.nan)
    steps = 100.0 * np.diff(np.log(usable))
    steps = steps[np.isfinite(steps)]
    return max(float(steps.std()), FLOOR) if len(steps) >= MIN_CHANGES else None
