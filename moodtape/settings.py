"""What the one-machine stack is told by its environment; every field has a flag of `moodtape up`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from db.engine import Settings
from runtime.health import default_data_dir


class StackSettings(Settings):
    """Servers that are named here are used; those that are not are started from wheels."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=default_data_dir, description="where databases, logs and state of this machine's stack lie"
    )
    database_url: SecretStr | None = Field(
        default=None, description="another PostgreSQL, with pgvector", validation_alias="DATABASE_URL"
    )
    kafka_bootstrap: str | None = Field(
        default=None, description="another Kafka: host:port, comma separated", validation_alias="KAFKA_BOOTSTRAP"
    )
    redis_url: SecretStr | None = Field(default=None, description="another Redis", validation_alias="REDIS_URL")
    host: str = Field(
        default="127.0.0.1", description="address of the page; other than the loopback demands MOODTAPE_API_KEY"
    )
    web_port: int | None = Field(
        default=None, ge=1, le=65535, description="port of the page; without it 8000, or a free one"
    )
    workers: int = Field(default=1, ge=1, le=64, description="worker processes")
    broker_memory: int = Field(
        default=256,
        ge=16,
        description="megabytes of messages that the packaged broker, which forgets none, may hold before it starts anew",
    )
    no_bot: bool = Field(default=False, description="no Telegram bot even with a token")
    replay: Path | None = Field(default=None, description="directory of recorded candles and posts to play as if live")
    speed: float | None = Field(
        default=None, ge=0, description="how many times faster than it happened; 0 is as fast as it goes"
    )
    live: bool = Field(default=False, description="take real exchanges and post sources")
