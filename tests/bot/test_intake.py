"""Updates in: stored before they are confirmed, once each, by polling or webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from bot.app import make_bot
from bot.intake import HEADER, PATH, Intake, application, loads, secret_of
from bot.settings import BotSettings
from db.engine import DatabaseSettings, Store, make_engine
from domain.errors import ConfigError
from tests.fakes.telegram import Telegram, serve

KEY = b"0123456789abcdef"
SECRET = "a-secret-of-some-length"


async def until(met: Callable[[], object]) -> None:
    """Wait for something; fails after ten seconds."""
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("select count(*) from inbox")).scalar() or 0


async def test_nothing_is_confirmed_before_it_is_stored(
    telegram: Telegram, engine: Engine, settings: BotSettings
) -> None:
    """With the database away the updates stay at Telegram; when it is back each is stored once."""
    away = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}))
    for number in range(3):
        telegram.say(f"words {number}")
    bot = make_bot(settings)
    try:
        lost = asyncio.create_task(Intake(Store(away), KEY, lambda: None).poll(bot, 1))
        await until(lambda: len(telegram.of("getUpdates")) >= 2)
        lost.cancel()
        assert len(telegram.updates) == 3
        woken = asyncio.Event()
        found = asyncio.create_task(Intake(Store(engine), KEY, woken.set).poll(bot, 1))
        await woken.wait()
        await until(lambda: not telegram.updates)
        found.cancel()
        await asyncio.gather(lost, found, return_exceptions=True)
    finally:
        await bot.session.close()
        away.dispose()
    assert count(engine) == 3


async def test_the_same_update_is_stored_once(engine: Engine) -> None:
    """Telegram sends again what was not confirmed; what is no update is left out; ids may have 64 bits."""
    calls: list[int] = []
    intake = Intake(Store(engine), KEY, lambda: calls.append(1))
    update = {"update_id": 5, "message": {"chat": {"id": -(2**60)}, "from": {"id": 2**52}}}
    assert await intake.take([update, update, {"no": "id"}]) == 1
    assert await intake.take([update]) == 0
    assert (count(engine), len(calls)) == (1, 1)


async def test_five_hundred_updates_a_second(engine: Engine) -> None:
    """Two thousand updates in batches of a hundred are stored in less than four seconds."""
    intake = Intake(Store(engine), KEY, lambda: None)
    start = asyncio.get_running_loop().time()
    for batch in range(20):
        message = {"chat": {"id": 7}, "from": {"id": 7}, "text": "bitcoin " * 20}
        await intake.take([{"update_id": 100 * batch + n, "message": message} for n in range(100)])
    assert asyncio.get_running_loop().time() - start < 4.0
    assert count(engine) == 2000


def test_strings_are_made_storable() -> None:
    """NUL and lone surrogates go, whole emoji stay, keys too."""
    assert loads('{"a\\u0000": ["\\ud83d\\ude80", "\\ud83dx"]}') == {"a": ["🚀", "x"]}


async def test_the_webhook_hears_only_the_secret(engine: Engine, tmp_path: Path) -> None:
    """No secret, a wrong one, or an address of Telegram's in a header: 401 and nothing stored. With it: stored once."""
    runner, url = await serve(Telegram(), app=application(Intake(Store(engine), KEY, lambda: None), SECRET))
    body = {"update_id": 1, "message": {"chat": {"id": 7}}}
    try:
        async with aiohttp.ClientSession() as session:
            statuses = []
            for headers, sent in [
                ({}, body),
                ({HEADER: "wrong"}, body),
                ({"X-Forwarded-For": "149.154.167.220"}, body),
                ({HEADER: SECRET}, {"no": "update"}),
                ({HEADER: SECRET}, body),
                ({HEADER: SECRET}, body),
            ]:
                async with session.post(url + PATH, json=sent, headers=headers) as response:
                    statuses.append(response.status)
    finally:
        await runner.cleanup()
    assert statuses == [401, 401, 401, 400, 200, 200]
    assert count(engine) == 1


def test_a_webhook_needs_a_secret() -> None:
    """None, or a short one, is refused before anything listens."""
    with pytest.raises(ConfigError, match="WEBHOOK_SECRET"):
        secret_of(BotSettings(webhook_url="https://x", webhook_secret=SecretStr("short")))
