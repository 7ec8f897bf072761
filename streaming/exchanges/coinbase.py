"""Coinbase: 300 candles a page, no candle stream."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(page=300, stream=False)
