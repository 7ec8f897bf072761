"""Where the database is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")


def secrets_dir() -> Path | None:
    """Where containers mount secrets as files named like the variables; None on a machine without any."""
    return SECRETS if SECRETS.is_dir() else None


class DatabaseSettings(BaseSettings):
    """Read from the environment: ``DATABASE_URL`` and a few limits."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, secrets_dir=secrets_dir())

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/moodtape"),
        description="PostgreSQL 15 or newer with pgvector; postgres:// and postgresql:// both work",
        validation_alias="DATABASE_URL",
    )
    deadline: float = Field(
        default=5.0,
        gt=0,
        description="seconds after which a statement or a connection attempt is given up",
        validation_alias="MOODTAPE_DATABASE_DEADLINE",
    )
    pool_size: int = Field(
        default=4, ge=1, description="connections each process keeps", validation_alias="MOODTAPE_DATABASE_POOL"
    )
