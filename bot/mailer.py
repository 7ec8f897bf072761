"""Answers out, each once.

Telegram knows no idempotency key and lets nobody read back what a bot has sent, so a process killed between a send and
its note in the database cannot know whether the message arrived. Edits, however, may be repeated. Therefore the answer
to a post is edited into a first message whose number has been noted: whatever is killed when, the chart stands there
once. At worst a second first message is sent, and the other keeps its few words.

What is sent in one go (answers to commands) is *reserved* in the database just before the request leaves (after all
waiting for limits), and closed just after. A row found reserved at the next start is not answered again; a short line
says that an answer may be missing. Everything Telegram has certainly refused (429, 4xx, 5xx, no connection) lifts the
reservation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import structlog
from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.types import (
    BufferedInputFile,
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Message,
    ReplyParameters,
)
from aiohttp import ClientConnectorError
from sqlalchemy import Connection

from bot.limiter import Limiter
from bot.messages import PendingUpdate, Reply
from db.engine import Store
from db.queries import telegram
from domain.errors import Unavailable

log = structlog.get_logger()

_PASSING = (TelegramNetworkError, TelegramServerError, TelegramNotFound)

_STANDS_NO_MORE = re.compile(r"edit|message[ _](id|identifier|not|author)|no text in the message", re.I)
"""What Telegram says of a message that cannot be edited: gone, too old, another's, MESSAGE_ID_INVALID and its kin."""

RETRY_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds between attempts while Telegram is not well."""


class Gone(Exception):
    """The update has been forgotten or answered meanwhile: nothing is to be sent."""


class Undeliverable(Exception):
    """Telegram will never take this answer; the text says why."""


class Uncertain(Exception):
    """The connection broke while an answer was leaving: it may have arrived."""


class Mailer:
    """Sends replies within the limits and notes them."""

    def __init__(
        self,
        bot: Bot,
        store: Store,
        limiter: Limiter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bot, self._store, self._limiter, self._sleep = bot, store, limiter, sleep

    async def answer(self, pending: PendingUpdate, reply: Reply, language: str, note: str) -> None:
        """Deliver the one answer to an update and close it; who has blocked the bot gets none, and the row says so.

        ``note`` is sent instead where an earlier try may have arrived.

        Raises:
            Gone: forgotten meanwhile.
        """
        error = reply.error
        message_id: int | None = None
        try:
            message_id = await self._once(pending, reply, note)
        except (Undeliverable, Uncertain) as why:
            error = str(why)
            log.warning("an answer could not be delivered", update=pending.lead, error=error)
        await self._noted(partial(self._close, pending, reply, message_id, error, language))
        if message_id is not None and reply.sent is not None:
            reply.sent(message_id)

    async def refresh(self, chat_id: int, message_id: int, reply: Reply) -> bool:
        """Put other words and buttons into one of our messages; False when it stands no more."""
        async with self._limiter.turn(chat_id) as ready:
            await ready()
            try:
                await self._edit(chat_id, message_id, None, reply.markup, "HTML", _keyboard(reply))
            except TelegramRetryAfter as error:
                await self._sleep(error.retry_after)
            except _PASSING as error:
                log.info("a message is not brought up to date now", error=type(error).__name__)
            except TelegramAPIError as error:
                return "not modified" in error.message
        return True

    async def _once(self, pending: PendingUpdate, reply: Reply, note: str) -> int:
        if pending.uncertain:
            return await self._deliver(pending, Reply(note), reserved=True)
        try:
            return await self._deliver(pending, reply)
        except Uncertain:
            return await self._deliver(pending, Reply(note), reserved=True)

    async def hold(self, pending: PendingUpdate, words: str) -> None:
        """Send a first message that the answer will replace, or put these words into it.

        Raises:
            Gone: forgotten meanwhile.
            Undeliverable: Telegram does not take it.
            Uncertain: it may have arrived, twice over; nothing is noted.
        """
        if pending.reply_id is not None:
            await self._reserve(pending)
            await self.refresh(pending.chat_id, pending.reply_id, Reply(words))
            return
        try:
            message_id = await self._deliver(pending, Reply(words), reserved=pending.uncertain)
        except Uncertain:
            message_id = await self._deliver(pending, Reply(words), reserved=True)
        await self._noted(partial(self._attach, pending, message_id))
        pending.reply_id = message_id

    async def _attach(self, pending: PendingUpdate, message_id: int) -> None:
        if not await self._store(telegram.attach_reply, pending.lead, message_id):
            raise Gone

    async def withdraw(self, pending: PendingUpdate) -> None:
        """Take the first message back where no answer will replace it; one that is gone already is no harm."""
        if pending.reply_id is None:
            return
        try:
            await self._bot.delete_message(pending.chat_id, pending.reply_id)
        except AiogramError as error:
            log.info("a message could not be taken back", error=type(error).__name__)

    async def toast(self, query: CallbackQuery, words: str) -> None:
        """Answer a pressed button; one pressed too long ago cannot be answered, and that is no harm."""
        try:
            await self._bot.answer_callback_query(query.id, text=words)
        except TelegramRetryAfter as error:
            await self._sleep(error.retry_after)
            await self.toast(query, words)
        except AiogramError as error:
            log.info("a button could not be answered", error=type(error).__name__)

    async def _close(
        self, pending: PendingUpdate, reply: Reply, message_id: int | None, error: str | None, language: str
    ) -> None:
        if reply.forget:
            await self._store(telegram.remove, pending.ids)
            return

        def close(connection: Connection) -> None:
            if telegram.close(connection, pending.ids, message_id, error) and reply.post_id:
                telegram.set_last(connection, chat_id=pending.chat_id, code=language, post_id=reply.post_id)

        await self._store(close)

    async def _noted(self, closing: Callable[[], Awaitable[None]]) -> None:
        """What has been sent must be noted, however long the database is away."""
        while True:
            try:
                return await closing()
            except Unavailable as error:
                log.error("a sent answer cannot be noted yet", error=error.message)
                await self._sleep(1.0)

    async def _deliver(self, pending: PendingUpdate, reply: Reply, *, reserved: bool = False) -> int:
        """Send, and return the message's id; with ``reserved`` an earlier reservation stands, whatever comes of this."""
        async with self._limiter.turn(pending.chat_id) as ready:
            pauses = iter(RETRY_PAUSES)
            forms = _forms(reply)
            form, parse_mode = next(forms)
            while True:
                await ready()
                if not reserved:
                    await self._reserve(pending)
                try:
                    return await self._send(pending, form, parse_mode)
                except TelegramBadRequest as error:
                    if "not modified" in error.message and pending.reply_id is not None:
                        return pending.reply_id
                    if not reserved:
                        await self._free(pending)
                    form, parse_mode = self._other(pending, error, (form, parse_mode), forms)
                except (TelegramAPIError, ClientDecodeError) as error:
                    pause = self._pause(pending, error, pauses)
                    if not reserved:
                        await self._free(pending)
                    await self._sleep(pause)

    async def _reserve(self, pending: PendingUpdate) -> None:
        """Before a send the row is reserved; an edit needs only that it is still open."""
        take = telegram.reserve if pending.reply_id is None else telegram.is_open
        if not await self._store(take, pending.lead):
            raise Gone

    async def _free(self, pending: PendingUpdate) -> None:
        if pending.reply_id is None:
            await self._store(telegram.release, pending.lead)

    def _other(
        self,
        pending: PendingUpdate,
        error: TelegramBadRequest,
        now: tuple[Reply, str | None],
        forms: Iterator[tuple[Reply, str | None]],
    ) -> tuple[Reply, str | None]:
        """What to try after a refusal: a new message where the old one is gone, else a simpler form."""
        if pending.reply_id is not None and _STANDS_NO_MORE.search(error.message):
            pending.reply_id = None
            return now
        form = next(forms, None)
        if form is None or "chat not found" in error.message:
            raise Undeliverable(error.message)
        return form

    def _pause(self, pending: PendingUpdate, error: AiogramError, pauses: Iterator[float]) -> float:
        """Seconds to wait before trying again, where Telegram has certainly not taken the message."""
        if isinstance(error, TelegramRetryAfter):
            return float(error.retry_after)
        if isinstance(error, TelegramMigrateToChat):
            pending.chat_id = error.migrate_to_chat_id
            return 0.0
        if isinstance(error, TelegramForbiddenError):
            raise Undeliverable("blocked")
        if _may_have_arrived(error) and pending.reply_id is None:
            raise Uncertain("no answer from Telegram; it may have arrived")
        if isinstance(error, TelegramAPIError) and not isinstance(error, _PASSING):
            raise Undeliverable(error.message)
        pause = next(pauses, None)
        if pause is None:
            raise Undeliverable(f"{type(error).__name__} again and again")
        return pause

    async def _send(self, pending: PendingUpdate, reply: Reply, parse_mode: str | None) -> int:
        words = reply.markup if parse_mode else reply.plain
        keyboard = _keyboard(reply)
        photo = BufferedInputFile(reply.picture, "answer.png") if reply.picture else None
        if pending.reply_id is not None:
            await self._edit(pending.chat_id, pending.reply_id, photo, words, parse_mode, keyboard)
            return pending.reply_id
        to = (
            ReplyParameters(message_id=pending.reply_to, allow_sending_without_reply=True) if pending.reply_to else None
        )
        sent: Message
        if photo is not None:
            sent = await self._bot.send_photo(
                pending.chat_id,
                photo,
                caption=words,
                parse_mode=parse_mode,
                reply_markup=keyboard,
                reply_parameters=to,
                message_thread_id=pending.thread,
            )
        else:
            sent = await self._bot.send_message(
                pending.chat_id,
                words,
                parse_mode=parse_mode,
                reply_markup=keyboard,
                reply_parameters=to,
                message_thread_id=pending.thread,
            )
        return sent.message_id

    async def _edit(
        self,
        chat_id: int,
        message_id: int,
        photo: BufferedInputFile | None,
        words: str,
        parse_mode: str | None,
        keyboard: InlineKeyboardMarkup | None,
    ) -> None:
        if photo is None:
            await self._bot.edit_message_text(
                words, chat_id=chat_id, message_id=message_id, parse_mode=parse_mode, reply_markup=keyboard
            )
            return
        media = InputMediaPhoto(media=photo, caption=words, parse_mode=parse_mode)
        await self._bot.edit_message_media(media, chat_id=chat_id, message_id=message_id, reply_markup=keyboard)


def _may_have_arrived(error: AiogramError) -> bool:
    """Whether Telegram could have taken a message although no proper response came: a time-out, a proxy's error page."""
    if isinstance(error, TelegramNetworkError):
        return not isinstance(error.__cause__, ClientConnectorError)
    return isinstance(error, ClientDecodeError)


def _forms(reply: Reply) -> Iterator[tuple[Reply, str | None]]:
    """A reply and its fall-backs: with markup, without, and at last without the picture."""
    yield reply, "HTML"
    yield reply, None
    if reply.picture:
        yield replace(reply, picture=None), None


def _keyboard(reply: Reply) -> InlineKeyboardMarkup | None:
    if not reply.buttons:
        return None
    rows = [[InlineKeyboardButton(text=text, callback_data=data) for text, data in row] for row in reply.buttons]
    return InlineKeyboardMarkup(inline_keyboard=rows)
