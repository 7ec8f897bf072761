"""The pace of sending: never faster than Telegram allows, in order, and no slower than needed."""

from __future__ import annotations

import asyncio
import heapq

import pytest

from bot.limiter import Limiter


class Time:
    """A clock that jumps to the next sleeper when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, len(self._sleepers), waiter))
        await waiter

    async def run(self, *work: asyncio.Task[None]) -> None:
        """Until all work is done."""
        while not all(task.done() for task in work):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                self.now, _, waiter = heapq.heappop(self._sleepers)
                waiter.set_result(None)


async def sent(chats: list[int]) -> list[tuple[float, int]]:
    """When a message to each of these chats leaves, all asked for at once."""
    time = Time()
    limiter = Limiter(now=time.read, sleep=time.sleep)
    left: list[tuple[float, int]] = []

    async def send(chat: int) -> None:
        async with limiter.turn(chat) as ready:
            await ready()
            left.append((time.now, chat))

    await time.run(*[asyncio.create_task(send(chat)) for chat in chats])
    return left


def busiest(times: list[float], window: float) -> int:
    """Most messages within any window."""
    return max(sum(1 for t in times if start <= t < start + window - 1e-9) for start in times)


async def test_overall_at_most_25_a_second() -> None:
    """A hundred chats at once are served in four seconds, never more than 25 in one."""
    times = [t for t, _ in await sent(list(range(1, 101)))]
    assert busiest(times, 1.0) == 25
    assert max(times) == pytest.approx(99 / 25)


async def test_one_a_second_per_chat() -> None:
    """Five messages to one chat take four seconds; another chat does not wait for them."""
    left = await sent([1, 1, 1, 1, 1, 2])
    assert busiest([t for t, chat in left if chat == 1], 1.0) == 1
    assert next(t for t, chat in left if chat == 2) < 0.1


async def test_18_a_minute_per_group() -> None:
    """Forty messages to a group: at most 18 in any minute, and the first 18 without waiting for it."""
    times = [t for t, _ in await sent([-5] * 40)]
    assert busiest(times, 60.0) == 18
    assert times[17] < 18
    assert times[18] >= 60


async def test_chats_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of paces does not grow without end."""
    monkeypatch.setattr("bot.limiter.MANY", 10)
    limiter = Limiter(per_second=1e6)
    for chat in range(50):
        async with limiter.turn(chat) as ready:
            await ready()
    assert len(limiter._chats) <= 11
