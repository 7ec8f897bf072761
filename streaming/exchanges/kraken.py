"""Kraken: REST reaches back 720 candles only, and its candles settle late."""

from __future__ import annotations

from streaming.exchanges import Quirks

QUIRKS = Quirks(page=720, grace=10.0)
