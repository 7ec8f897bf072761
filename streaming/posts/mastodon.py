"""Public Mastodon profiles: ``mastodon=name@server``; of servers since Mastodon 4 only their feeds can be read (``rss``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from domain.clock import Clock
from domain.errors import InputError
from streaming.posts.scraping import Item, Scraped, scraper_module
from streaming.settings import StreamingSettings


def convert(raw: Any) -> Item | None:
    """A toot; None for a boost, and for one without words."""
    words = "\n\n".join(filter(None, (getattr(raw, "spoilerText", None), getattr(raw, "text", None)))).strip()
    if not words:
        return None
    return Item(int(raw.id), f"{raw.id}", words, raw.date, str(raw.user.account))


def _toots(profile: str, make: Callable[[str], Any]) -> Iterator[Any]:
    """The newest toots first.

    Raises:
        InputError: the server's pages hold none, as those of Mastodon 4 and later: scripts put them there.
    """
    try:
        yield from make(profile).get_items()
    except AttributeError:
        name, server = profile[1:].split("@")
        raise InputError(
            f"The pages of {server} hold no toots without JavaScript (Mastodon 4 and later); "
            f"name the profile's feed instead: rss=https://{server}/@{name}.rss"
        ) from None


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
    return Scraped("mastodon", who, lambda: _toots(profile, module.MastodonProfileScraper), convert, key)
