"""KuCoin: 1,500 candles a page; minutes without a trade are absent."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(page=1500)
