"""OKX: history comes 100 candles a page at the least busy end-point."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(
    page=100,
    options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
    swaps={"fetchMarkets": {"types": ["spot", "swap"]}},
)
