"""What is wrong with a setting or a secret is one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.settings import BotSettings
from db import engine
from db.engine import DatabaseSettings, Settings, database_url, variable_of
from domain.errors import ConfigError
from streaming.settings import StreamingSettings
from web.settings import WebSettings
from workers.settings import WorkerSettings

ALL: tuple[type[Settings], ...] = (DatabaseSettings, BotSettings, StreamingSettings, WebSettings, WorkerSettings)
SECRETS = [
    (kind, variable_of(kind, name))
    for kind in ALL
    for name, field in kind.model_fields.items()
    if field.annotation in (SecretStr, SecretStr | None)
]


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_an_unreadable_secret_is_named(
    kind: type[Settings], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted file that belongs to another user ends as a ConfigError with its name, whichever secret it is."""
    (tmp_path / name).write_text("hidden")

    def refuse(self: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match=rf"^The secret {name} cannot be read \(Permission denied\)"):
        kind(_secrets_dir=tmp_path)


def test_a_readable_secret_is_used_without_its_line_end(tmp_path: Path) -> None:
    """As `echo … > file` writes it."""
    (tmp_path / "DATABASE_URL").write_text("postgresql://u:p@host/name\n")
    assert database_url(DatabaseSettings(_secrets_dir=tmp_path)).host == "host"


@pytest.mark.parametrize(
    ("kind", "name"), [(DatabaseSettings, "DATABASE_URL"), (StreamingSettings, "MOODTAPE_AUTHOR_KEY")]
)
def test_an_empty_secret_that_is_needed_is_refused(kind: type[Settings], name: str, tmp_path: Path) -> None:
    """Nothing would work with it, or everybody could undo the hashes that it makes."""
    (tmp_path / name).write_text("\n")
    with pytest.raises(ConfigError, match=rf"^{name} cannot be used: it is empty\."):
        kind(_secrets_dir=tmp_path)


def test_a_container_without_a_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where secrets are mounted the default address on the loopback leads nowhere."""
    monkeypatch.setattr(engine, "SECRETS", tmp_path)
    with pytest.raises(ConfigError, match="There is no DATABASE_URL"):
        database_url(DatabaseSettings())
    monkeypatch.setattr(engine, "SECRETS", tmp_path / "none")
    assert database_url(DatabaseSettings()).host == "127.0.0.1"


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list of pydantic's errors, no value."""
    monkeypatch.setenv("MOODTAPE_WEB_PORT", "a-secret-by-mistake")
    with pytest.raises(ConfigError, match=r"^MOODTAPE_WEB_PORT cannot be used") as raised:
        WebSettings()
    assert "mistake" not in raised.value.message
