"""Renews the packaged list of coins and quotes: ``python -m streaming.coins --exchange binance --exchange kraken``.

It asks each exchange for its markets through ccxt, adds what is new to ``domain/markets.json`` and dates the file. Coins
stay when they are delisted, because files of the past still name them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import domain.symbols
from streaming.market_data import open_exchange

FILE = Path(domain.symbols.__file__).with_name("markets.json")
COMMON = 4
"""So many exchanges must quote in a currency before a name without an exchange is split by it."""


async def spot_pairs(name: str, rest: str | None = None) -> set[str]:
    """The unified names of an exchange's spot markets; ``rest`` is the address of another server that speaks its API."""
    exchange = open_exchange(name, rest=rest)
    try:
        markets = await exchange.load_markets()
        return {symbol for symbol, market in markets.items() if market["spot"]}
    finally:
        await exchange.close()


def merge(lists: dict[str, Any], pairs: Mapping[str, Iterable[str]], made_at: str) -> dict[str, Any]:
    """The lists with the coins and quotes of these markets added; an exchange's quotes are those that it has now."""
    bases = {pair.partition("/")[0] for own in pairs.values() for pair in own}
    exchanges = {**lists["exchanges"]}
    for name, own in pairs.items():
        exchanges[name] = sorted({pair.partition("/")[2] for pair in own})
    shared = {q for own in exchanges.values() for q in own if sum(q in other for other in exchanges.values()) >= COMMON}
    return {
        **lists,
        "made_at": made_at,
        "made_from": f"the spot markets of {', '.join(sorted(pairs))}, by python -m streaming.coins",
        "coins": sorted({*lists["coins"], *bases} - set(domain.symbols.ALIASES)),
        "quotes": [*lists["quotes"], *sorted(shared - set(lists["quotes"]))],
        "exchanges": exchanges,
    }


def main(exchange: Annotated[list[str], typer.Option(help="A ccxt id; may be given several times.")]) -> None:
    """Ask the exchanges for their markets and write domain/markets.json anew."""
    pairs = {name: asyncio.run(spot_pairs(name)) for name in exchange}
    merged = merge(json.loads(FILE.read_text()), pairs, datetime.now(UTC).date().isoformat())
    FILE.write_text(json.dumps(merged, indent=1) + "\n")
    typer.echo(f"{len(merged['coins'])} coins, {len(merged['quotes'])} common quotes", err=True)


if __name__ == "__main__":
    typer.run(main)
