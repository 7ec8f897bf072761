"""Servers and databases for the tests: embedded, on the loopback, made when first asked for and gone at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Engine

from db.engine import DatabaseSettings, make_engine
from db.migrate import upgrade
from moodtape.servers import Broker, Postgres, Redis

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: more threads would only wait for one another
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

OURS = ("DATABASE_URL", "KAFKA_BOOTSTRAP", "REDIS_URL", "TELEGRAM_TOKEN", "TELEGRAM_API")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leans on what the caller's shell has set."""
    for name in [*OURS, *(name for name in os.environ if name.startswith("MOODTAPE_"))]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """A data directory that a system user can reach, for the servers of this session."""
    folder = Path(tempfile.mkdtemp(prefix="moodtape-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[Postgres]:
    """The session's PostgreSQL; it dies with the test process, even a killed one."""
    server = Postgres(servers_dir, tied=True, durable=False)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> str:
    """URL of an empty database with pgvector; enough for what needs no tables."""
    return postgres_server.url


@pytest.fixture(scope="session")
def redis_url(servers_dir: Path) -> Iterator[str]:
    """URL of the session's Redis."""
    server = Redis(servers_dir, tied=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(servers_dir: Path) -> Iterator[str]:
    """host:port of the session's broker (Kafka protocol, in memory)."""
    server = Broker(servers_dir, tied=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: Postgres) -> str:
    """Name of a migrated database that fresh ones are copied from."""
    name = "template_moodtape"
    _administer(postgres_server, sql.SQL("create database {}").format(sql.Identifier(name)))
    upgrade(_settings(postgres_server.url_of(name)))
    return name


@pytest.fixture
def database_url(postgres_server: Postgres, migrated_template: str) -> Iterator[str]:
    """URL of a fresh migrated database of this test's own."""
    name = f"test_{uuid4().hex[:12]}"
    copy = sql.SQL("create database {} template {} strategy file_copy").format(
        sql.Identifier(name), sql.Identifier(migrated_template)
    )
    _administer(postgres_server, copy)
    yield postgres_server.url_of(name)
    _administer(postgres_server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh migrated database of this test's own."""
    engine = make_engine(_settings(database_url))
    yield engine
    engine.dispose()


def _settings(url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(url)})


def _administer(server: Postgres, statement: sql.Composed) -> None:
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(statement)
