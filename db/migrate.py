"""Bring a database to the newest schema: one upgrader at a time, and never a queue of writers behind a waiting lock."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db.engine import explain, make_engine
from db.settings import DatabaseSettings
from domain.errors import BrokenInstall, ConfigError, Unavailable

LOCK_KEY = 0x6D6F6F64
LOCK_TIMEOUT = "1s"
TRIES = 30


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file: the scripts lie in the ``migrations`` package."""
    spec = find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise BrokenInstall("The migrations of the database are missing; install moodtape again.")
    settings = Config()
    settings.set_main_option("script_location", str(Path(next(iter(spec.submodule_search_locations)))))
    settings.attributes["connection"] = connection
    return settings


def head() -> str:
    """The newest revision in the code."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise BrokenInstall("There are no migrations; install moodtape again.")
    return revision


def current(engine: Engine) -> str | None:
    """The revision that a database stands at; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: DatabaseSettings | str | None = None, tries: int = TRIES) -> str:
    """Upgrade to head (settings, a URL, or DATABASE_URL) and return it; waits for another upgrader and for long readers.

    Raises:
        ConfigError: no pgvector, wrong log-in, no such database.
        Unavailable: no answer, or a lock could not be had in ``tries`` attempts of one second.
    """
    settings = DatabaseSettings(database_url=SecretStr(database)) if isinstance(database, str) else database
    engine = make_engine(settings)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
            _require_vector(guard)
            _wait_for_turn(guard)
            try:
                _upgrade(engine, tries)
            finally:
                guard.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
    except OperationalError as error:
        raise explain(error) from error
    finally:
        engine.dispose()
    return head()


def _wait_for_turn(guard: Connection) -> None:
    """Ask for the lock again and again: a statement that waits for it would hold up an index made concurrently."""
    while not guard.execute(text("select pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}).scalar():
        time.sleep(0.1)


def _upgrade(engine: Engine, tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            with engine.connect() as connection:
                connection.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT}'"))
                connection.commit()
                command.upgrade(config(connection), "head")
            return
        except OperationalError as error:
            if "lock timeout" not in str(error.orig):
                raise
            if not left:
                raise Unavailable("The database is busy: a migration could not get its lock; try again.") from error
            time.sleep(0.5)


def _require_vector(connection: Connection) -> None:
    found = connection.execute(text("select 1 from pg_available_extensions where name = 'vector'")).scalar()
    if not found:
        raise ConfigError(
            "This PostgreSQL has no pgvector extension; install it there (package postgresql-NN-pgvector)."
        )
