"""Updates in by webhook, for a bot with a public address: only a call with the secret is heard, whoever says he sent it."""

from __future__ import annotations

import asyncio
import hmac

import structlog
from aiogram import Bot
from aiohttp import web

from bot.intake import WANTED, Intake, loads
from bot.settings import BotSettings
from domain.errors import ConfigError, MoodtapeError

log = structlog.get_logger()

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
        await web.TCPSite(runner, settings.webhook_host, settings.webhook_port).start()
        url = settings.webhook_url.rstrip("/") + PATH
        await bot.set_webhook(url, secret_token=secret, allowed_updates=WANTED)
        await asyncio.Event().wait()
    except OSError as error:
        raise ConfigError(f"The webhook cannot listen on port {settings.webhook_port}: {error.strerror}.") from None
    finally:
        await runner.cleanup()
