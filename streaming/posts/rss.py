"""News by RSS or Atom: the feed is fetched every minute; entries known to the database are refused there."""

from __future__ import annotations

import asyncio
import calendar
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from html import unescape
from typing import Any

import feedparser
import httpx

from domain.clock import Clock
from domain.errors import InputError, Unavailable
from streaming.feed import Waiter
from streaming.messages import Message, PostMessage
from streaming.posts import message
from streaming.settings import StreamingSettings

EVERY = 60.0
MOST_BYTES = 4 << 20
PIECE = 1 << 16
_TAGS = re.compile(r"<[^>]+>")


class Rss:
    """One feed's entries, oldest first; its cursor is the newest publication time stored, in epoch seconds."""

    live = True

    def __init__(self, url: str, clock: Clock, every: float = EVERY) -> None:
        self._url = url
        self._clock = clock
        self._every = every
        self.name = f"rss-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def streams(self) -> Mapping[str, int]:
        return {self.name: 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = cursors[self.name]
        seen: set[str] = set()
        async with httpx.AsyncClient(timeout=15, follow_redirects=True) as client:
            etag = ""
            while True:
                content, etag = await self._fetch(client, etag)
                fresh = [m for m in await asyncio.to_thread(self._entries, content, at) if m.id not in seen]
                seen = {m.id for m in fresh} | (seen if len(seen) < 10_000 else set())
                if fresh:
                    at = max(at, *(m.upto for m in fresh))
                    yield fresh
                await wait.sleep(self._every)

    async def _fetch(self, client: httpx.AsyncClient, etag: str) -> tuple[bytes, str]:
        """The feed, empty when it has not changed, and its tag.

        Raises:
            Unavailable: the feed does not answer, or with more than it may; of that no more is read.
        """
        body = bytearray()
        try:
            async with client.stream("GET", self._url, headers={"if-none-match": etag} if etag else {}) as response:
                if response.status_code not in (200, 304):
                    raise Unavailable(f"The feed {self.name} answers {response.status_code}.")
                async for piece in response.aiter_bytes(PIECE):
                    body += piece
                    if len(body) > MOST_BYTES:
                        raise Unavailable(f"The feed {self.name} has more than {MOST_BYTES:,} bytes.")
        except httpx.HTTPError as error:
            raise Unavailable(f"The feed {self.name} does not answer ({type(error).__name__}).") from None
        return bytes(body), response.headers.get("etag", "")

    def _entries(self, content: bytes, at: int) -> list[PostMessage]:
        out: list[PostMessage] = []
        dated = [(self._published(e), e) for e in feedparser.parse(content).entries]
        for published, entry in sorted(dated, key=lambda pair: pair[0]):
            text = _plain(f"{entry.get('title', '')}. {entry.get('summary', '')}")
            native = str(entry.get("id") or entry.get("link") or text)
            upto = max(at, published)
            digest = hashlib.sha256(native.encode(errors="replace")).hexdigest()[:24]
            out.append(message(self.name, digest, text, published, None, self.name, at, upto))
            at = upto
        return out

    def _published(self, entry: Any) -> int:
        """Epoch seconds; an entry without a date, or dated ahead, counts as published now."""
        now = int(self._clock.now().timestamp())
        parsed = entry.get("published_parsed") or entry.get("updated_parsed")
        return min(calendar.timegm(parsed), now) if parsed else now


def _plain(text: str) -> str:
    return unescape(_TAGS.sub(" ", text)).strip(" .\n") or "-"


def source(argument: str, settings: StreamingSettings, clock: Clock) -> Rss:
    """``rss=https://…``.

    Raises:
        InputError: no address is given.
    """
    if not argument.startswith(("http://", "https://")):
        raise InputError("The post source rss needs the feed's address: rss=https://example.org/feed.xml")
    return Rss(argument, clock)
