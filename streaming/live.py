"""The sources of ``--live``: exchanges and posts, as the settings name them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from domain import symbols
from domain.clock import Clock
from domain.errors import InputError
from streaming.feed import Source
from streaming.market_data import LiveCandles
from streaming.settings import StreamingSettings


def post_source(text: str, settings: StreamingSettings, clock: Clock) -> Source:
    """The post source of a setting like ``bluesky`` or ``rss=https://example.org/feed``.

    Raises:
        InputError: there is no such source, or it lacks what it needs.
    """
    name, _, argument = text.strip().partition("=")
    if not name.isidentifier() or find_spec(f"streaming.posts.{name}") is None:
        raise InputError(f"There is no post source “{name[:40]}”; see docs/how-to/add-post-source.md.")
    made: Source = import_module(f"streaming.posts.{name}").source(argument, settings, clock)
    return made


def live_sources(settings: StreamingSettings, clock: Clock) -> list[Source]:
    """Every exchange with every market of the settings, and every post source."""
    markets = [symbols.normalize(s) for s in settings.symbols.split(",") if s.strip()]
    sources: list[Source] = [LiveCandles(e.strip(), markets, clock) for e in settings.exchanges.split(",") if e.strip()]
    sources += [post_source(text, settings, clock) for text in settings.post_sources.split(",") if text.strip()]
    return sources
