"""/forget_me: nothing of the user remains, whatever was under way."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from bot.settings import BotSettings, author_hash, hash_key
from db.engine import transaction
from tests.bot.conftest import Bench, running
from tests.fakes.scoring import FakeScorer
from tests.fakes.telegram import Telegram


def traces(engine: Engine, settings: BotSettings, user: int) -> dict[str, int]:
    """How many rows still name a user, by table."""
    own = "select id from posts where author_hash = :author"
    counts = {
        "inbox": "select count(*) from inbox where author_hash = :author or chat_id = :chat",
        "chats": "select count(*) from chats where chat_id = :chat",
        "posts": "select count(*) from posts where author_hash = :author",
        "feedback": "select count(*) from feedback where author_hash = :author",
        "jobs": f"select count(*) from jobs where post_id in ({own})",
        "verdicts": f"select count(*) from verdicts where post_id in ({own})",
        "images": "select count(*) from images i where not exists (select from posts p where p.image_sha256 = i.sha256)",
    }
    values = {"author": author_hash(hash_key(settings), user), "chat": user}
    with transaction(engine) as connection:
        return {name: connection.execute(text(query), values).scalar() or 0 for name, query in counts.items()}


async def test_everything_is_forgotten(bench: Bench, settings: BotSettings, picture: bytes) -> None:
    """Posts, jobs, verdicts, feedback, pictures, updates and the chat go; another user's share of the picture stays."""
    telegram, engine = bench.telegram, bench.engine
    telegram.show(picture, "mine", 7)
    telegram.show(picture, "theirs", 8)
    telegram.say("in a group", -5, **{"from": {"id": 7, "is_bot": False, "first_name": "Ada"}})
    await bench.answers(1, 8)
    await bench.answers(1, -5)
    await bench.answers(1)
    await bench.closed()
    number = next(n for (chat, n) in telegram.messages if chat == 7)
    telegram.press(number, telegram.messages[7, number].keyboard["inline_keyboard"][0][0]["callback_data"])
    await bench.until(lambda: telegram.of("answerCallbackQuery"))
    await bench.closed()
    assert {k: v for k, v in traces(engine, settings, 7).items() if v} == {
        "inbox": 3, "chats": 1, "posts": 2, "feedback": 1, "jobs": 2, "verdicts": 2
    }  # fmt: skip
    telegram.say("/forget_me", 7)
    assert (await bench.answers(2))[1].text == "Forgotten: 2 posts, and everything with them."
    await bench.until(lambda: not any(traces(engine, settings, 7).values()))
    assert traces(engine, settings, 8)["posts"] == 1
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from images")).scalar() == 1
        left = connection.execute(text("select inbox::text from inbox")).scalars()
        assert not any("mine" in row or "Ada" in row for row in left)


async def test_a_running_jobs_result_is_discarded(
    telegram: Telegram, engine: Engine, settings: BotSettings, picture: bytes
) -> None:
    """Forgotten while a worker scores: no answer comes for the post, and nothing of it is stored."""
    scorer = FakeScorer(seconds=1.5)
    async with running(telegram, engine, settings, scorer) as bench:
        telegram.show(picture, "slow")
        await bench.until(lambda: scorer.batches)
        telegram.say("/forget_me")
        (answer,) = await bench.answers(1)
        assert answer.text == "Forgotten: one post, and everything with it."
        await bench.closed()
        assert not any(traces(engine, settings, 7).values())
        telegram.say("/start")
        assert not any(message.has_media for message in await bench.answers(2))


def test_hash_key_is_made_once_and_private(tmp_path: Path) -> None:
    """The same key on the second call, readable by its owner only, and no trace of the number in the hash."""
    settings = BotSettings(data_dir=tmp_path)
    key = hash_key(settings)
    assert hash_key(settings) == key
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600]
    assert author_hash(key, 7) != author_hash(b"another key of length", 7)
    assert len(author_hash(key, 7)) == 64
