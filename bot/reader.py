"""From messages to the answer's JSON: fetch the picture, store the post, put it on the queue, wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from aiogram import Bot
from aiogram.types import Message

from bot.files import fetch, picture_of
from bot.mailer import Gone
from bot.store import Store
from bot.unit import Unit
from db.queries import chats, inbox, verdicts
from domain.answer import Json
from domain.clock import Clock, ManualClock
from domain.errors import EmptyPost, NoCandles, Unavailable
from domain.types import Post
from workers.client.analyze import Request, prepare
from workers.client.queue import Priority

SOURCE = "telegram"
SLICE = 2.0
"""Seconds that a thread waits at a time, so that a stop is not held up."""

T = TypeVar("T")


class Queue(Protocol):
    """What is used of :class:`workers.client.queue.ScoringClient`."""

    def submit(self, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None) -> int: ...

    def wait(self, post_id: str, deadline: float) -> Json: ...


class Late(Exception):
    """No verdict within the time that was given."""


class Reader:
    """Reads posts through the scoring queue; ``threads`` is how many may be waited for at once."""

    def __init__(self, bot: Bot, store: Store, queue: Queue, clock: Clock, threads: int = 32) -> None:
        self._bot, self._store, self._queue, self._clock = bot, store, queue, clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")

    async def take(self, unit: Unit, messages: Sequence[Message]) -> bool:
        """Store what was sent as a post and note it in the unit; False when the original's time had no prices.

        Raises:
            InputError: what cannot be used, by its kind.
            Unavailable: Telegram or PostgreSQL is away.
            Gone: the author was forgotten meanwhile.
        """
        picture = picture_of(messages)
        words = next((w for m in messages if (w := m.text or m.caption)), "")
        if picture is None and not words.strip():
            raise EmptyPost("There is neither text nor a picture to read; send text or a picture.")
        image = await fetch(self._bot, picture) if picture else None
        whose = unit.author_hash
        request = partial(Request, text=words, image=image, source=SOURCE, author_hash=whose, requester=whose)
        sent, original = self._times(messages)
        as_original = True
        try:
            post = await self._prepare(request(at=original), sent)
        except NoCandles:
            as_original = False
            post = await self._prepare(request(), sent)
        if not await self._store(inbox.attach_post, unit.lead, post.id):
            await self._store(chats.forget_post, post.id)
            raise Gone
        unit.post_id = post.id
        return as_original

    async def submit(self, unit: Unit) -> None:
        """Put the unit's post on the queue; harmless when it is there already."""
        assert unit.post_id is not None
        put = partial(self._queue.submit, [unit.post_id], priority=Priority.PEOPLE, requester=unit.author_hash)
        await self._thread(put)

    async def wait(self, post_id: str, seconds: float) -> Json:
        """The answer.

        Raises:
            Late: not within ``seconds``.
            MoodtapeError: what the scoring failed with.
        """
        end = time.monotonic() + seconds
        while True:
            asked = time.monotonic()
            length = min(SLICE, max(0.05, end - asked))
            try:
                return await self._thread(partial(self._queue.wait, post_id, length))
            except Unavailable:
                if time.monotonic() - asked < 0.9 * length:
                    raise
            if time.monotonic() >= end:
                raise Late

    async def again(self, post_id: str) -> Json | None:
        """A stored answer."""
        return await self._store(verdicts.answer, post_id)

    def close(self) -> None:
        """Let the threads go; those that wait end within :data:`SLICE` seconds."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _times(self, messages: Sequence[Message]) -> tuple[datetime, datetime | None]:
        """When it was sent to us, and when a forwarded post was first published; neither lies in the future."""
        now = self._clock.now()
        sent = min(messages[0].date, now)
        origin = next((m.forward_origin for m in messages if m.forward_origin is not None), None)
        return sent, min(origin.date, sent) if origin is not None else None

    async def _prepare(self, request: Request, sent: datetime) -> Post:
        """The post is as old as Telegram says, so that a restart makes the same one."""
        return await self._thread(partial(prepare, self._store.engine, request, clock=ManualClock(sent)))

    async def _thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
