"""How fast the bot may send: Telegram's limits, kept before they are met."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MANY = 10_000
"""Chats whose pace is remembered."""


@dataclass
class _Chat:
    """One chat's pace; its lock keeps the order of what is sent to it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: deque[float] = field(default_factory=deque)
    users: int = 0


class Limiter:
    """At most 25 messages a second in all, one a second per chat, 18 a minute per group (a negative chat id).

    Telegram's own limits are 30, 1 and 20; an edit counts like a message.
    """

    def __init__(
        self,
        *,
        per_second: float = 25.0,
        chat_seconds: float = 1.0,
        group_per_minute: int = 18,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 1.0 / per_second
        self._chat_seconds = chat_seconds
        self._group = group_per_minute
        self._now, self._sleep = now, sleep
        self._next = 0.0
        self._chats: OrderedDict[int, _Chat] = OrderedDict()

    @asynccontextmanager
    async def turn(self, chat_id: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Take a chat's turn, in order of asking. The value waits until one more message may leave; call it before each."""
        chat = self._chats.setdefault(chat_id, _Chat())
        self._chats.move_to_end(chat_id)
        chat.users += 1
        try:
            async with chat.lock:
                yield lambda: self._wait(chat_id, chat)
        finally:
            chat.users -= 1
            self._forget()

    async def _wait(self, chat_id: int, chat: _Chat) -> None:
        await self._until(self._chat_free(chat_id, chat))
        free = max(self._now(), self._next)
        self._next = free + self._gap
        await self._until(free)
        chat.sent.append(self._now())
        if len(chat.sent) > self._group:
            chat.sent.popleft()

    def _chat_free(self, chat_id: int, chat: _Chat) -> float:
        if not chat.sent:
            return 0.0
        free = chat.sent[-1] + self._chat_seconds
        if chat_id < 0 and len(chat.sent) == self._group:
            free = max(free, chat.sent[0] + 60.0)
        return free

    async def _until(self, moment: float) -> None:
        while (left := moment - self._now()) > 0:
            await self._sleep(left)

    def _forget(self) -> None:
        for chat_id in list(self._chats)[: max(0, len(self._chats) - MANY)]:
            if self._chats[chat_id].users == 0:
                del self._chats[chat_id]
