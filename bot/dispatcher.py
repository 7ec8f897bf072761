"""Takes open updates from the inbox, gathers albums, calls the handlers, and sends their replies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiogram import Bot, Dispatcher
from aiogram.dispatcher.event.bases import UNHANDLED
from aiogram.types import Update
from pydantic import ValidationError

from answer.catalogue import Texts
from answer.words import complain
from bot.mailer import Gone, Mailer, Uncertain, Undeliverable
from bot.messages import PendingUpdate, Reply, message_of, pending_of
from db.engine import Store
from db.queries import telegram
from db.queries.telegram import Open
from domain.errors import Busy, MoodtapeError, Unavailable

log = structlog.get_logger()

LOOK_AGAIN = 2.0
"""Seconds after which the inbox is looked at without being told."""

TRIES = 5
LONGEST_PAUSE = 30.0


class InboxDispatcher:
    """Works on at most ``at_once`` updates at a time; what it leaves open, the next process takes up."""

    def __init__(
        self,
        bot: Bot,
        handlers: Dispatcher,
        store: Store,
        mailer: Mailer,
        texts: Texts,
        *,
        album_seconds: float = 1.0,
        at_once: int = 32,
    ) -> None:
        self._bot, self._handlers, self._store = bot, handlers, store
        self._mailer, self._texts = mailer, texts
        self._album_seconds, self._at_once = album_seconds, at_once
        self._news = asyncio.Event()
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._albums: dict[tuple[int | None, str], set[int]] = {}
        self.looked_at = 0.0

    def wake(self) -> None:
        """There is something new in the inbox."""
        self._news.set()

    async def run(self) -> None:
        """Work for ever."""
        while True:
            self._news.clear()
            try:
                await self.look()
            except MoodtapeError as error:
                log.warning("the inbox cannot be read now", error=error.message)
                await asyncio.sleep(1.0)
                continue
            # Not wait_for: Python 3.11's can swallow a cancellation that comes together with the news.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._news.wait()

    async def look(self) -> None:
        """Begin work on open updates, as many as there is room for."""
        room = self._at_once - len(self._busy)
        if room > 0:
            known = {*self._busy, *(part for parts in self._albums.values() for part in parts)}
            for row in await self._store(telegram.open_rows, room, sorted(known)):
                self._begin(row)
        self.looked_at = time.monotonic()

    async def drain(self, seconds: float) -> None:
        """Let work under way end; what has not ended by then is cancelled and stays open for the next process."""
        tasks = list(self._busy.values())
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _begin(self, row: Open) -> None:
        if row.album is None:
            self._spawn(row.update_id, self._answer([row]))
        elif (parts := self._albums.get((row.chat_id, row.album))) is not None:
            parts.add(row.update_id)
        else:
            self._albums[row.chat_id, row.album] = {row.update_id}
            self._spawn(row.update_id, self._answer_album(row))

    def _spawn(self, update_id: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._busy[update_id] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._busy[update_id]
            self._news.set()

        task.add_done_callback(ended)

    async def _answer_album(self, row: Open) -> None:
        """One answer for all parts, once no more come; a part that comes after the answer is closed with it."""
        assert row.album is not None
        try:
            while True:
                parts, answered = await self._store(telegram.album_rows, row)
                if answered or not parts:
                    await self._store(telegram.close, [part.update_id for part in parts])
                    return
                quiet = min(part.age for part in parts)
                if quiet >= self._album_seconds:
                    break
                await asyncio.sleep(self._album_seconds - quiet + 0.01)
            await self._answer(parts)
        except MoodtapeError as error:
            log.warning("an album waits", update=row.update_id, error=error.message)
            await asyncio.sleep(1.0)
        finally:
            del self._albums[row.chat_id, row.album]

    async def _answer(self, rows: list[Open]) -> None:
        """Nothing may escape from here but cancellation: the update stays open, or is closed with its error."""
        pending = pending_of(rows)
        try:
            if pending is None:
                await self._store(telegram.close, [row.update_id for row in rows], error="no chat to answer")
                return
            await self._handle_and_send(pending)
        except Gone:
            log.info("no answer is needed any more", update=rows[0].update_id)
            if pending is not None:
                await self._mailer.withdraw(pending)
        except Uncertain:
            log.warning("a first message may have arrived", update=rows[0].update_id)
            await asyncio.sleep(LOOK_AGAIN)
            await self._give_up(rows)
        except Undeliverable as why:
            await self._store(telegram.close, [row.update_id for row in rows], error=str(why))
        except MoodtapeError as error:
            log.warning("an answer waits for the database", update=rows[0].update_id, error=error.message)
            await asyncio.sleep(1.0)
        except Exception:
            log.exception("a defect while answering", update=rows[0].update_id)
            await asyncio.sleep(LOOK_AGAIN)
            await self._give_up(rows)

    async def _handle_and_send(self, pending: PendingUpdate) -> None:
        language = await self._language(pending)
        say = self._texts.speaker(language)
        note = say("interrupted" if pending.post_id else "interrupted-early")
        reply: Reply | None = Reply(note, post_id=pending.post_id)
        if pending.post_id or not pending.uncertain:
            reply = await self._handle(pending, language)
        if reply is None:
            await self._store(telegram.close, pending.ids)
        else:
            await self._mailer.answer(pending, reply, language, note)

    async def _handle(self, pending: PendingUpdate, language: str) -> Reply | None:
        """The reply of the handlers; an error becomes words, and one that may pass is tried again a few times."""
        say = self._texts.speaker(language)
        while True:
            try:
                return await self._dispatch(pending, language)
            except (Gone, Uncertain, Undeliverable):
                raise
            except Unavailable as error:
                tries = await self._store(telegram.count_attempt, pending.lead)
                if isinstance(error, Busy) or tries >= TRIES:
                    log.warning("given up", update=pending.lead, id=error.id, error=error.message)
                    return Reply(complain(error, say), error=error.code)
                await asyncio.sleep(min(2.0**tries / 2, LONGEST_PAUSE))
            except MoodtapeError as error:
                log.info("a post cannot be read", update=pending.lead, id=error.id, error=error.message)
                return Reply(complain(error, say), error=error.code)
            except ValidationError as error:
                log.warning("an update of an unknown shape", update=pending.lead, errors=error.error_count())
                return None
            except Exception:
                wrapped = MoodtapeError("a defect")
                log.exception("a handler failed", update=pending.lead, id=wrapped.id)
                return Reply(complain(wrapped, say), error="internal")

    async def _dispatch(self, pending: PendingUpdate, language: str) -> Reply | None:
        context = {"bot": self._bot}
        updates = [Update.model_validate(row.payload, context=context) for row in pending.rows]
        reply = await self._handlers.feed_update(
            self._bot,
            updates[0],
            pending=pending,
            messages=[m for update in updates if (m := update.message or update.edited_message) is not None],
            language=language,
            say=self._texts.speaker(language),
        )
        return None if reply is UNHANDLED else reply

    async def _language(self, pending: PendingUpdate) -> str:
        chosen = await self._store(telegram.language, pending.chat_id)
        payload = pending.rows[0].payload
        user = (payload.get("callback_query") or message_of(payload)).get("from") or {}
        return self._texts.choose(chosen, user.get("language_code"))

    async def _give_up(self, rows: list[Open]) -> None:
        """Close what fails again and again, so that it does not come back for ever."""
        if await self._store(telegram.count_attempt, rows[0].update_id) >= TRIES:
            await self._store(telegram.close, [row.update_id for row in rows], error="defect")
