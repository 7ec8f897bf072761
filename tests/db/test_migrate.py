"""Migrations: the code's tables are what the database gets, one upgrader at a time, writers never wait long."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text

import migrations
from db.engine import DatabaseSettings, make_engine
from db.migrate import config, current, head, upgrade
from db.tables import Base
from domain.errors import ConfigError, Unavailable

pytestmark = pytest.mark.stack


def settings(url: str) -> DatabaseSettings:
    return DatabaseSettings(database_url=SecretStr(url))


def test_there_is_one_head() -> None:
    """Two migrations with the same parent would make `upgrade head` ambiguous."""
    assert len(ScriptDirectory.from_config(config()).get_heads()) == 1


def test_schema_equals_tables(engine: Engine) -> None:
    """A migrated database differs in nothing from db/tables.py."""
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert current(engine) == head()


def test_two_upgraders_at_once_end_at_one_revision(empty_database_url: str) -> None:
    """Both succeed; the second waits and finds nothing to do."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(upgrade, [settings(empty_database_url)] * 2))
    assert results == [head(), head()]
    engine = make_engine(settings(empty_database_url))
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from alembic_version")).scalar() == 1
    engine.dispose()


def test_a_long_reader_makes_the_upgrade_wait_and_retry(empty_database_url: str) -> None:
    """While a reader holds the version table, the upgrader gives up its lock each second and gets through afterwards."""
    engine = make_engine(settings(empty_database_url))
    with engine.begin() as connection:
        connection.execute(text("create table alembic_version (version_num varchar(32) primary key)"))
    reader = engine.connect()
    reader.execute(text("lock table alembic_version in access exclusive mode"))
    with pytest.raises(Unavailable, match="could not get its lock"):
        upgrade(settings(empty_database_url), tries=1)
    threading.Timer(1.5, reader.rollback).start()
    started = time.monotonic()
    assert upgrade(settings(empty_database_url)) == head()
    assert time.monotonic() - started < 20
    reader.close()
    engine.dispose()


def test_downgrade_leaves_nothing(empty_database_url: str) -> None:
    """Every migration can be undone."""
    from alembic import command

    upgrade(settings(empty_database_url))
    engine = make_engine(settings(empty_database_url))
    with engine.connect() as connection:
        command.downgrade(config(connection), "base")
        left = connection.execute(
            text("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')")
        )
        assert [r[0] for r in left] == ["alembic_version"]
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://x@y/z", "PostgreSQL only"),
        ("::nonsense::", "not a URL"),
    ],
)
def test_wrong_urls_are_named(url: str, sentence: str) -> None:
    """A wrong DATABASE_URL gives one clear sentence."""
    with pytest.raises(ConfigError, match=sentence):
        make_engine(settings(url))


def test_missing_database_and_dead_server_are_told_apart(postgres_url: str) -> None:
    """No such database is a setting to mend; no server is a reason to try again."""
    nowhere = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match="no such database"):
        upgrade(settings(nowhere))
    with pytest.raises(Unavailable, match="does not answer"):
        upgrade(settings("postgresql://postgres@127.0.0.1:9/x"))


SCRIPTS = sorted((Path(migrations.__file__).parent / "versions").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_migrations_are_linted(script: Path) -> None:
    """After the first, no migration takes a heavy lock for long: indexes on old tables are made concurrently, no column
    is added NOT NULL without a default, no type of a column changes in place."""
    source = script.read_text()
    assert re.search(r"^def upgrade\(\)", source, re.M)
    assert re.search(r"^def downgrade\(\)", source, re.M)
    if script.stem.startswith("0001"):
        return
    created = set(re.findall(r"op\.create_table\(\s*[\"'](\w+)", source))
    for table, rest in re.findall(
        r"op\.create_index\(\s*[\"'][^\"']+[\"'],\s*[\"'](\w+)[\"'](.*?)\n    \)?", source, re.S
    ):
        assert table in created or "postgresql_concurrently=True" in rest, f"index on {table} blocks writers"
    for column in re.findall(r"op\.add_column\((.*?)\)\n", source, re.S):
        assert "nullable=False" not in column or "server_default" in column
    assert "op.alter_column" not in source or "type_=" not in source
