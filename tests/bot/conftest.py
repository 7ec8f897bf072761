"""A bot on the emulator: a fresh database, Telegram on the loopback, and a scoring worker written by hand."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from bot.app import Door, opened
from bot.limiter import Limiter
from bot.settings import BotSettings
from tests.fakes.answers import working
from tests.fakes.scoring import FakeScorer
from tests.fakes.telegram import TOKEN, Telegram, serve
from workers.client.queue import ScoringClient
from workers.settings import WorkerSettings

READING = ("Reading your post", "Ich lese deinen Beitrag")


@pytest.fixture
async def telegram() -> AsyncIterator[Telegram]:
    """The emulator, listening; ``telegram.url`` is its base URL."""
    server = Telegram()
    runner, server.url = await serve(server)
    yield server
    await runner.cleanup()


@pytest.fixture
def settings(telegram: Telegram, tmp_path: Path) -> BotSettings:
    """Settings that point at the emulator, with short waits."""
    return settings_for(telegram.url, tmp_path)


def settings_for(url: str, folder: Path, **changes: Any) -> BotSettings:
    """Settings for a test; ``changes`` by field name."""
    values = {"token": SecretStr(TOKEN), "api": url, "data_dir": folder, "poll_seconds": 5, "album_seconds": 0.15}
    return BotSettings(**{**values, "patience": 5.0, **changes})


@pytest.fixture
def picture() -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(out, "JPEG")
    return out.getvalue()


@dataclass
class Bench:
    """A running bot and what stands around it."""

    telegram: Telegram
    engine: Engine
    door: Door

    async def until(self, met: Callable[[], Any], seconds: float = 10.0) -> Any:
        """What ``met`` says, once it is true; fails after ``seconds``."""
        end = asyncio.get_running_loop().time() + seconds
        while not (found := met()):
            assert asyncio.get_running_loop().time() < end, f"not met: {self.telegram.in_chat()}"
            await asyncio.sleep(0.01)
        return found

    async def answers(self, count: int, chat: int = 7, seconds: float = 10.0) -> list[Any]:
        """The messages in a chat without those that only say that an answer comes, once there are ``count``."""

        def found() -> list[Any]:
            return [m for m in self.telegram.in_chat(chat) if not m.text.startswith(READING)]

        return await self.until(lambda: len(now := found()) >= count and now, seconds)

    async def closed(self) -> None:
        """Wait until no update is open."""
        for _ in range(1000):
            if not await self.door.store(count_open):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("updates are still open")


def count_open(connection: Connection) -> int:
    """How many updates are open."""
    return connection.execute(text("select count(*) from inbox where answered_at is null")).scalar() or 0


def queue_of(engine: Engine) -> ScoringClient:
    """The queue's client, with a Redis that is away: workers look for themselves."""
    return ScoringClient(engine, WorkerSettings(redis_url=SecretStr("redis://127.0.0.1:1/0")))


@asynccontextmanager
async def running(
    telegram: Telegram,
    engine: Engine,
    settings: BotSettings,
    scorer: FakeScorer | None = None,
    limiter: Limiter | None = None,
    worker: bool = True,
) -> AsyncIterator[Bench]:
    """A bot and, as a rule, a worker at work until the block ends; without ``limiter`` there are no limits of sending."""
    queue = queue_of(engine)
    limiter = limiter or Limiter(per_second=10_000, chat_seconds=0.0, group_per_minute=10_000)
    with working(engine, scorer or FakeScorer()) if worker else nullcontext():
        async with opened(settings, engine, queue, limiter=limiter) as door:
            tasks = [asyncio.create_task(door.dispatcher.run()), asyncio.create_task(door.intake.poll(door.bot, 5))]
            try:
                yield Bench(telegram, engine, door)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(queue.close)


@pytest.fixture
async def bench(telegram: Telegram, engine: Engine, settings: BotSettings) -> AsyncIterator[Bench]:
    """A running bot without limits of sending, and a scorer."""
    async with running(telegram, engine, settings) as it:
        yield it
