"""The packaged list of coins and quotes is renewed from exchanges."""

from __future__ import annotations

from streaming.coins import merge, spot_pairs
from tests.fakes.exchange import FakeExchange


async def test_an_exchange_tells_its_spot_markets() -> None:
    """Perpetual swaps are no spot markets."""
    async with FakeExchange() as exchange:
        exchange.put("BTC/USDT", 1_700_000_040)
        exchange.put("ETH/USDT", 1_700_000_040)
        assert await spot_pairs("binance", exchange.url) == {"BTC/USDT", "ETH/USDT"}


def test_new_coins_join_and_old_ones_stay() -> None:
    """An exchange's quotes are replaced, a quote that few exchanges have stays out of the common ones."""
    lists = {"coins": ["LUNA"], "fiat": ["USD"], "quotes": ["USD"], "exchanges": {"x": ["EUR"], "y": ["USD"]}}
    merged = merge(lists, {"x": {"BTC/USD", "XBT/USDT"}}, "2026-01-02")
    assert merged["coins"] == ["BTC", "LUNA"]
    assert merged["exchanges"] == {"x": ["USD", "USDT"], "y": ["USD"]}
    assert merged["quotes"] == ["USD"]
    assert merged["made_at"] == "2026-01-02"
