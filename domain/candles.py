"""Candles as columns: the one shape between a decoder and the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, str, str, str]
"""exchange, market, symbol, timeframe."""


@dataclass(frozen=True, slots=True)
class Columns:
    """``n`` candles: ``market`` int64[n] indexes ``markets``; ``at`` int64[n] epoch seconds; ``bars`` float64[n, 5] OHLCV."""

    markets: Sequence[Key]
    market: NDArray[np.int64]
    at: NDArray[np.int64]
    bars: NDArray[np.float64]
    final: NDArray[np.bool_]

    def newest(self) -> dict[Key, int]:
        """The newest opening time of each market."""
        found = np.zeros(len(self.markets), dtype=np.int64)
        np.maximum.at(found, self.market, self.at)
        return {key: int(at) for key, at in zip(self.markets, found, strict=True) if at}


NOTHING = Columns((), np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 5), np.float64), np.empty(0, np.bool_))


def join(parts: Sequence[Columns]) -> Columns:
    """The candles of all parts, in order, under one list of markets."""
    if not parts:
        return NOTHING
    places: dict[Key, int] = {}
    own = [np.array([places.setdefault(key, len(places)) for key in p.markets], dtype=np.int64) for p in parts]
    return Columns(
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
