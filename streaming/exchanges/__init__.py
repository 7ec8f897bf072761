"""Exchanges over ccxt. What is peculiar to one is data, in ``streaming/exchanges/<ccxt id>.py``; most need no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
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


def quirks(exchange: str) -> Quirks:
    """The quirks of a ccxt id; the usual ones where nothing peculiar is known."""
    if exchange.isidentifier() and find_spec(f"{__name__}.{exchange}"):
        found = import_module(f"{__name__}.{exchange}").QUIRKS
        assert isinstance(found, Quirks)
        return found
    return Quirks()
