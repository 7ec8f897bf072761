"""Engines and connections: one engine per process, made by whoever composes the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.errors import ConfigError, Unavailable

SECRETS = Path("/run/secrets")
NO_DATABASE = "There is no DATABASE_URL, neither as a variable nor as a secret; write one of them."


def secrets_dir() -> Path | None:
    """Where containers mount secrets as files named like the variables; None on a machine without any."""
    return SECRETS if SECRETS.is_dir() else None


def variable_of(settings: type[BaseSettings], field: str) -> str:
    """The environment variable of a field: its alias, else the class's prefix and the field's name."""
    alias = settings.model_fields[field].validation_alias
    return str(alias) if alias else f"{settings.model_config.get('env_prefix', '')}{field}".upper()


class Settings(BaseSettings):
    """What a box reads from its environment, and from the secrets that a container mounts.

    The variable of a field is ``MOODTAPE_`` and its name, unless its class or an alias says otherwise.

    Raises:
        ConfigError: a value cannot be used, or the file of a secret cannot be read; the message names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="MOODTAPE_", extra="ignore", populate_by_name=True, secrets_dir=secrets_dir()
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            reason = first["msg"].removeprefix("Value error, ")
            named = str(first["loc"][0]) if first["loc"] else "A setting"
            named = variable_of(type(self), named) if named in type(self).model_fields else named
            raise ConfigError(f"{named} cannot be used: {reason}.") from None
        except (OSError, SettingsError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            name = Path(str(cause.filename)).name
            raise ConfigError(
                f"The secret {name} cannot be read ({cause.strerror}); let its file be read by the service's user (chmod 644)."
            ) from None


def filled(secret: SecretStr) -> SecretStr:
    """The secret; an empty one is refused where nothing works without it."""
    if not secret.get_secret_value().strip():
        raise ValueError("it is empty")
    return secret


class DatabaseSettings(Settings):
    """Read from the environment: ``DATABASE_URL`` and a few limits."""

    model_config = SettingsConfigDict(env_prefix="MOODTAPE_DATABASE_")

    database_url: Annotated[SecretStr, AfterValidator(filled)] = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/moodtape"),
        description="PostgreSQL 15 or newer with pgvector; postgres:// and postgresql:// both work",
        validation_alias="DATABASE_URL",
    )
    deadline: float = Field(
        default=5.0, gt=0, description="seconds after which a statement or a connection attempt is given up"
    )
    pool: int = Field(default=4, ge=1, description="connections each process keeps")


PATIENCE = 5.0
"""Seconds that short transactions wait for one answer of the server."""

_patience: ContextVar[float | None] = ContextVar("patience", default=None)
_Answer = TypeVar("_Answer")


class _Bounded(psycopg.Connection[Any]):
    """Gives up when one answer takes longer than the transaction's patience.

    TCP's own limits see nothing when something between us and the server swallows the bytes and acknowledges them.
    """

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        bound = _patience.get()
        if timeout is not None or bound is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, bound)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(f"no answer within {bound:g} s") from None


def database_url(settings: DatabaseSettings) -> URL:
    """The URL with the psycopg driver.

    Raises:
        ConfigError: the text is no PostgreSQL URL, or in a container there is none.
    """
    if secrets_dir() is not None and "database_url" not in settings.model_fields_set:
        raise ConfigError(NO_DATABASE)
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError:
        raise ConfigError("DATABASE_URL is not a URL; write postgresql://user:password@host:5432/name.") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(f"DATABASE_URL names {url.get_backend_name()}; moodtape keeps its data in PostgreSQL only.")
    return url.set(drivername="postgresql+psycopg")


def connect_args(deadline: float) -> dict[str, Any]:
    """Client-side limits: a server that swallows packets is noticed within about the deadline."""
    milliseconds = int(deadline * 1000)
    return {
        "connect_timeout": max(2, int(deadline)),
        "tcp_user_timeout": milliseconds,
        "keepalives": 1,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "options": "-c timezone=UTC",
        "application_name": "moodtape",
    }


def make_engine(settings: DatabaseSettings | None = None) -> Engine:
    """An engine with pre-ping, client-side deadlines and UTC sessions."""
    settings = settings or DatabaseSettings()
    engine = create_engine(
        database_url(settings),
        pool_size=settings.pool,
        max_overflow=settings.pool,
        pool_pre_ping=True,
        pool_timeout=settings.deadline,
        connect_args=connect_args(settings.deadline),
    )
    event.listen(engine, "do_connect", lambda dialect, record, args, parameters: _Bounded.connect(*args, **parameters))
    return engine


@contextmanager
def transaction(engine: Engine, patience: float | None = None) -> Iterator[Connection]:
    """One transaction; a server that is away becomes :class:`Unavailable`, a refused log-in :class:`ConfigError`.

    With ``patience`` a server that does not answer for so many seconds counts as away, and the server in turn lets go
    of the rows of a client that stands still in mid-transaction for twice as long. Without it, one inside another keeps
    the other's.
    """
    token = _patience.set(_patience.get() if patience is None else patience)
    try:
        with engine.begin() as connection:
            if patience is not None:
                connection.execute(text(f"set local idle_in_transaction_session_timeout = '{int(2000 * patience)}ms'"))
            yield connection
    except (
        OperationalError, PoolTimeout, psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout,
    ) as error:  # fmt: skip
        if of_the_data(error):
            raise
        raise explain(error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise explain(error) from error
        raise
    finally:
        _patience.reset(token)


def of_the_data(error: BaseException) -> bool:
    """Whether the values were refused – by psycopg, or by the server with SQLSTATE class 22 or 54 – and would be again."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None) or ""
    return isinstance(cause, psycopg.DataError | UnicodeEncodeError) or state[:2] in ("22", "54")


def explain(error: Exception) -> ConfigError | Unavailable:
    """The sentence for an operational error; no password, no host name of ours."""
    text = str(getattr(error, "orig", error)).lower()
    if "password" in text or "authentication" in text or ("role" in text and "does not exist" in text):
        return ConfigError("PostgreSQL refused the log-in; check user and password in DATABASE_URL.")
    if "database" in text and "does not exist" in text:
        return ConfigError("PostgreSQL has no such database; create it, or correct the name in DATABASE_URL.")
    if "too many clients" in text or "remaining connection slots" in text:
        return Unavailable(
            "PostgreSQL has no connection free (too many clients); close some, or raise max_connections."
        )
    if "no space left" in text or "could not extend" in text:
        return Unavailable("The disk of PostgreSQL is full; free some room and try again.")
    return Unavailable("PostgreSQL does not answer; check that it runs and that DATABASE_URL names it.")


def raw(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy one, in the same transaction (for COPY and NOTIFY)."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """Runs the functions of ``db.queries``: ``await store(inbox.reserve, update_id)``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The query's result, committed.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """

        def work() -> T:
            with transaction(self.engine) as connection:
                return query(connection, *args, **kwargs)

        return await asyncio.to_thread(work)
