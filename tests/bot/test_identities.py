"""Who writes, and where: anonymous admins, channels, migrated groups, other bots, topics, files by their bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text

from bot.messages import sender
from bot.settings import BotSettings, author_hash, hash_key
from db.engine import transaction
from db.queries.posts import insert_posts
from domain.types import Post
from tests.bot.conftest import Bench
from tests.fakes.telegram import Refused

ANONYMOUS = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
TELEGRAM = {"id": 777000, "is_bot": False, "first_name": "Telegram"}


def as_group(chat: int) -> dict[str, Any]:
    """The fields of a message by an anonymous admin."""
    return {"from": ANONYMOUS, "sender_chat": {"id": chat, "type": "supergroup", "title": "g"}}


def posts(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("select text from posts order by text")).scalars())


async def test_an_anonymous_admin_forgets_only_his_own_group(bench: Bench) -> None:
    """Two groups, an anonymous admin in each, /forget_me in A: A's post goes, B's stays."""
    bench.telegram.say("bitcoin of A", -5, **as_group(-5))
    bench.telegram.say("bitcoin of B", -6, **as_group(-6))
    await bench.answers(1, -5)
    await bench.answers(1, -6)
    await bench.closed()
    assert posts(bench.engine) == ["bitcoin of A", "bitcoin of B"]
    bench.telegram.say("/forget_me", -5, **as_group(-5))
    assert "one post" in (await bench.answers(2, -5))[1].text
    await bench.closed()
    assert posts(bench.engine) == ["bitcoin of B"]


async def test_what_anonymous_admins_posted_before_becomes_their_groups(bench: Bench, settings: BotSettings) -> None:
    """Rows that name the number of all of them: /forget_me in A takes A's; B's stay, and what is of no known group."""
    shared, hashed = author_hash(hash_key(settings), 1087968824), partial(author_hash, hash_key(settings))
    rows = [("a1", -5), ("a2", -5), ("b1", -6), ("lost", None)]
    with transaction(bench.engine) as connection:
        now = datetime.now(UTC)
        insert_posts(connection, [Post(f"telegram:{n}", "telegram", n, "en", now, author_hash=shared) for n, _ in rows])
        for number, (name, chat) in enumerate(rows):
            values = {"id": 9000 + number, "chat": chat, "post": f"telegram:{name}", "who": shared}
            if chat is not None:
                connection.execute(text(_EARLIER), values)
    count = "select author_hash, count(*) from posts group by 1"

    def by_author() -> dict[str, int]:
        with bench.engine.connect() as connection:
            return {row.author_hash: row.count for row in connection.execute(text(count))}

    assert by_author() == {shared: 4}
    await bench.door.intake.own_groups()
    await bench.door.intake.own_groups()
    assert by_author() == {hashed(-5): 2, hashed(-6): 1, shared: 1}
    bench.telegram.say("/forget_me", -5, **as_group(-5))
    assert "2 posts" in (await bench.answers(1, -5))[0].text
    await bench.closed()
    assert by_author() == {hashed(-6): 1, shared: 1}


_EARLIER = (
    "insert into inbox (update_id, chat_id, payload, post_id, author_hash, answered_at) "
    "values (:id, :chat, '{}', :post, :who, now())"
)


@pytest.mark.parametrize(
    ("user", "chat"), [(ANONYMOUS, -5), (TELEGRAM, -1001), ({"id": 136817688, "is_bot": True}, -1002)]
)
def test_who_writes_as_a_chat_is_that_chat(user: dict[str, Any], chat: int) -> None:
    """Never the number that all of them share; a button is pressed by a person all the same."""
    message = {"chat": {"id": -9}, "from": user, "sender_chat": {"id": chat}}
    assert sender({"message": message}) == (-9, chat, None)
    assert sender({"edited_message": message}) == (-9, chat, None)
    assert sender({"callback_query": {"from": {"id": 7}, "message": message}}) == (-9, 7, None)


async def test_what_is_not_meant_for_us_gets_no_answer(bench: Bench) -> None:
    """Other bots' commands, commands of nobody in a group, and a channel's post that Telegram forwards by itself."""
    forward = {
        "from": TELEGRAM,
        "sender_chat": {"id": -1001, "type": "channel", "title": "c"},
        "is_automatic_forward": True,
    }
    for words in ("/help@other_bot", "/ban@another_bot now", "/ban bitcoin", "/rescore"):
        bench.telegram.say(words, -5)
    bench.telegram.say("bitcoin from our channel", -5, **forward)
    bench.telegram.say("bitcoin, asked by a person", -5)
    answers = await bench.answers(1, -5)
    await bench.closed()
    assert len(answers) == 1
    assert posts(bench.engine) == ["bitcoin, asked by a person"]


async def test_a_supergroup_keeps_what_the_group_had(bench: Bench, settings: BotSettings) -> None:
    """Language, last answer and the group's own posts move to the new number."""
    bench.telegram.say("/language de", -5)
    await bench.answers(1, -5)
    bench.telegram.say("bitcoin of the group", -5, **as_group(-5))
    await bench.answers(2, -5)
    await bench.closed()
    bench.telegram.push(message=bench.telegram.message(-5, migrate_to_chat_id=-1005))
    bench.telegram.push(message=bench.telegram.message(-1005, migrate_from_chat_id=-5))
    bench.telegram.say("/last", -1005)
    (answer,) = await bench.answers(1, -1005)
    assert "Keine Anlageberatung" in answer.text
    bench.telegram.say("/forget_me", -1005, **as_group(-1005))
    await bench.answers(2, -1005)
    await bench.closed()
    assert posts(bench.engine) == []


@pytest.mark.parametrize("mime", ["application/octet-stream", None])
async def test_a_file_is_what_its_bytes_are(bench: Bench, picture: bytes, mime: str | None) -> None:
    """A picture sent without a type is read as one; another such file is named, and its caption answered."""
    telegram = bench.telegram
    for content in (picture, b"%PDF-1.7 none"):
        document = {k: v for k, v in telegram.document(content, mime or "").items() if k != "mime_type" or mime}
        telegram.push(message=telegram.message(document=document, caption="bitcoin rises"))
        await bench.closed()
        await bench.answers(1 if content == picture else 2)
    with bench.engine.connect() as connection:
        pictured = connection.execute(text("select image_sha256 is not null from posts")).scalars().all()
    assert sorted(pictured) == [False, True]


async def test_what_is_not_looked_at_is_said(bench: Bench) -> None:
    """A video and a PDF with a caption: the words are answered, and a line says what was not seen."""
    telegram = bench.telegram
    video = {"file_id": "v", "file_unique_id": "v", "width": 8, "height": 8, "duration": 1}
    telegram.push(message=telegram.message(video=video, caption="bitcoin rises"))
    (answer,) = await bench.answers(1)
    assert "the video was not looked at" in answer.text
    telegram.push(message=telegram.message(document=telegram.document(b"%PDF", "application/pdf"), caption="eth falls"))
    assert "the file was not looked at" in (await bench.answers(2))[1].text


@pytest.mark.parametrize(
    "words",
    ["MESSAGE_ID_INVALID", "message identifier is not specified", "message can't be edited", "MESSAGE_AUTHOR_REQUIRED"],
)
async def test_an_answer_that_cannot_be_edited_in_comes_anew(bench: Bench, words: str) -> None:
    """Whatever Telegram says of the first message, the answer arrives."""
    bench.telegram.refuse("editMessageMedia", 1, Refused(400, f"Bad Request: {words}"))
    bench.telegram.say("bitcoin rises")
    (answer,) = await bench.answers(1)
    assert answer.has_media
    await bench.closed()


async def test_an_edited_post_is_said_to_be_read_as_it_was(bench: Bench) -> None:
    """The edit is answered with one line, under the post."""
    message = bench.telegram.message(7, text="bitcoin falls", edit_date=1_700_000_000)
    bench.telegram.push(edited_message=message)
    (answer,) = await bench.answers(1)
    assert "as it was first sent" in answer.text
    assert answer.reply_to == message["message_id"]


async def test_an_answer_stays_in_its_topic(bench: Bench) -> None:
    """In a forum every message of ours carries the topic's number."""
    bench.telegram.say("bitcoin rises", -5, message_thread_id=44, is_topic_message=True)
    await bench.answers(1, -5)
    await bench.closed()
    assert {call.params.get("message_thread_id") for call in bench.telegram.of("sendMessage", "sendPhoto")} == {"44"}


async def test_an_album_waits_without_a_busy_loop(bench: Bench, picture: bytes) -> None:
    """Its age is a float: three photos get one answer, and nothing fails meanwhile."""
    for _ in range(3):
        bench.telegram.show(picture, "bitcoin three times", media_group_id="g")
    answers = await bench.answers(1)
    await bench.closed()
    assert ["album of 3" in answer.text for answer in answers] == [True]
    with bench.engine.connect() as connection:
        assert connection.execute(text("select max(attempts) from inbox")).scalar() == 0


UNSEEN, READ = ("was not",), ("From the words alone",)
FILE = {"file_id": "v", "file_unique_id": "v"}
ARRIVING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "voice": ({"voice": {**FILE, "duration": 1}, "caption": "btc up"}, UNSEEN),
    "animation": ({"animation": {**FILE, "width": 1, "height": 1, "duration": 1}, "caption": "btc up"}, UNSEEN),
    "paid media": ({"paid_media": {"star_count": 1, "paid_media": [{"type": "preview"}]}, "caption": "btc up"}, UNSEEN),
    "round video": ({"video_note": {**FILE, "length": 1, "duration": 1}}, ("cannot be read",)),
    "place": ({"location": {"latitude": 1.0, "longitude": 1.0}}, ("neither text nor a picture",)),
    "by another bot": ({"text": "btc up", "via_bot": {"id": 9, "is_bot": True, "first_name": "g"}}, READ),
    "hidden author": (
        {"text": "btc up", "forward_origin": {"type": "hidden_user", "date": 1_700_000_000, "sender_user_name": "x"}}, READ),
    "long": ({"text": "bitcoin " * 512}, READ),
    "rockets": ({"text": "🚀🚀🚀"}, READ),
    "quote": ({"text": "btc up", "quote": {"text": "x", "position": 0}}, READ),
    "who joined": ({"new_chat_members": [{"id": 5, "is_bot": False, "first_name": "n"}]}, ()),
    "new title": ({"new_chat_title": "x"}, ()),
    "dice": ({"dice": {"emoji": "x", "value": 1}}, ()),
    "of later versions": ({"some_future_thing": {"a": 1}}, ()),
}  # fmt: skip


async def test_further_messages(bench: Bench) -> None:
    """Words are answered and what was not looked at is named; news of the chat are silent; nothing stays open or breaks."""
    chats = dict(enumerate(ARRIVING, start=100))
    for chat, name in chats.items():
        bench.telegram.push(message=bench.telegram.message(chat, **ARRIVING[name][0]))
    with bench.engine.connect() as connection:
        done = text("select count(*) from inbox where answered_at is not null")
        await bench.until(lambda: (connection.rollback(), connection.execute(done).scalar() == len(chats))[1], 30)
    for chat, name in chats.items():
        said = " ".join(m.text for m in bench.telegram.in_chat(chat))
        assert all(words in said for words in ARRIVING[name][1]), (name, said)
        assert bool(said) == bool(ARRIVING[name][1]), name
