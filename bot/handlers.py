"""What the bot does with each kind of message. Plain functions: what they need comes by the parameter's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiogram import Bot, F, Router
from aiogram.enums import ContentType
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.types import CallbackQuery, Message

from answer.catalogue import Say, Texts
from answer.chart import draw
from answer.words import MEGABYTES, tell
from bot import admin
from bot.mailer import Mailer
from bot.messages import Button, PendingUpdate, Reply
from bot.reader import Context, Reader, unseen
from db.engine import Store
from db.queries import telegram
from domain.errors import Unavailable
from domain.reasons import Reason
from workers.client.queue import NoAnswerYet

READABLE = {
    ContentType.TEXT,
    ContentType.PHOTO,
    ContentType.DOCUMENT,
    ContentType.STICKER,
    ContentType.ANIMATION,
    ContentType.VIDEO,
    ContentType.VIDEO_NOTE,
    ContentType.VOICE,
    ContentType.AUDIO,
    ContentType.PAID_MEDIA,
    ContentType.LOCATION,
    ContentType.CONTACT,
    ContentType.POLL,
}
"""What a person says; all else is news about the chat and gets no answer."""

_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(@\w+)?")

COMMANDS = ("start", "help", "last", "language", "privacy", "forget_me")


def make_router(admins: frozenset[int] = frozenset()) -> Router:
    """All handlers, first match first; what is for admins stays unknown to others."""
    router = Router(name="moodtape")
    router.message.register(admin.rescore, Command("rescore"), F.from_user.id.in_(admins))
    router.callback_query.register(admin.pressed, F.data.startswith("run:"), F.from_user.id.in_(admins))
    router.message.register(start, CommandStart())
    router.message.register(help_, Command("help"))
    router.message.register(privacy, Command("privacy"))
    router.message.register(language_, Command("language"))
    router.message.register(last, Command("last"))
    router.message.register(forget_me, Command("forget_me"))
    router.message.register(post, F.content_type.in_(READABLE), meant)
    router.edited_message.register(edited, F.content_type.in_(READABLE), meant)
    router.callback_query.register(pressed_language, F.data.startswith("lang:"))
    router.callback_query.register(pressed_feedback, F.data.startswith("said:"))
    return router


async def meant(message: Message, bot: Bot) -> bool:
    """Whether a message is for us: not another bot's command, nor a channel's post forwarded by Telegram itself.

    A group's command that names no bot is some other's too: ours have been taken before. A channel's post that names us
    is meant for us.
    """
    words = message.text or message.caption or ""
    name = f"@{(await bot.me()).username}".lower()
    if message.is_automatic_forward:
        return name in words.lower()
    first = words.split(maxsplit=1)[0] if words.strip() else ""
    if not _COMMAND.fullmatch(first):
        return True
    _, _, other = first.lower().partition("@")
    return f"@{other}" == name if other else message.chat.type == "private"


async def edited(message: Message, say: Say) -> Reply:
    """An edited post: its answer stays as it was, and that is said."""
    return Reply(say("edited"))


async def start(message: Message, say: Say) -> Reply:
    """/start."""
    return Reply(say("start"))


async def help_(message: Message, say: Say) -> Reply:
    """/help."""
    return Reply(say("help", megabytes=MEGABYTES))


async def privacy(message: Message, say: Say) -> Reply:
    """/privacy."""
    return Reply(say("privacy"))


async def language_(
    message: Message, command: CommandObject, pending: PendingUpdate, texts: Texts, store: Store, say: Say
) -> Reply:
    """/language, or /language de."""
    code = (command.args or "").strip().lower()
    if code not in texts.languages:
        buttons: list[Button] = [(texts.say(c, "language"), f"lang:{c}") for c in texts.languages]
        return Reply(say("language-choose"), buttons=(tuple(buttons),))
    await store(telegram.set_language, pending.chat_id, code)
    return Reply(texts.say(code, "language-set"))


async def last(
    message: Message, pending: PendingUpdate, store: Store, reader: Reader, context: Context, say: Say
) -> Reply:
    """/last: the chat's last answer again."""
    post_id = await store(telegram.last, pending.chat_id)
    answer = await reader.again(post_id) if post_id else None
    if post_id is None or answer is None:
        return Reply(say("no-last"))
    words = tell(answer, say, notes=await context.notes(say))
    return Reply(words, await context.drawn(draw, answer), post_id=post_id)


async def forget_me(message: Message, pending: PendingUpdate, store: Store, say: Say) -> Reply:
    """/forget_me: delete everything of this person, now."""
    own_chat = pending.chat_id if message.chat.type == "private" else None
    posts = await store(telegram.forget, pending.author_hash or "", own_chat, keep=pending.lead)
    return Reply(say("forgotten", posts=posts), forget=True)


async def post(
    message: Message,
    messages: Sequence[Message],
    pending: PendingUpdate,
    reader: Reader,
    mailer: Mailer,
    context: Context,
    say: Say,
) -> Reply:
    """Words, a picture, both, or an album: read, and answered with a chart and words.

    Raises:
        MoodtapeError: what the post cannot be answered for.
        Gone: the author was forgotten meanwhile.
    """
    notes = list(await context.notes(say))
    if what := unseen(messages):
        notes.append(say("note-unseen", what=what))
    if pending.post_id is None and not await reader.take(pending, messages):
        notes.append(say("note-forwarded"))
    if len(messages) > 1:
        notes.append(say("note-album", count=len(messages)))
    assert pending.post_id is not None
    await reader.submit(pending)
    if pending.reply_id is None:
        await mailer.hold(pending, say("reading"))
    try:
        answer = await reader.wait(pending.post_id, context.patience)
    except NoAnswerYet:
        await mailer.hold(pending, say("late"))
        try:
            answer = await reader.wait(pending.post_id, context.give_up)
        except NoAnswerYet:
            raise Unavailable(Reason("no_verdict")) from None
    words = tell(answer, say, notes=tuple(notes))
    buttons = ((say("button-right"), f"said:right:{pending.lead}"), (say("button-wrong"), f"said:wrong:{pending.lead}"))
    return Reply(words, await context.drawn(draw, answer), buttons=(buttons,), post_id=pending.post_id)


async def pressed_language(
    query: CallbackQuery, pending: PendingUpdate, texts: Texts, store: Store, mailer: Mailer
) -> None:
    """A button of /language."""
    code = texts.choose((query.data or "").partition(":")[2])
    await store(telegram.set_language, pending.chat_id, code)
    await mailer.toast(query, texts.say(code, "language-set"))


async def pressed_feedback(
    query: CallbackQuery, pending: PendingUpdate, store: Store, mailer: Mailer, say: Say
) -> None:
    """“Right” or “Wrong” under an answer."""
    _, label, number = (query.data or "").split(":")
    post_id = None
    if label in ("right", "wrong") and number.isdigit():
        post_id = await store(telegram.post_of, int(number), pending.chat_id)
    known = post_id is not None and await store(telegram.give_feedback, post_id, pending.author_hash or "", label)
    await mailer.toast(query, say("thanks" if known else "feedback-gone"))
