"""People as keyed hashes: without the key, nobody can tell whose post a row was."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from bot.settings import BotSettings
from domain.errors import ConfigError

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
