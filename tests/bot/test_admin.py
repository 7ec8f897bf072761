"""/rescore: for admins a message that follows the run, with buttons; for others a word like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bot import admin
from bot.settings import BotSettings
from db.engine import transaction
from db.queries import rescore
from db.queries.posts import insert_posts
from domain.errors import ConfigError
from domain.types import Post
from tests.bot.conftest import Bench, running, settings_for
from tests.fakes.telegram import Message, Refused, Telegram

ADMIN, STRANGER, POSTS = 7, 8, 4
REVISION = "another"
"""One that no worker of these tests scores with, so that the run moves only when the test moves it."""


@pytest.fixture
async def desk(
    telegram: Telegram, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A bot that knows one admin and looks at runs without pause between."""
    monkeypatch.setattr(admin.Watch.__init__, "__defaults__", (0.01,))
    async with running(telegram, engine, settings_for(telegram.url, tmp_path, admins=f"{ADMIN}, 99")) as it:
        yield it


def begin(engine: Engine) -> int:
    """A run over four posts, all on the queue."""
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    with transaction(engine) as connection:
        insert_posts(connection, [Post(f"p:{n}", "test", f"words {n}", "en", noon) for n in range(POSTS)])
        run = rescore.begin(connection, REVISION, rescore.Filters(), "ada")
        rescore.feed(connection, REVISION, 10)
    return run


def buttons(message: Message) -> list[str]:
    """What stands on the buttons under a message."""
    return [b["text"] for row in (message.keyboard or {}).get("inline_keyboard", []) for b in row]


async def test_without_a_run_it_says_so(desk: Bench) -> None:
    """And how to start one."""
    desk.telegram.say("/rescore", ADMIN)
    (answer,) = await desk.answers(1, ADMIN)
    assert answer.text == "There is no rescore run. “moodtape rescore” on the server starts one."


async def test_the_message_follows_the_run_and_steers_it(desk: Bench) -> None:
    """Paused, resumed and ended by its buttons; always the same message, and without buttons in the end."""
    run = begin(desk.engine)
    desk.telegram.say("/rescore", ADMIN)
    (answer,) = await desk.answers(1, ADMIN)
    number = max(message for chat, message in desk.telegram.messages if chat == ADMIN)
    assert answer.text.startswith(f"Rescoring: run {run}, running\n░░░░░░░░░░░░ 0 %\n0 of 4 posts, revision another")
    assert buttons(answer) == ["Pause", "Cancel"]
    for action, state, left in (
        ("pause", "paused", ["Resume", "Cancel"]),
        ("resume", "running", ["Pause", "Cancel"]),
        ("cancel", "cancelled", []),
    ):
        desk.telegram.press(number, f"run:{action}:{run}", ADMIN)
        await desk.until(lambda state=state: f", {state}\n" in answer.text)
        assert buttons(answer) == left
    desk.telegram.press(number, f"run:pause:{run}", ADMIN)
    await desk.until(lambda: len(desk.telegram.of("answerCallbackQuery")) == 4)
    toasts = [call.params["text"] for call in desk.telegram.of("answerCallbackQuery")]
    assert toasts == ["paused", "running", "cancelled", "That cannot be done: the run is cancelled."]
    assert len(desk.telegram.in_chat(ADMIN)) == 1


async def test_the_message_moves_with_the_run(desk: Bench) -> None:
    """What the workers do is seen without asking again, through a Telegram that is not well; the last word is “done”."""
    run = begin(desk.engine)
    desk.telegram.say("/rescore", ADMIN)
    (answer,) = await desk.answers(1, ADMIN)
    desk.telegram.refuse("editMessageText", 1, Refused(502, "Bad Gateway"))
    with transaction(desk.engine) as connection:
        connection.exec_driver_sql("update jobs set state = 'done' where post_id < 'p:2'")
    await desk.until(lambda: "██████░░░░░░ 50 %\n2 of 4" in answer.text)
    with transaction(desk.engine) as connection:
        connection.exec_driver_sql("update jobs set state = 'done'")
        assert rescore.feed(connection, REVISION, 10) == 0
    await desk.until(lambda: answer.text.startswith(f"Rescoring: run {run}, done\n████████████ 100 %"))
    assert buttons(answer) == []


async def test_others_get_the_usual_answer(desk: Bench) -> None:
    """A stranger's /rescore is read like any words, and a stranger's press on the buttons does nothing."""
    run = begin(desk.engine)
    desk.telegram.say("/rescore", STRANGER)
    (answer,) = await desk.answers(1, STRANGER)
    assert answer.has_media
    desk.telegram.press(1, f"run:cancel:{run}", ADMIN, user=STRANGER)
    await desk.closed()
    with transaction(desk.engine) as connection:
        found = rescore.progress(connection, run)
    assert found is not None
    assert found.state == "running"


def test_admins_are_numbers() -> None:
    """Commas or spaces between them; a name is a wrong setting."""
    assert BotSettings(admins="12, 34 56").admin_ids == {12, 34, 56}
    assert BotSettings().admin_ids == frozenset()
    with pytest.raises(ConfigError, match="TELEGRAM_ADMINS"):
        BotSettings(admins="@ada").admin_ids  # noqa: B018
