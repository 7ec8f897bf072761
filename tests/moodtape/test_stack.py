"""What `moodtape up` composes: checked options, the environment of each child, the preparation of the database."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from domain.errors import ConfigError, Unavailable
from moodtape import stack
from moodtape.state import MARK, StackSettings, State


def settings(tmp_path: Path, **more: object) -> StackSettings:
    return StackSettings.model_validate({"data_dir": tmp_path / "data", **more})


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "data")
    state.prepare()
    return state


def test_only_the_bot_gets_the_token(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Telegram token is in the bot's environment and in no other child's; every child is marked as ours."""
    monkeypatch.setenv("TELEGRAM_TOKEN", "1:abc")
    asked = stack.plan(settings(tmp_path, workers=2))
    made = stack.services(asked, state, {"DATABASE_URL": "postgresql://h/d"})
    assert [service.spec.name for service in made] == ["worker-1", "worker-2", "web", "streaming", "nightly", "bot"]
    assert [service.spec.env.get("TELEGRAM_TOKEN") for service in made] == [None] * 5 + ["1:abc"]
    assert {service.spec.env[MARK] for service in made} == {state.token}
    assert {service.spec.env["DATABASE_URL"] for service in made} == {"postgresql://h/d"}
    assert [service.spec.optional for service in made] == [False] * 4 + [True] * 2


def test_no_bot_without_a_token_or_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, or with --no-bot, no bot is planned."""
    assert stack.plan(settings(tmp_path)).bot is False
    monkeypatch.setenv("TELEGRAM_TOKEN", "1:abc")
    assert stack.plan(settings(tmp_path)).bot is True
    assert stack.plan(settings(tmp_path, no_bot="1")).bot is False


def test_servers_of_the_environment_replace_ours(tmp_path: Path) -> None:
    """A server that the environment names is not started from a wheel."""
    named = settings(tmp_path, DATABASE_URL="postgresql://h/d", KAFKA_BOOTSTRAP="h:9092")
    asked = stack.plan(named)
    assert [embedded.server.name for embedded in stack.embedded_servers(asked)] == ["redis"]
    assert asked.external == {"DATABASE_URL": "postgresql://h/d", "KAFKA_BOOTSTRAP": "h:9092"}


def test_the_feed_is_told_to_the_streams(tmp_path: Path) -> None:
    """--replay, --speed and --live reach the streaming process as its own options."""
    assert stack.plan(settings(tmp_path)).feed == ()
    assert stack.plan(settings(tmp_path, live="1")).feed == ("--live",)
    replayed = stack.plan(settings(tmp_path, replay=tmp_path, speed="10"))
    assert replayed.feed == ("--replay", str(tmp_path), "--speed", "10.0")


def test_a_taken_default_port_is_stepped_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody asked for a port and the usual one is taken, a free one is used; an asked-for one is refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        monkeypatch.setattr(stack, "DEFAULT_PORT", taken)
        assert stack.plan(settings(tmp_path)).port != taken
        with pytest.raises(ConfigError, match=f"Port {taken} of 127.0.0.1 is taken"):
            stack.plan(settings(tmp_path, web_port=taken))


def test_an_open_address_demands_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any address but the loopback needs MOODTAPE_API_KEY; with it the page is shown at an address one can open."""
    with pytest.raises(ConfigError, match="MOODTAPE_API_KEY must be set"):
        stack.plan(settings(tmp_path, host="0.0.0.0"))
    monkeypatch.setenv("MOODTAPE_API_KEY", "k" * 40)
    asked = stack.plan(settings(tmp_path, host="0.0.0.0"))
    assert asked.page == f"http://127.0.0.1:{asked.port}"


def test_a_failed_preparation_speaks_for_itself(tmp_path: Path, state: State, postgres_url: str) -> None:
    """The migration's own sentence and kind reach the user, and the database does not count as prepared."""
    preparation = stack.Preparation(stack.plan(settings(tmp_path)), state)
    preparation.begin({"DATABASE_URL": "postgresql://a@127.0.0.1:1/c"})
    with pytest.raises(Unavailable, match="PostgreSQL does not answer"):
        preparation.finish()
    assert preparation.known is False
    preparation.begin({"DATABASE_URL": postgres_url.replace("postgres:", "postgres:x")})
    with pytest.raises(ConfigError, match="PostgreSQL refused the log-in"):
        preparation.finish()


def test_a_prepared_database_is_remembered_until_the_code_changes(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of a prepared database holds for the same migrations, weights and address only."""
    asked = stack.plan(settings(tmp_path))
    preparation = stack.Preparation(asked, state)
    preparation.finish()
    assert stack.Preparation(asked, state).known is True
    other = stack.plan(settings(tmp_path, DATABASE_URL="postgresql://h/d"))
    assert stack.Preparation(other, state).known is False
    monkeypatch.setattr("models.manifest.ARTIFACTS", tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert stack.Preparation(asked, state).known is False


def test_the_author_key_is_this_installations_own(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authors are hashed with a random key kept in the data directory, unless the environment gives one."""
    asked = stack.plan(settings(tmp_path))
    key = stack.environment(asked, state, {})["MOODTAPE_AUTHOR_KEY"]
    assert len(key) == 32
    assert stack.environment(asked, State(state.data_dir), {})["MOODTAPE_AUTHOR_KEY"] == key
    monkeypatch.setenv("MOODTAPE_AUTHOR_KEY", "mine")
    assert stack.environment(asked, state, {})["MOODTAPE_AUTHOR_KEY"] == "mine"
    assert "TELEGRAM_TOKEN" not in os.environ
