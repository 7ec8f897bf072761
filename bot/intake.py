"""Updates in: fetched by long polling, written to the inbox, and only then confirmed to Telegram.

aiogram's own polling confirms an update whatever became of its handler, so that one lost to a database outage would be
lost for good; and it validates a whole batch at once, so that one message of an unknown kind would stop all. Here the
batch is stored raw in one transaction before the next request confirms it; aiogram's dispatcher works from the inbox.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramConflictError, TelegramNotFound, TelegramUnauthorizedError
from aiogram.methods import TelegramMethod

from bot.identity import author_hash
from bot.store import Store
from bot.unit import sender
from db.queries import inbox
from domain.errors import ConfigError, MoodtapeError

log = structlog.get_logger()

WANTED = ["message", "callback_query"]
LONGEST_PAUSE = 30.0

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")

Json = dict[str, Any]


class RawUpdates(TelegramMethod[list[dict[str, Any]]]):
    """getUpdates, its result as it came."""

    __returning__: ClassVar[Any] = list[dict[str, Any]]
    __api_method__: ClassVar[str] = "getUpdates"

    offset: int | None = None
    timeout: int = 0
    limit: int = 100
    allowed_updates: list[str] = WANTED


def loads(text: str) -> Any:
    """JSON without what PostgreSQL cannot store: NUL and lone surrogates are dropped from strings."""
    return _scrub(json.loads(text)) if "\\u" in text else json.loads(text)


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_STORABLE.sub("", value)
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    return value


class Intake:
    """Takes updates in and tells the desk."""

    def __init__(self, store: Store, key: bytes, wake: Callable[[], None]) -> None:
        self._store, self._key, self._wake = store, key, wake
        self.offset: int | None = None
        self.moved_at = 0.0

    async def take(self, payloads: list[Json]) -> int:
        """Store updates; returns how many were new. An update without a number is not one, and is left out."""
        updates = [self._update(payload) for payload in payloads if isinstance(payload.get("update_id"), int)]
        new = await self._store(inbox.store, updates)
        if new:
            self._wake()
        return len(new)

    def _update(self, payload: Json) -> inbox.Update:
        chat, user, album = sender(payload)
        who = author_hash(self._key, user) if user is not None else None
        return inbox.Update(payload["update_id"], chat, album, who, payload)

    async def poll(self, bot: Bot, seconds: int) -> None:
        """Fetch and store for ever. Telegram or the database away: wait and go on, nothing is confirmed meanwhile.

        Raises:
            ConfigError: Telegram refuses the token.
        """
        pause = 0.5
        while True:
            try:
                await self._poll_once(bot, seconds)
                pause = 0.5
                continue
            except (TelegramUnauthorizedError, TelegramNotFound):
                raise ConfigError("Telegram refuses the token; check TELEGRAM_TOKEN.") from None
            except TelegramConflictError:
                log.error("another program fetches this bot's updates", pause=pause)
            except (AiogramError, MoodtapeError) as error:
                log.warning("updates cannot be taken in now", error=f"{type(error).__name__}: {error}", pause=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _poll_once(self, bot: Bot, seconds: int) -> None:
        method = RawUpdates(offset=self.offset, timeout=seconds)
        payloads = await bot(method, request_timeout=seconds + 10)
        self.moved_at = asyncio.get_running_loop().time()
        if payloads:
            await self.take(payloads)
            self.offset = max(p["update_id"] for p in payloads) + 1
