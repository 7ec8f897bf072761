"""Settings of the web door."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, SecretStr

from db.engine import Settings
from domain.errors import ConfigError


class WebSettings(Settings):
    """Where the door listens, who may come in, and how long anybody waits."""

    host: str = Field(
        default="127.0.0.1",
        description="address the web door listens on; another than the loopback demands an API key",
        validation_alias="MOODTAPE_HOST",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="port of the web door", validation_alias="MOODTAPE_WEB_PORT"
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="key that callers must send as X-API-Key; none is asked for when empty",
        validation_alias="MOODTAPE_API_KEY",
    )
    deadline: float = Field(
        default=30.0,
        gt=0,
        description="seconds a caller waits for an answer",
        validation_alias="MOODTAPE_WEB_DEADLINE",
    )
    max_waiting: int = Field(
        default=64, ge=1, description="callers who may wait at once", validation_alias="MOODTAPE_WEB_MAX_WAITING"
    )
    max_listeners: int = Field(
        default=100,
        ge=1,
        description="pages that may follow the live feed at once",
        validation_alias="MOODTAPE_WEB_MAX_LISTENERS",
    )
    feed_silence: float = Field(
        default=180.0,
        gt=0,
        description="seconds without a new candle or post after which the feed counts as standing still",
        validation_alias="MOODTAPE_FEED_SILENCE",
    )
    data_dir: Path | None = Field(
        default=None,
        description="folder of the running stack; says which feed plays",
        validation_alias="MOODTAPE_DATA_DIR",
    )

    @property
    def key(self) -> str | None:
        """The API key, None when no key is asked for."""
        return self.api_key.get_secret_value() or None if self.api_key else None

    def check(self) -> None:
        """Refuse to be reachable from elsewhere without a key.

        Raises:
            ConfigError: the address is not the loopback and there is no key.
        """
        if self.key is None and not is_loopback(self.host):
            raise ConfigError(
                f"The web door would listen on {self.host}, where others can reach it; "
                "set MOODTAPE_API_KEY, or listen on 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
