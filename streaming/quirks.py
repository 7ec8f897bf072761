"""Exchanges over ccxt. What is peculiar to one is an entry of :data:`QUIRKS`; most need none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Quirks:
    """Peculiarities of an exchange.

    ``page``: candles it gives at a time. ``stream``: whether its websocket candles are of use. ``grace``: seconds after
    the end of a minute until its REST candle is settled. ``options``: ccxt's options; ``swaps``: more of them where
    perpetual swaps are wanted too.
    """

    page: int = 300
    stream: bool = True
    grace: float = 5.0
    symbols_per_socket: int = 50
    options: dict[str, Any] = field(default_factory=lambda: {"defaultType": "spot"})
    swaps: dict[str, Any] = field(default_factory=dict)


QUIRKS: dict[str, Quirks] = {
    # Binance: 1,000 candles a page; without the narrowed options ccxt loads futures and currencies too.
    "binance": Quirks(
        page=1000,
        symbols_per_socket=200,
        options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        swaps={"fetchMarkets": {"types": ["spot", "linear"]}},
    ),
    # Bitget: 200 candles a page.
    "bitget": Quirks(page=200),
    # Bitstamp: 1,000 candles a page, no candle stream.
    "bitstamp": Quirks(page=1000, stream=False),
    # Bybit: 1,000 candles a page.
    "bybit": Quirks(page=1000),
    # Coinbase: 300 candles a page, no candle stream.
    "coinbase": Quirks(page=300, stream=False),
    # Kraken: REST reaches back 720 candles only, and its candles settle late.
    "kraken": Quirks(page=720, grace=10.0),
    # KuCoin: 1,500 candles a page; minutes without a trade are absent.
    "kucoin": Quirks(page=1500),
    # OKX: history comes 100 candles a page at the least busy end-point.
    "okx": Quirks(
        page=100,
        options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
        swaps={"fetchMarkets": {"types": ["spot", "swap"]}},
    ),
}


def quirks(exchange: str) -> Quirks:
    """The quirks of a ccxt id; the usual ones where nothing peculiar is known."""
    return QUIRKS.get(exchange, Quirks())
