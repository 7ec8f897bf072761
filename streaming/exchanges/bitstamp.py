"""Bitstamp: 1,000 candles a page, no candle stream."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(page=1000, stream=False)
