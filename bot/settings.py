"""Settings of the Telegram door. No other box ever holds the token."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from db.engine import Settings
from domain.errors import ConfigError
from runtime.health import default_data_dir


class BotSettings(Settings):
    """Read from the environment: the token, where the Bot API is, and how patient the bot is."""

    model_config = SettingsConfigDict(env_prefix="MOODTAPE_BOT_")

    token: SecretStr = Field(
        default=SecretStr(""), description="the bot's token from @BotFather", validation_alias="TELEGRAM_TOKEN"
    )
    api: str = Field(
        default="https://api.telegram.org",
        description="base URL of the Bot API, or of another server that speaks it",
        validation_alias="TELEGRAM_API",
    )
    admins: str = Field(
        default="",
        description="Telegram user numbers, separated by commas, that may watch and steer rescore runs with /rescore",
        validation_alias="TELEGRAM_ADMINS",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="folder of what the processes keep; the bot's hash key lies there",
        validation_alias="MOODTAPE_DATA_DIR",
    )
    hash_key: SecretStr | None = Field(
        default=None,
        description="key of the hashes that stand for people; made once in the data directory when empty",
        validation_alias="MOODTAPE_HASH_KEY",
    )
    poll_seconds: int = Field(default=25, ge=0, le=50, description="length of one long poll")
    album_seconds: float = Field(
        default=1.0, ge=0, description="an album is complete when no part has come for that long"
    )
    patience: float = Field(
        default=8.0, gt=0, description="seconds after which the bot says that an answer takes longer"
    )
    give_up: float = Field(default=900.0, gt=0, description="seconds after which the bot stops waiting for a verdict")
    at_once: int = Field(default=32, ge=1, description="updates worked on at a time")
    keep_days: int = Field(default=30, ge=1, description="days that closed updates are kept")
    webhook_url: str = Field(default="", description="public https URL that Telegram calls; long polling when empty")
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="secret that every webhook call must carry; needed with a webhook URL"
    )
    host: str = Field(default="127.0.0.1", description="address that the webhook listens on")
    port: int = Field(default=8443, ge=0, le=65535, description="port that the webhook listens on")

    @property
    def admin_ids(self) -> frozenset[int]:
        """The admins' user numbers.

        Raises:
            ConfigError: something else stands in the list.
        """
        try:
            return frozenset(int(number) for number in self.admins.replace(",", " ").split())
        except ValueError:
            raise ConfigError("TELEGRAM_ADMINS holds user numbers such as 12345,67890; names do not do.") from None


KEY_FILE = "telegram-hash.key"
SHORTEST = 16


def hash_key(settings: BotSettings) -> bytes:
    """The key from the settings, else from a file in the data directory, made on first use and readable by its owner only.

    Raises:
        ConfigError: a key too short to hide anybody, or a data directory that cannot be written.
    """
    if settings.hash_key is not None and settings.hash_key.get_secret_value():
        key = settings.hash_key.get_secret_value().encode()
    else:
        key = _key_of_file(settings.data_dir / KEY_FILE)
    if len(key) < SHORTEST:
        raise ConfigError(f"MOODTAPE_HASH_KEY is too short; give at least {SHORTEST} characters, or none.")
    return key


def author_hash(key: bytes, user_id: int) -> str:
    """What stands for a Telegram user in the database."""
    return hmac.new(key, f"telegram:{user_id}".encode(), hashlib.sha256).hexdigest()


def _key_of_file(path: Path) -> bytes:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _make(path)
        return path.read_bytes()
    except OSError as error:
        folder = path.parent.name
        raise ConfigError(
            f"The bot's key cannot be kept in “{folder}” ({error.strerror}); set MOODTAPE_HASH_KEY."
        ) from None


def _make(path: Path) -> None:
    """Written whole under another name first: a crash leaves no half key."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, secrets.token_hex(32).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()
