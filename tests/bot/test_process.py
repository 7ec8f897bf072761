"""`python -m bot` as a process: kill -9 with updates in flight, SIGTERM, its heartbeat, its log, what it loads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from bot.app import make_bot
from bot.settings import BotSettings
from domain.errors import ConfigError
from runtime.health import beat_of
from tests.fakes.answers import working
from tests.fakes.bot_process import start
from tests.fakes.scoring import FakeScorer
from tests.fakes.telegram import TOKEN, Refused, Telegram

FLIGHT = 50
AT_ONCE = 32
"""What the desk works on at a time, so what can have been leaving at the moment of a kill."""


@asynccontextmanager
async def process(telegram: Telegram, database_url: str, redis_url: str, folder: Path) -> AsyncIterator[BaseProcess]:
    """A bot process on the emulator; killed on the way out should it still run. Its log is ``bot.log``."""
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TELEGRAM_TOKEN": TOKEN,
        "TELEGRAM_API": telegram.url,
        "MOODTAPE_DATA_DIR": str(folder),
        "MOODTAPE_BOT_POLL_SECONDS": "2",
    }
    child = await asyncio.to_thread(start, environment, folder / "bot.log")
    try:
        yield child
    finally:
        child.kill()
        await asyncio.to_thread(child.join)
        child.close()


async def until(met: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something; fails after ``seconds``."""
    end = asyncio.get_running_loop().time() + seconds
    while not met():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


async def test_kill_9_with_fifty_updates_in_flight(
    telegram: Telegram, engine: Engine, database_url: str, redis_url: str, tmp_path: Path, picture: bytes
) -> None:
    """Fifty answers, each once: one chart in every chat; then SIGTERM ends the second process in order, exit status 0.

    A first message that was leaving at the moment of the kill may stand beside it with its three words.
    """
    for chat in range(1, FLIGHT + 1):
        telegram.show(picture, f"post {chat}", chat)
    with working(engine, FakeScorer()):
        async with process(telegram, database_url, redis_url, tmp_path) as first:
            await until(lambda: sum(m.has_media for m in telegram.messages.values()) >= 5)
            first.kill()
            await asyncio.to_thread(first.join)
        assert sum(m.has_media for m in telegram.messages.values()) < FLIGHT
        async with process(telegram, database_url, redis_url, tmp_path) as second:
            await until(lambda: not open_count(engine))
            assert beat_of("bot", tmp_path).exists()
            second.terminate()
            await asyncio.to_thread(second.join)
            assert second.exitcode == 0
    charts = {chat: sum(m.has_media for m in telegram.in_chat(chat)) for chat in range(1, FLIGHT + 1)}
    assert charts == dict.fromkeys(range(1, FLIGHT + 1), 1)
    left = [m.text for m in telegram.messages.values() if not m.has_media]
    assert set(left) <= {"Reading your post …"}
    assert len(left) <= AT_ONCE
    assert not beat_of("bot", tmp_path).exists()
    assert (tmp_path / "telegram-hash.key").stat().st_mode & 0o777 == 0o600


def open_count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("select count(*) from inbox where answered_at is null")).scalar() or 0


async def test_the_token_is_in_no_log(
    telegram: Telegram, engine: Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Telegram answering nonsense, files that are gone, then a refused token: exit 2, one sentence, no token."""
    telegram.refuse("getMe", 1, Refused(500, f"oops at /bot{TOKEN}/getMe"))
    telegram.refuse("getUpdates", 2, Refused(502, f"bad gateway /bot{TOKEN}/getUpdates"))
    photo = telegram.photo(b"gone")
    telegram.push(message=telegram.message(photo=photo))

    async def lost(call: object) -> dict[str, str]:
        return {"file_id": "f", "file_unique_id": "u", "file_path": "photos/lost"}

    telegram._getFile = lost  # type: ignore[method-assign, assignment]
    async with process(telegram, database_url, redis_url, tmp_path) as child:
        await until(lambda: len(telegram.of("getFile")) >= 2)
        telegram.token = "1:another"
        await asyncio.to_thread(child.join)
        assert child.exitcode == 2
    log = (tmp_path / "bot.log").read_text()
    assert "Telegram refuses the token; check TELEGRAM_TOKEN." in log
    assert TOKEN not in log
    assert TOKEN.partition(":")[2] not in log


def test_a_missing_token_is_one_sentence_and_no_model_framework_is_loaded(tmp_path: Path) -> None:
    """Exit status 2 and what to do, without a traceback; torch, transformers and timm stay out of the whole bot."""
    code = (
        "import atexit, sys, bot.__main__ as m\n"
        "atexit.register(lambda: print(sorted({'torch', 'transformers', 'timm'} & set(sys.modules))))\n"
        "sys.exit(m.main())"
    )
    environment = {**os.environ, "MOODTAPE_DATA_DIR": str(tmp_path), "TELEGRAM_TOKEN": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stdout.strip() == "[]"
    assert "There is no TELEGRAM_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"token": SecretStr("nonsense")}, "not a bot's token"), ({"api": "ftp://x"}, "TELEGRAM_API is not a URL")],
)
def test_wrong_settings_are_named(changes: dict[str, Any], sentence: str) -> None:
    """A ConfigError that says which setting, and not its value."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        make_bot(BotSettings(**{"token": SecretStr(TOKEN), **changes}))
    assert "nonsense" not in str(caught.value)
