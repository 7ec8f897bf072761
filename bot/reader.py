"""From messages to the answer's JSON: fetch the picture, store the post, put it on the queue, wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import filetype
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest
from aiogram.types import Message
from aiohttp import ClientError

from answer.catalogue import Say
from answer.words import MEGABYTES
from bot.mailer import Gone
from bot.messages import PendingUpdate
from db.engine import Store
from db.queries import streams, telegram, verdicts
from domain.answer import Json
from domain.clock import Clock
from domain.errors import EmptyPost, InputError, NoCandles, TooLarge, Unavailable, UnreadableImage
from domain.reasons import Reason
from domain.types import Post
from workers.client.analyze import Request, prepare
from workers.client.queue import Priority

LIMIT = MEGABYTES * 2**20


UNTYPED = ("", "application/octet-stream", "binary/octet-stream", "application/x-binary", "application/binary")
"""Types that say nothing: such a file is what its bytes are."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to fetch; ``size`` is what Telegram says of it, in bytes. ``sure``: not only perhaps a picture."""

    file_id: str
    size: int | None
    sure: bool = True


def picture_of(messages: Sequence[Message]) -> Picture | None:
    """The first picture of a message or album: a photo's largest size, a picture sent as a file, or a still sticker.

    Raises:
        InputError: a file of another kind, and nothing else to read.
    """
    pictures = [picture for message in messages if (picture := _picture(message)) is not None]
    if pictures:
        return pictures[0]
    if any(m.document or m.video or m.voice or m.audio or m.video_note or m.sticker for m in messages) and not any(
        m.caption or m.text for m in messages
    ):
        raise InputError(Reason("unsupported"))
    return None


def _picture(message: Message) -> Picture | None:
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return Picture(largest.file_id, largest.file_size)
    document = message.document
    if document is not None and (document.mime_type or "").startswith("image/"):
        return Picture(document.file_id, document.file_size)
    if document is not None and (document.mime_type or "") in UNTYPED and message.animation is None:
        return Picture(document.file_id, document.file_size, sure=False)
    if message.sticker is not None and not (message.sticker.is_animated or message.sticker.is_video):
        return Picture(message.sticker.file_id, message.sticker.file_size)
    if message.animation is not None and message.animation.thumbnail is not None:
        still = message.animation.thumbnail
        return Picture(still.file_id, still.file_size)
    return None


def unseen(messages: Sequence[Message]) -> str:
    """What of a message with words is not looked at: ``video``, ``audio``, ``file`` or nothing."""
    if any(m.video or m.video_note or (m.animation and picture_of([m]) is None) for m in messages):
        return "video"
    if any(m.voice or m.audio for m in messages):
        return "audio"
    other = any(m.paid_media or (m.document and not m.animation) for m in messages)
    return "file" if other and picture_of(messages) is None else ""


async def fetch(bot: Bot, picture: Picture) -> bytes:
    """The file's bytes.

    Raises:
        TooLarge: more than Telegram lets bots fetch, or more than it said.
        Unavailable: Telegram does not hand the file out.
    """
    if (picture.size or 0) > LIMIT:
        raise TooLarge(Reason("file_too_big", {"megabytes": MEGABYTES}))
    try:
        file = await bot.get_file(picture.file_id)
        if file.file_path is None:
            raise Unavailable("Telegram does not hand this file out; send it again.")
        return await _download(bot, bot.session.api.file_url(bot.token, file.file_path))
    except TelegramBadRequest as error:
        if "too big" in error.message:
            raise TooLarge(Reason("file_too_big", {"megabytes": MEGABYTES})) from None
        raise UnreadableImage("Telegram does not know this file any more; send it again.") from None
    except (AiogramError, ClientError, TimeoutError):
        # The message of the original holds the URL, and the URL the token.
        raise Unavailable("Telegram does not hand the file out now; try again.") from None


async def _download(bot: Bot, url: str) -> bytes:
    content = bytearray()
    async for piece in bot.session.stream_content(url, raise_for_status=True):
        content += piece
        if len(content) > LIMIT:
            raise TooLarge(Reason("file_too_big", {"megabytes": MEGABYTES}))
    return bytes(content)


SOURCE = "telegram"
T = TypeVar("T")


class Queue(Protocol):
    """What is used of :class:`workers.client.queue.ScoringClient`."""

    def submit(self, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None) -> int: ...

    def wait(self, post_id: str, deadline: float) -> Json: ...

    def end_waits(self) -> None: ...


class Reader:
    """Reads posts through the scoring queue; ``threads`` is how many may be waited for at once."""

    def __init__(self, bot: Bot, store: Store, queue: Queue, clock: Clock, threads: int = 32) -> None:
        self._bot, self._store, self._queue, self._clock = bot, store, queue, clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")

    async def take(self, pending: PendingUpdate, messages: Sequence[Message]) -> bool:
        """Store what was sent as a post and note it in the update; False when the original's time had no prices.

        Raises:
            InputError: what cannot be used, by its kind.
            Unavailable: Telegram or PostgreSQL is away.
            Gone: the author was forgotten meanwhile.
        """
        picture = picture_of(messages)
        words = next((w for m in messages if (w := m.text or m.caption)), "")
        if picture is None and not words.strip():
            raise EmptyPost(Reason("empty_post"))
        image = await self._image(picture, words) if picture else None
        whose = pending.author_hash
        request = partial(Request, text=words, image=image, source=SOURCE, author_hash=whose, requester=whose)
        sent, original = self._times(messages)
        as_original = True
        try:
            post = await self._prepare(request(at=original), sent)
        except NoCandles:
            as_original = False
            post = await self._prepare(request(), sent)
        if not await self._store(telegram.attach_post, pending.lead, post.id):
            await self._store(telegram.forget_post, post.id)
            raise Gone
        pending.post_id = post.id
        return as_original

    async def _image(self, picture: Picture, words: str) -> bytes | None:
        """The picture's bytes; None for a file that turns out to be none, beside words."""
        image = await fetch(self._bot, picture)
        if picture.sure or filetype.is_image(image):
            return image
        if not words.strip():
            raise InputError(Reason("unsupported"))
        return None

    async def submit(self, pending: PendingUpdate) -> None:
        """Put the update's post on the queue; harmless when it is there already."""
        assert pending.post_id is not None
        put = partial(self._queue.submit, [pending.post_id], priority=Priority.PEOPLE, requester=pending.author_hash)
        await self._thread(put)

    async def wait(self, post_id: str, seconds: float) -> Json:
        """The answer.

        Raises:
            NoAnswerYet: not within ``seconds``.
            MoodtapeError: what the scoring failed with.
        """
        return await self._thread(partial(self._queue.wait, post_id, seconds))

    async def again(self, post_id: str) -> Json | None:
        """A stored answer."""
        return await self._store(verdicts.answer, post_id)

    def close(self) -> None:
        """End the waits, and let the threads go."""
        self._queue.end_waits()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _times(self, messages: Sequence[Message]) -> tuple[datetime, datetime | None]:
        """When it was sent to us, and when a forwarded post was first published; neither lies in the future."""
        now = self._clock.now()
        sent = min(messages[0].date, now)
        origin = next((m.forward_origin for m in messages if m.forward_origin is not None), None)
        return sent, min(origin.date, sent) if origin is not None else None

    async def _prepare(self, request: Request, sent: datetime) -> Post:
        """The post is as old as Telegram says, so that a restart makes the same one."""
        return await self._thread(partial(prepare, self._store.engine, request, sent))

    async def _thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@dataclass
class Context:
    """What every answer depends on beside the post: which feed plays, and after how many seconds the bot speaks up."""

    store: Store
    patience: float
    give_up: float

    async def notes(self, say: Say) -> tuple[str, ...]:
        """Lines that belong under every answer now."""
        playing = await self.store(streams.feed)
        return (say("synthetic"),) if playing and playing["kind"] == "synthetic" else ()

    async def drawn(self, draw: Callable[[Json], bytes], answer: Json) -> bytes:
        """The chart, drawn in a thread."""
        return await asyncio.to_thread(draw, answer)
