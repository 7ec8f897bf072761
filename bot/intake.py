"""Updates in: fetched by long polling, written to the inbox, and only then confirmed to Telegram.

aiogram's own polling confirms an update whatever became of its handler, so that one lost to a database outage would be
lost for good; and it validates a whole batch at once, so that one message of an unknown kind would stop all. Here the
batch is stored raw in one transaction before the next request confirms it; aiogram's dispatcher works from the inbox.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import structlog
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramConflictError, TelegramNotFound, TelegramUnauthorizedError
from aiogram.methods import TelegramMethod
from aiohttp import web

from bot.messages import sender
from bot.settings import BotSettings, author_hash
from db.engine import Store
from db.queries import telegram
from domain.errors import ConfigError, MoodtapeError

log = structlog.get_logger()

ANONYMOUS = 1087968824
"""The user number that Telegram gives to the anonymous admins of all groups."""
WANTED = ["message", "edited_message", "callback_query"]
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
    """Takes updates in and tells the dispatcher."""

    def __init__(self, store: Store, key: bytes, wake: Callable[[], None]) -> None:
        self._store, self._key, self._wake = store, key, wake
        self.offset: int | None = None
        self.moved_at = 0.0

    async def take(self, payloads: list[Json]) -> int:
        """Store updates; returns how many were new. An update without a number is not one, and is left out."""
        updates = [self._update(payload) for payload in payloads if isinstance(payload.get("update_id"), int)]
        new = await self._store(telegram.store, updates)
        for payload in payloads:
            message = payload.get("message") or {}
            if message.get("migrate_to_chat_id"):
                await self._migrate(message["chat"]["id"], message["migrate_to_chat_id"])
        if new:
            self._wake()
        return len(new)

    async def _migrate(self, old: int, new: int) -> None:
        """A group has become a supergroup: what it had chosen, its last answer and what it posted as itself move along."""
        whose = (author_hash(self._key, old), author_hash(self._key, new))
        await self._store(telegram.migrate, old, new, *whose)

    async def own_groups(self) -> None:
        """Posts that earlier versions stored under the number of all anonymous admins become those of their groups."""
        shared = author_hash(self._key, ANONYMOUS)
        moved, left = await self._store(telegram.own_anonymous, shared, partial(author_hash, self._key))
        if moved or left:
            log.info("posts of anonymous admins", given_to_their_group=moved, group_unknown=left)

    def _update(self, payload: Json) -> telegram.Update:
        chat, user, album = sender(payload)
        who = author_hash(self._key, user) if user is not None else None
        return telegram.Update(payload["update_id"], chat, album, who, payload)

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


PATH = "/telegram"
HEADER = "X-Telegram-Bot-Api-Secret-Token"
LARGEST = 2**20
SHORTEST_SECRET = 16


def application(intake: Intake, secret: str) -> web.Application:
    """The endpoint: 401 without the secret, 400 for what is no update, 503 where it cannot be stored now (sent again)."""

    async def take(request: web.Request) -> web.Response:
        given = request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            return web.Response(status=401)
        try:
            payload = loads(await request.text())
        except ValueError:
            return web.Response(status=400)
        if not isinstance(payload, dict) or not isinstance(payload.get("update_id"), int):
            return web.Response(status=400)
        try:
            await intake.take([payload])
        except MoodtapeError as error:
            log.warning("an update cannot be taken in now", error=error.message)
            return web.Response(status=503)
        return web.Response()

    app = web.Application(client_max_size=LARGEST)
    app.router.add_post(PATH, take)
    return app


def secret_of(settings: BotSettings) -> str:
    """The webhook's secret.

    Raises:
        ConfigError: none, or one that is short enough to guess.
    """
    secret = settings.webhook_secret.get_secret_value()
    if len(secret) < SHORTEST_SECRET:
        raise ConfigError(f"MOODTAPE_BOT_WEBHOOK_SECRET needs at least {SHORTEST_SECRET} letters or digits.")
    return secret


async def serve(bot: Bot, intake: Intake, settings: BotSettings) -> None:
    """Listen for ever, and tell Telegram where.

    Raises:
        ConfigError: no secret, or the port is taken.
    """
    secret = secret_of(settings)
    runner = web.AppRunner(application(intake, secret), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        url = settings.webhook_url.rstrip("/") + PATH
        await bot.set_webhook(url, secret_token=secret, allowed_updates=WANTED)
        await asyncio.Event().wait()
    except OSError as error:
        raise ConfigError(f"The webhook cannot listen on port {settings.port}: {error.strerror}.") from None
    finally:
        await runner.cleanup()
