"""Public Telegram channels, by their web pages: ``telegram=channelname``."""

from __future__ import annotations

from typing import Any

from domain.clock import Clock
from domain.errors import InputError
from streaming.posts.scraping import Item, Scraped, scraper_module
from streaming.settings import StreamingSettings


def convert(raw: Any) -> Item | None:
    """A channel page's item; None for what has no words."""
    if not raw.content:
        return None
    channel, number = str(raw.url).rstrip("/").split("/")[-2:]
    return Item(int(number), f"{channel}/{number}", raw.content, raw.date, channel)


def source(argument: str, settings: StreamingSettings, clock: Clock) -> Scraped:
    """The channel's posts.

    Raises:
        InputError: no channel is named, or snscrape is missing.
    """
    if not argument.replace("_", "").isalnum():
        raise InputError("The post source telegram needs a channel: telegram=channelname")
    module = scraper_module("telegram")
    key = settings.author_key.get_secret_value()
    return Scraped("telegram", argument, lambda: module.TelegramChannelScraper(argument).get_items(), convert, key)
