"""The Telegram door from an update to the answer, on the emulator and a real database."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from bot.settings import BotSettings
from db.engine import transaction
from db.queries import jobs, revisions, streams
from db.queries import telegram as inbox
from db.queries.posts import insert_posts
from domain.types import Post
from tests.bot.conftest import Bench, queue_of, running
from tests.fakes.answers import store_candles
from tests.fakes.scoring import FakeScorer
from tests.fakes.telegram import Telegram

DISCLAIMER = "Not financial advice."


async def test_photo_and_caption_become_chart_and_words(bench: Bench, picture: bytes) -> None:
    """One answer: a PNG chart of 900 × 600, words with mood and disclaimer, two buttons, in reply to the photo."""
    bench.telegram.show(picture, "Bitcoin to the moon, $BTC!")
    (answer,) = await bench.answers(1)
    chart = Image.open(io.BytesIO(answer.picture))
    assert (chart.format, chart.size) == ("PNG", (900, 600))
    assert answer.text.startswith("Mood: joy")
    assert "BTC/USDT" in answer.text
    assert answer.text.endswith(DISCLAIMER)
    assert [b["text"] for b in answer.keyboard["inline_keyboard"][0]] == ["Right", "Wrong"]
    assert answer.reply_to == 2
    await bench.closed()
    with bench.engine.connect() as connection:
        row = connection.execute(text("select payload, answered_at is not null as done, error from inbox")).one()
    assert (row.payload, row.done, row.error) == ({}, True, None)
    sent = [(call.method, call.params.get("text")) for call in bench.telegram.of("sendMessage", "editMessageMedia")]
    assert sent == [("sendMessage", "Reading your post …"), ("editMessageMedia", None)]


async def test_every_kind_of_post_is_read(bench: Bench, picture: bytes) -> None:
    """Photo alone, words alone, a picture sent as a file, and emoji alone are posts."""
    telegram = bench.telegram
    telegram.show(picture)
    telegram.say("Ether looks weak today")
    telegram.push(message=telegram.message(document=telegram.document(picture, "image/jpeg")))
    telegram.say("🚀🚀🚀")
    answers = await bench.answers(4)
    assert all(answer.has_media and answer.text.endswith(DISCLAIMER) for answer in answers)


async def test_album_of_ten_gets_one_answer(bench: Bench, picture: bytes) -> None:
    """Ten updates, one caption, one answer that says so; a part that comes late adds none."""
    telegram = bench.telegram
    for number in range(10):
        telegram.show(picture, "ten of them" if number == 3 else None, media_group_id="g1")
    await bench.answers(1)
    await bench.closed()
    telegram.show(picture, media_group_id="g1")
    await bench.until(lambda: telegram.updates and telegram.updates[0]["message"]["message_id"] > 30)
    telegram.say("after that")
    answers = await bench.answers(2)
    await bench.closed()
    assert ["album of 10" in answer.text for answer in answers] == [True, False]
    with bench.engine.connect() as connection:
        words = connection.execute(text("select text, image_sha256 is not null from posts order by text")).all()
    assert [tuple(row) for row in words] == [("after that", False), ("ten of them", True)]


@pytest.mark.parametrize("known", [True, False])
async def test_forwarded_posts_are_read_as_of_their_first_time(bench: Bench, known: bool) -> None:
    """Where prices of then are known the post has the original's time; else it is read as of now, and the answer says so."""
    original = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=3)
    if known:
        store_candles(bench.engine, "BTC/USDT", original, 300)
    chat = {"id": -100, "type": "channel", "title": "c"}
    origin = {"type": "channel", "date": int(original.timestamp()), "chat": chat, "message_id": 1}
    bench.telegram.say("bitcoin is falling", forward_origin=origin)
    (answer,) = await bench.answers(1)
    with bench.engine.connect() as connection:
        posted_at = connection.execute(text("select posted_at from posts")).scalar()
    assert (posted_at == original) is known
    assert ("read as posted now" in answer.text) is not known


async def test_a_late_verdict_takes_the_place_of_the_note(
    telegram: Telegram, engine: object, settings: BotSettings, picture: bytes
) -> None:
    """After the bot's patience a note comes; the answer then edits that message, and no second one is sent."""
    quick = settings.model_copy(update={"patience": 0.2})
    async with running(telegram, engine, quick, FakeScorer(seconds=1.0)) as bench:  # type: ignore[arg-type]
        telegram.show(picture, "slow")
        (note,) = await bench.answers(1)
        assert note.text.startswith("Still reading")
        await bench.closed()
        (answer,) = telegram.in_chat()
        assert answer.has_media
        assert answer.text.endswith(DISCLAIMER)
        assert len(telegram.of("editMessageMedia")) == 1


BROKEN = (
    (b"", "image/jpeg", "eine leere Datei"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/jpeg", "kein lesbares Bild"),
    (b"<!doctype html><html>hi</html>", "image/png", "kein lesbares Bild"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg", "abgeschnitten"),
    (b"%PDF-1.7", "application/pdf", "Diese Art Nachricht"),
)


async def test_unreadable_files_are_named_in_the_users_language(bench: Bench) -> None:
    """Empty, SVG as JPEG, HTML as PNG, cut off, PDF: one sentence in German for a German user, and the bot lives on."""
    telegram = bench.telegram
    for chat, (content, mime, _) in enumerate(BROKEN, 1):
        update = telegram.message(chat, document=telegram.document(content, mime))
        update["from"]["language_code"] = "de-DE"
        telegram.push(message=update)
    for chat, (_, _, sentence) in enumerate(BROKEN, 1):
        (answer,) = await bench.answers(1, chat)
        assert sentence in answer.text
    telegram.say("still there?", 99)
    assert (await bench.answers(1, 99))[0].has_media


async def test_a_message_without_words_asks_for_some(bench: Bench) -> None:
    """Spaces, zero-width characters or bidi controls alone are nothing to read."""
    for words in ("   ", "\u200b\u200d", "\u202e\u202c"):
        bench.telegram.say(words)
    answers = await bench.answers(3)
    assert all(answer.text.startswith("There is neither text nor a picture to read") for answer in answers)


async def test_odd_text_is_stored_clean(bench: Bench) -> None:
    """NUL, lone surrogates, RTL override and 4,096 letters get answers; what is stored can be stored."""
    for words in ("to the \x00moon", "half \ud83d emoji", "\u202eevil\u202c btc", "a" * 4096):
        bench.telegram.say(words)
    answers = await bench.answers(4)
    assert all(answer.has_media for answer in answers)
    with bench.engine.connect() as connection:
        stored = set(connection.execute(text("select text from posts")).scalars())
    assert stored == {"to the moon", "half emoji", "evil btc", "a" * 4096}


async def test_files_too_big_for_bots_say_so(bench: Bench, picture: bytes) -> None:
    """By the size that Telegram tells, and by Telegram's refusal where it tells none; nothing is fetched."""
    telegram = bench.telegram
    telegram.push(message=telegram.message(document=telegram.document(picture, "image/png", size=25 * 2**20)))
    huge = telegram.document(b"\0" * (20 * 2**20 + 1), "image/png")
    telegram.push(message=telegram.message(document={**huge, "file_size": None}))
    answers = await bench.answers(2)
    assert {a.text for a in answers} == {
        "This file is too big: Telegram lets bots fetch 20 MB; send a smaller one.",
    }


async def test_what_nobody_said_gets_no_answer(bench: Bench) -> None:
    """News about a chat, an update of an unknown kind and one of a broken shape are closed in silence."""
    telegram = bench.telegram
    telegram.push(message=telegram.message(-5, left_chat_member={"id": 1, "is_bot": False, "first_name": "B"}))
    telegram.push(something_new={"id": 1})
    telegram.push(message={"chat": {"id": 7}, "date": "not a date"})
    telegram.say("/help")
    await bench.answers(1)
    await bench.closed()
    assert len(telegram.messages) == 1


async def test_commands(bench: Bench, picture: bytes) -> None:
    """Each command has its words; /language changes them for the chat; /last shows the last answer again."""
    telegram = bench.telegram
    for command in ("/start", "/privacy", "/last", "/help@moodtape_bot"):
        telegram.say(command)
        await bench.closed()
        await bench.until(lambda: not telegram.updates or True)
    seen = [m.text.splitlines()[0] for m in await bench.answers(4)]
    assert sorted(seen) == sorted(
        ["moodtape reads the mood of a post against the price tape", "What is kept", "What you can send",
         "There is no answer yet. Send a post first."]
    )  # fmt: skip
    telegram.say("/language de")
    await bench.answers(5)
    telegram.show(picture, "Bitcoin!")
    first = (await bench.answers(6))[5]
    assert first.text.startswith("Stimmung: Freude")
    await bench.closed()
    telegram.say("/last")
    again = (await bench.answers(7))[6]
    assert (again.text, again.picture) == (first.text, first.picture)


async def test_buttons(bench: Bench, picture: bytes) -> None:
    """A language button changes the language; “right” and “wrong” are kept once per person, the last word counting."""
    telegram = bench.telegram
    telegram.say("/language")
    (menu,) = await bench.answers(1)
    telegram.press(3, menu.keyboard["inline_keyboard"][0][0]["callback_data"])
    await bench.until(lambda: telegram.of("answerCallbackQuery"))
    await bench.closed()
    telegram.show(picture, "Bitcoin!")
    answer = (await bench.answers(2))[1]
    assert answer.text.startswith("Stimmung")
    await bench.closed()
    number = next(n for (_, n), m in telegram.messages.items() if m is answer)
    for button in answer.keyboard["inline_keyboard"][0]:
        telegram.press(number, button["callback_data"])
        count = len(telegram.of("answerCallbackQuery"))
        await bench.until(lambda before=count: len(telegram.of("answerCallbackQuery")) > before)
    telegram.press(number, "said:wrong:999999")
    await bench.until(lambda: len(telegram.of("answerCallbackQuery")) == 4)
    said = [call.params["text"] for call in telegram.of("answerCallbackQuery")]
    assert said[1:] == ["Danke, notiert.", "Danke, notiert.", "Diese Antwort ist nicht mehr gespeichert."]
    with bench.engine.connect() as connection:
        assert connection.execute(text("select label from feedback")).scalars().all() == ["wrong"]


async def test_a_failed_score_is_told(bench: Bench) -> None:
    """What the scoring failed with becomes words, once, and the row says what it was."""
    bench.telegram.say("FAIL please")
    (answer,) = await bench.answers(1)
    assert answer.text == "The picture is broken or cut off and cannot be decoded: send a JPEG, PNG, WebP, GIF or HEIC."
    await bench.closed()
    with bench.engine.connect() as connection:
        assert connection.execute(text("select error from inbox")).scalar() == "unreadable_image"


async def test_a_synthetic_feed_is_admitted(bench: Bench, picture: bytes) -> None:
    """While the stack plays made-up prices, every answer says so."""
    await bench.door.store(streams.note_feed, "synthetic", datetime.now(UTC))
    bench.telegram.show(picture, "Bitcoin!")
    (answer,) = await bench.answers(1)
    assert "Synthetic demo feed" in answer.text


async def test_a_chat_that_floods_does_not_starve_another(
    telegram: Telegram, engine: Engine, settings: BotSettings
) -> None:
    """Of sixty posts in one chat few are under way at a time; another chat's post is answered among the first."""
    for number in range(60):
        telegram.say(f"flood {number}", chat=1)
    telegram.say("calm", chat=2)
    async with running(telegram, engine, settings, FakeScorer(seconds=0.02)) as bench:
        await bench.answers(1, chat=2)
        assert len(telegram.in_chat(1)) < 20
        under_way = [row for row in await bench.door.store(inbox.open_rows, 100) if row.chat_id == 1]
        assert len(under_way) == inbox.PER_CHAT
        await bench.answers(60, chat=1, seconds=60)


async def test_a_full_queue_is_told_in_the_users_language(
    telegram: Telegram, engine: Engine, settings: BotSettings
) -> None:
    """Busy, and for about how long; nothing is kept waiting for it."""
    posts = [Post(f"p:{n}", "door", "words", "en", datetime(2025, 1, 1, tzinfo=UTC)) for n in range(500)]
    with transaction(engine) as connection:
        revisions.register(connection, "fake", {})
        revisions.beat(connection, "fake-1", "fake", "cpu", 100.0)
        insert_posts(connection, posts)
        jobs.enqueue(connection, [post.id for post in posts], "fake", 0)
    async with running(telegram, engine, settings, worker=False) as bench:
        telegram.say("hallo", chat=7)
        german = {"id": 8, "is_bot": False, "first_name": "Ada", "language_code": "de"}
        telegram.say("hallo", chat=8, **{"from": german})
        told = [(await bench.answers(1, chat))[0].text for chat in (7, 8)]
        await bench.closed()
    assert told == [
        "The queue has 500 posts waiting; try again in about 5 s.",
        "500 Beiträge warten schon; versuch es in etwa 5 s noch einmal.",
    ]


async def test_a_cancelled_post_is_told(telegram: Telegram, engine: Engine, settings: BotSettings) -> None:
    """Taken off the queue while the person waits: they hear of it once, and it is not put back behind their back."""
    queue = queue_of(engine)
    async with running(telegram, engine, settings, FakeScorer(), worker=False) as bench:
        telegram.say("hello")

        def cancelled() -> int:
            with transaction(engine) as connection:
                ids = connection.execute(text("select post_id from jobs where state = 'waiting'")).scalars().all()
            return queue.cancel(ids)

        await bench.until(cancelled)
        (answer,) = await bench.answers(1)
        assert answer.text.startswith("The reading of this post was cancelled;")
        await bench.closed()
        assert cancelled() == 0
    queue.close()
