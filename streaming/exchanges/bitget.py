"""Bitget: 200 candles a page."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(page=200)
