"""Sending: every refusal of Telegram is met, and nothing arrives twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, text

from bot.app import make_bot
from bot.limiter import Limiter
from bot.mailer import Gone, Mailer
from bot.messages import PendingUpdate, Reply, pending_of
from bot.settings import BotSettings
from db.engine import Store
from db.queries import telegram as inbox
from tests.fakes.telegram import Dropped, Refused, Telegram

NOTE = "I was interrupted"


@dataclass
class Post:
    """A mailer whose waiting takes no time, and the inbox it closes."""

    telegram: Telegram
    store: Store
    mailer: Mailer
    slept: list[float] = field(default_factory=list)
    count: int = 0

    async def pending(self, chat: int = 7) -> PendingUpdate:
        """A new open update."""
        self.count += 1
        await self.store(inbox.store, [inbox.Update(self.count, chat, None, "who", {"message": {"message_id": 1}})])
        return await self.reread()

    async def reread(self) -> PendingUpdate:
        """The newest open update, as another process finds it."""
        found = pending_of((await self.store(inbox.open_rows))[-1:])
        assert found is not None
        return found

    async def row(self) -> Any:
        """The newest update's row."""
        query = "select answered_at is not null as done, sending_at, error, reply_id from inbox order by update_id desc"
        return await self.store(lambda connection: connection.execute(text(query)).first())


@pytest.fixture
async def post(telegram: Telegram, engine: Engine, settings: BotSettings) -> AsyncIterator[Post]:
    """A mailer on the emulator."""
    bot = make_bot(settings)
    store = Store(engine)
    made = Post(telegram, store, Mailer(bot, store, Limiter(per_second=1e6, chat_seconds=0)))

    async def sleep(seconds: float) -> None:
        made.slept.append(seconds)

    made.mailer._sleep = sleep
    yield made
    await bot.session.close()


async def test_429_is_waited_for_and_each_answer_sent_once(post: Post) -> None:
    """Ten times retry_after 5: fifty seconds of waiting, one message, the row closed and not reserved meanwhile."""
    post.telegram.refuse("sendPhoto", 10, Refused(429, "Too Many Requests: retry after 5", retry_after=5))
    await post.mailer.answer(await post.pending(), Reply("words", b"png"), "en", NOTE)
    assert post.slept == [5.0] * 10
    assert [m.text for m in post.telegram.in_chat()] == ["words"]
    assert (await post.row()).done


async def test_refused_markup_and_pictures_fall_back(post: Post) -> None:
    """Markup refused: plain words. Pictures refused: words alone. Neither is lost."""
    post.telegram.refuse("sendPhoto", 1, Refused(400, "Bad Request: can't parse entities"))
    await post.mailer.answer(await post.pending(1), Reply("a <b", b"png"), "en", NOTE)
    post.telegram.refuse("sendPhoto", 2, Refused(400, "Bad Request: not enough rights to send photos to the chat"))
    await post.mailer.answer(await post.pending(2), Reply("a <b", b"png"), "en", NOTE)
    assert [(m.text, m.has_media) for c in (1, 2) for m in post.telegram.in_chat(c)] == [
        ("a <b", True),
        ("a <b", False),
    ]


async def test_long_answers_full_of_markup_arrive(post: Post) -> None:
    """Words beyond Telegram's lengths are shortened, signs of markup stay signs."""
    words = "<b>&amp;</i> 😀\n" * 600
    await post.mailer.answer(await post.pending(1), Reply(words, b"png"), "en", NOTE)
    await post.mailer.answer(await post.pending(2), Reply(words), "en", NOTE)
    caption, message = post.telegram.in_chat(1)[0].text, post.telegram.in_chat(2)[0].text
    assert words.startswith(caption[:-1])
    assert words.startswith(message[:-1])
    assert (len(caption) > 500, len(message) > 2000) == (True, True)
    assert all(call.status == 200 for call in post.telegram.calls)


async def test_a_blocked_bot_gives_up_at_once(post: Post) -> None:
    """403 is final: one try, and the row says so."""
    post.telegram.refuse("sendMessage", 9, Refused(403, "Forbidden: bot was blocked by the user"))
    await post.mailer.answer(await post.pending(), Reply("words"), "en", NOTE)
    assert len(post.telegram.calls) == 1
    row = await post.row()
    assert (row.done, row.error) == (True, "blocked")


async def test_a_group_that_became_a_supergroup_is_followed(post: Post) -> None:
    """The answer goes to the chat's new number."""
    post.telegram.refuse("sendMessage", 1, Refused(400, "Bad Request: upgraded", migrate_to_chat_id=-1007))
    await post.mailer.answer(await post.pending(-7), Reply("words"), "en", NOTE)
    assert [m.text for m in post.telegram.in_chat(-1007)] == ["words"]


async def test_5xx_is_tried_again(post: Post) -> None:
    """With growing pauses, and then the answer arrives once."""
    post.telegram.refuse("sendMessage", 3, Refused(502, "Bad Gateway"))
    await post.mailer.answer(await post.pending(), Reply("words"), "en", NOTE)
    assert post.slept == [0.5, 1.0, 2.0]
    assert [m.text for m in post.telegram.in_chat()] == ["words"]


async def test_a_proxys_error_page_may_hide_a_delivery(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no JSON says nothing of the message: a note instead of a second answer."""
    pages = iter(["<html>502 Bad Gateway</html>"])
    check = post.mailer._bot.session.json_loads
    monkeypatch.setattr(post.mailer._bot.session, "json_loads", lambda text: check(next(pages, text)))
    await post.mailer.answer(await post.pending(), Reply("words"), "en", NOTE)
    assert [m.text for m in post.telegram.in_chat()] == ["words", NOTE]


async def test_a_broken_connection_is_not_answered_twice(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message stood, the response was lost: only a note follows, never the answer again."""
    first = post.telegram._sendMessage

    async def lose(call: Any) -> Any:
        await first(call)
        monkeypatch.setattr(post.telegram, "_sendMessage", first)
        raise Dropped

    monkeypatch.setattr(post.telegram, "_sendMessage", lose)
    await post.mailer.answer(await post.pending(), Reply("words"), "en", NOTE)
    texts = [m.text for m in post.telegram.in_chat()]
    assert texts == ["words", NOTE]
    assert (await post.row()).done


async def test_a_reserved_row_is_not_answered_again(post: Post) -> None:
    """A process died while sending: the next one sends the note; a second reservation is refused."""
    pending = await post.pending()
    assert await post.store(inbox.reserve, pending.lead)
    assert not await post.store(inbox.reserve, pending.lead)
    again = await post.reread()
    assert again.uncertain
    await post.mailer.answer(again, Reply("words"), "en", NOTE)
    assert [m.text for m in post.telegram.in_chat()] == [NOTE]
    assert (await post.row()).done


async def test_a_forgotten_update_gets_no_answer(post: Post) -> None:
    """The row is gone when the answer is ready: nothing is sent."""
    pending = await post.pending()
    await post.store(inbox.drop, "who", None)
    with pytest.raises(Gone):
        await post.mailer.answer(pending, Reply("words"), "en", NOTE)
    assert post.telegram.calls == []


async def test_a_first_message_without_an_answer_is_taken_back(post: Post) -> None:
    """Forgotten after the first message: the answer is not put into it, and it goes."""
    pending = await post.pending()
    await post.mailer.hold(pending, "reading")
    await post.store(inbox.drop, "who", None)
    for attempt in (post.mailer.hold(pending, "late"), post.mailer.answer(pending, Reply("words"), "en", NOTE)):
        with pytest.raises(Gone):
            await attempt
    assert [m.text for m in post.telegram.in_chat()] == ["reading"]
    await post.mailer.withdraw(pending)
    await post.mailer.withdraw(pending)
    assert post.telegram.in_chat() == []


@pytest.mark.parametrize("died", ["before", "first sent", "first noted", "answer sent"])
async def test_whenever_a_process_dies_the_chart_stands_once(post: Post, died: str) -> None:
    """Whatever the first process came to, the second one leaves one chart; at worst a first message stands beside it."""
    pending = await post.pending()
    await post.store(inbox.attach_post, pending.lead, "p")
    if died != "before":
        await post.mailer.hold(pending, "reading")
    if died == "first sent":
        lost = "update inbox set reply_id = null, sending_at = now()"
        await post.store(lambda connection: connection.execute(text(lost)).rowcount)
    if died == "answer sent":
        await post.mailer._deliver(pending, Reply("words", b"png"))
    again = await post.reread()
    assert again.uncertain == (died == "first sent")
    if again.reply_id is None:
        await post.mailer.hold(again, "reading")
    await post.mailer.answer(again, Reply("words", b"png"), "en", NOTE)
    assert [(m.text, m.has_media) for m in post.telegram.in_chat() if m.text != "reading"] == [("words", True)]
    assert len(post.telegram.in_chat()) == 1 + (died == "first sent")
    assert (await post.row()).done


async def test_an_edit_can_be_repeated(post: Post) -> None:
    """“Not modified” means that it is done; a message somebody deleted is replaced by a new one."""
    pending = await post.pending()
    await post.mailer.hold(pending, "late")
    post.telegram.refuse("editMessageText", 1, Refused(400, "Bad Request: message is not modified"))
    await post.mailer.answer(pending, Reply("words"), "en", NOTE)
    assert (await post.row()).done
    other = await post.pending(8)
    await post.mailer.hold(other, "late")
    post.telegram.messages.clear()
    await post.mailer.answer(other, Reply("words"), "en", NOTE)
    assert [m.text for m in post.telegram.in_chat(8)] == ["words"]
