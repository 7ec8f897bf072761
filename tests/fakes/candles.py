"""Candles for tests, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from domain.candles import CandleColumns, MarketKey


def candles_at(
    start: datetime,
    minutes: Sequence[int],
    bars: Sequence[Sequence[float]] | Sequence[float],
    symbol: str = "BTC/USDT",
    exchange: str = "x",
) -> CandleColumns:
    """Final one-minute candles, ``minutes`` after ``start``; ``bars``: OHLCV of each, or one for all."""
    at = int(start.timestamp()) + 60 * np.array(minutes, dtype=np.int64)
    values = np.broadcast_to(np.asarray(bars, dtype=np.float64), (len(at), 5))
    return CandleColumns.of(MarketKey(exchange, "spot", symbol), at, values)
