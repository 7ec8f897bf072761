"""Settings of the web door."""

from __future__ import annotations

import ipaddress

from pydantic import Field, SecretStr

from db.engine import Settings
from domain.errors import ConfigError


class WebSettings(Settings):
    """Where the door listens, who may come in, and how long anybody waits."""

    host: str = Field(
        default="127.0.0.1", description="address the web door listens on; another than the loopback demands an API key"
    )
    web_port: int = Field(default=8000, ge=0, le=65535, description="port of the web door")
    api_key: SecretStr | None = Field(
        default=None, description="key that callers must send as X-API-Key; none is asked for when empty"
    )
    web_deadline: float = Field(default=30.0, gt=0, description="seconds a caller waits for an answer")
    web_max_waiting: int = Field(default=64, ge=1, description="callers who may wait at once")
    web_max_listeners: int = Field(default=100, ge=1, description="pages that may follow the live feed at once")
    feed_silence: float = Field(
        default=180.0,
        gt=0,
        description="seconds without a new candle or post after which the feed counts as standing still",
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
