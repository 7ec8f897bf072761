"""Public Mastodon profiles: ``mastodon=name@server``."""

from __future__ import annotations

import re
from typing import Any

from domain.clock import Clock
from domain.errors import InputError
from streaming.posts.scraping import Item, Scraped, scraper_module
from streaming.settings import StreamingSettings

_TAGS = re.compile(r"<[^>]+>")


def convert(raw: Any) -> Item | None:
    """A toot; None for one without words (boosts)."""
    if not getattr(raw, "content", None):
        return None
    author = str(getattr(raw.user, "account", ""))
    return Item(int(raw.id), f"{raw.id}", _TAGS.sub(" ", raw.content).strip(), raw.date, author)


def source(argument: str, settings: StreamingSettings, clock: Clock) -> Scraped:
    """The profile's toots.

    Raises:
        InputError: no profile is named, or snscrape is missing.
    """
    if not re.fullmatch(r"@?[\w.-]+@[\w.-]+\.\w+", argument):
        raise InputError("The post source mastodon needs a profile: mastodon=name@server")
    module = scraper_module("mastodon")
    profile = "@" + argument.lstrip("@")
    who = re.sub(r"[^a-z0-9]+", "_", argument.lower()).strip("_")
    key = settings.author_key.get_secret_value()
    return Scraped("mastodon", who, lambda: module.MastodonProfileScraper(profile).get_items(), convert, key)
