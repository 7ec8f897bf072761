"""Bring a database to the newest schema: one upgrader at a time, and never a queue of writers behind a waiting lock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db.engine import DatabaseSettings, explain, make_engine
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
    available = connection.execute(text("select 1 from pg_available_extensions where name = 'vector'")).scalar()
    if not available:
        raise ConfigError(
            "This PostgreSQL has no pgvector extension; install it there (package postgresql-NN-pgvector)."
        )


TABLE = "candles"
AHEAD = 2
"""Months made in advance."""

_NAME = re.compile(r"^candles_y(\d{4})m(\d{2})$")


def month_of(moment: datetime) -> datetime:
    """First instant of the moment's month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """First instant of the month after."""
    return month_of(month + timedelta(days=32))


def partition_name(month: datetime) -> str:
    """``candles_y2026m11``."""
    return f"candles_y{month.year:04d}m{month.month:02d}"


def existing(connection: Connection) -> dict[str, datetime]:
    """Attached partitions by name, with the month they hold."""
    names = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'candles'::regclass"
        )
    ).scalars()
    return {n: datetime(int(m[1]), int(m[2]), 1, tzinfo=UTC) for n in names if (m := _NAME.match(n))}


def ensure_months(connection: Connection, moments: Iterable[datetime]) -> list[str]:
    """Create the partitions that these moments need; returns the names of new ones. Safe against a second creator."""
    wanted = {month_of(m) for m in moments}
    missing = sorted(wanted - set(existing(connection).values()))
    if not missing:
        return []
    connection.execute(text("select pg_advisory_xact_lock(hashtext('moodtape.partitions'))"))
    missing = sorted(wanted - set(existing(connection).values()))
    for month in missing:
        _create(connection, month)
    return [partition_name(m) for m in missing]


def _create(connection: Connection, month: datetime) -> None:
    """Made apart and then attached: ATTACH takes a lighter lock on the parent than CREATE … PARTITION OF."""
    name, start, end = partition_name(month), month.isoformat(), next_month(month).isoformat()
    connection.execute(
        text(f"create table if not exists {name} (like candles including defaults including constraints)")
    )
    connection.execute(text(f"alter table candles attach partition {name} for values from ('{start}') to ('{end}')"))


def maintain(connection: Connection, now: datetime, keep: timedelta | None = None) -> tuple[list[str], list[str]]:
    """Make this month and the next ones; with ``keep`` detach and drop the months that ended before ``now - keep``.

    Returns the names made and the names dropped.
    """
    months = [month_of(now)]
    for _ in range(AHEAD):
        months.append(next_month(months[-1]))
    made = ensure_months(connection, months)
    dropped = []
    if keep is not None:
        for name, month in sorted(existing(connection).items()):
            if next_month(month) <= now - keep:
                connection.execute(text(f"alter table candles detach partition {name}"))
                connection.execute(text(f"drop table {name}"))
                dropped.append(name)
    return made, dropped
