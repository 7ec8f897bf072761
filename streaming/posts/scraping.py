"""Telegram channel pages and Mastodon through snscrape, the optional extra ``scrape`` (GPL, so not part of ``all``).

snscrape looks its modules up with an interface that Python 3.12 removed. Registering ``snscrape.modules`` as a package
with only a path lets the modules be imported by name, on 3.11 to 3.13.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import structlog

from domain.errors import InputError, Unavailable
from streaming import steps
from streaming.feed import Waiter
from streaming.files.posts import author_hash
from streaming.messages import Message
from streaming.posts import message

log = structlog.get_logger()

EVERY = 60.0
FIRST = 200
"""Items read where nothing is stored yet."""
MOST = 20_000
"""Items that one search goes back."""
AT_ONCE = 20
KNOWN = 20
"""So many known items in a row end the search: pinned ones, which may be old, are fewer."""


class Item(NamedTuple):
    """What a scraper's item comes down to; ``number`` grows with time."""

    number: int
    native_id: str
    text: str
    at: datetime
    author: str


def scraper_module(name: str) -> ModuleType:
    """``snscrape.modules.<name>``.

    Raises:
        InputError: snscrape is not installed.
    """
    try:
        folders = import_module("snscrape").__path__
    except ModuleNotFoundError:
        raise InputError(
            "This post source needs snscrape, which is not installed: pip install 'moodtape[scrape]'"
        ) from None
    if "snscrape.modules" not in sys.modules:
        package = ModuleType("snscrape.modules")
        package.__path__ = [str(Path(folder) / "modules") for folder in folders]
        sys.modules["snscrape.modules"] = package
    return import_module(f"snscrape.modules.{name}")


class Scraped:
    """One account or channel, newest items first at the site, oldest first here; its cursor is the item's number."""

    live = True

    def __init__(
        self,
        name: str,
        who: str,
        fetch: Callable[[], Iterable[Any]],
        convert: Callable[[Any], Item | None],
        key: str,
        every: float = EVERY,
    ) -> None:
        self._source = name
        self.name = f"{name}-{who}"
        self._fetch = fetch
        self._convert = convert
        self._key = key
        self._every = every

    def streams(self) -> Mapping[str, int]:
        return {self.name: 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = cursors[self.name]
        while True:
            out: list[Message] = []
            for item in await self._newer(at):
                who = author_hash(item.author, self._key)
                moment = item.at.timestamp()
                out.append(message(self._source, item.native_id, item.text, moment, who, self.name, at, item.number))
                at = item.number
            if out:
                yield out
            await wait.sleep(self._every)

    async def _newer(self, at: int) -> list[Item]:
        """Items after the cursor, oldest first. Pinned ones may be old: they do not end the search.

        Where more than :data:`MOST` lie behind, the newest of them are taken, and it is said from when on some are missing:
        a source that stands still for ever would miss them all.

        Raises:
            Unavailable: the site cannot be read.
        """
        items: list[Item] = []
        known = read = 0
        pages = self._items()
        while part := await asyncio.to_thread(self._some, pages):
            for item in filter(None, part):
                known = 0 if item.number > at else known + 1
                if item.number > at:
                    items.append(item)
            read += len(part)
            if known >= KNOWN or (not at and read >= FIRST):
                break
            if read >= MOST:
                missing_before = min(items).at.isoformat() if items else None
                log.error("a site has more items than are read; older ones are missing", source=self.name,
                          most=MOST, missing_before=missing_before)  # fmt: skip
                steps.SKIPPED.labels(self.name).inc()
                break
        return sorted(items)

    def _items(self) -> Iterator[Item | None]:
        yield from map(self._convert, self._fetch())

    def _some(self, pages: Iterator[Item | None]) -> list[Item | None]:
        try:
            return list(islice(pages, AT_ONCE))
        except InputError:
            raise
        except Exception as error:  # snscrape and requests have no common ancestor for what a site may answer
            raise Unavailable(f"{self.name} cannot be read ({type(error).__name__}).") from error
