"""Binance: 1,000 candles a page; without the narrowed options ccxt loads futures and currencies too."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(
    page=1000,
    symbols_per_socket=200,
    options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
    swaps={"fetchMarkets": {"types": ["spot", "linear"]}},
)
