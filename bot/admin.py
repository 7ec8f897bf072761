"""For admins: how a rescore run stands, in one message that is kept up to date, with buttons that steer it."""

from __future__ import annotations

import asyncio
from typing import cast, get_args

import structlog
from aiogram.types import CallbackQuery, Message

from answer.catalogue import Say, Texts
from bot.mailer import Mailer
from bot.messages import Button, PendingUpdate, Reply
from db.engine import Store
from db.queries.rescore import Progress, progress
from domain.errors import InputError, MoodtapeError
from workers.client import rescoring

log = structlog.get_logger()

EVERY = 3.0
"""Seconds between two changes of the message; Telegram takes one a second per chat."""

_STEPS: dict[str, tuple[rescoring.Action, ...]] = {"running": ("pause", "cancel"), "paused": ("resume", "cancel")}
_BAR = 12


class Watch:
    """Keeps messages up to date while their run goes on: in each chat the newest."""

    def __init__(self, mailer: Mailer, store: Store, texts: Texts, every: float = EVERY) -> None:
        self._mailer, self._store, self._texts, self._every = mailer, store, texts, every
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def follow(self, chat_id: int, message_id: int, run: int, language: str, pause: bool = True) -> None:
        """Follow a run in a message; the first look is after the usual ``pause``, or at once."""
        if (before := self._tasks.pop(chat_id, None)) is not None:
            before.cancel()
        say = self._texts.speaker(language)
        self._tasks[chat_id] = asyncio.create_task(self._keep(chat_id, message_id, run, say, pause))

    async def close(self) -> None:
        """Stop following; the messages stay as they are."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _keep(self, chat_id: int, message_id: int, run: int, say: Say, pause: bool) -> None:
        shown = ""
        while True:
            if pause:
                await asyncio.sleep(self._every)
            pause = True
            try:
                status = await self._store(rescoring.run_of, run)
            except MoodtapeError as error:
                log.info("a run cannot be looked at now", error=error.message)
                continue
            reply = standing(status, say)
            if reply.text != shown and not await self._mailer.refresh(chat_id, message_id, reply):
                return
            shown = reply.text
            if status.state not in _STEPS:
                return


def standing(status: Progress, say: Say) -> Reply:
    """How a run stands, in words, with the buttons that fit its state."""
    share = min(status.done / status.total, 1.0) if status.total else 1.0
    words = say(
        "rescore",
        run=str(status.id),
        state=say(f"state-{status.state}"),
        bar="█" * round(_BAR * share) + "░" * (_BAR - round(_BAR * share)),
        percent=int(100 * share),
        done=status.done,
        total=status.total,
        revision=status.revision,
        rate=round(status.rate),
    )
    if status.seconds_left is not None:
        seconds = round(status.seconds_left)
        words += "\n" + say("rescore-left", seconds=seconds, minutes=round(seconds / 60) if seconds >= 90 else 0)
    buttons: list[Button] = [(say(f"steer-{step}"), f"run:{step}:{status.id}") for step in _STEPS.get(status.state, ())]
    return Reply(words, buttons=(tuple(buttons),) if buttons else ())


async def rescore(
    message: Message, pending: PendingUpdate, store: Store, watch: Watch, language: str, say: Say
) -> Reply:
    """/rescore: the run under way, else the latest."""
    status = await store(progress)
    if status is None:
        return Reply(say("rescore-none"))
    reply = standing(status, say)

    def sent(message_id: int) -> None:
        watch.follow(pending.chat_id, message_id, status.id, language)

    return Reply(reply.text, buttons=reply.buttons, sent=sent if reply.buttons else None)


async def pressed(
    query: CallbackQuery, pending: PendingUpdate, store: Store, mailer: Mailer, watch: Watch, language: str, say: Say
) -> None:
    """A button under a run."""
    _, action, number = (query.data or "").split(":")
    if action not in get_args(rescoring.Action) or not number.isdigit() or query.message is None:
        return
    try:
        status = await store(rescoring.turn, cast(rescoring.Action, action), int(number))
        words = say(f"state-{status.state}")
    except InputError:
        status = await store(rescoring.run_of, int(number))
        words = say("rescore-cannot", state=say(f"state-{status.state}"))
    await mailer.toast(query, words)
    watch.follow(pending.chat_id, query.message.message_id, status.id, language, pause=False)
