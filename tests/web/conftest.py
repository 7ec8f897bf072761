"""The web door on a real database, with a worker that answers by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine

from db.engine import DatabaseSettings, make_engine, transaction
from db.queries import revisions
from domain.clock import ManualClock
from tests.fakes.answers import REVISION, store_candles, working
from web.app import create_app
from web.settings import WebSettings
from workers.client.queue import ScoringClient
from workers.settings import WorkerSettings

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
HERE = "http://127.0.0.1"

Doors = Callable[..., TestClient]


@pytest.fixture
def queue_client(engine: Engine) -> Iterator[ScoringClient]:
    """A client whose Redis is away; the worker looks for itself."""
    client = ScoringClient(engine, WorkerSettings(redis_url="redis://127.0.0.1:1/0"))
    yield client
    client.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def doors(engine: Engine, queue_client: ScoringClient, clock: ManualClock) -> Iterator[Doors]:
    """``doors(api_key=…, …)`` opens a door with these settings, as a client on the loopback."""
    opened: list[TestClient] = []
    with transaction(engine) as connection:
        revisions.register(connection, REVISION, {})

    def make(*, base_url: str = HERE, **settings: Any) -> TestClient:
        app = create_app(engine, queue_client, WebSettings(**settings), clock)
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def door(doors: Doors) -> TestClient:
    """A door with the usual settings."""
    return doors()


@pytest.fixture
def market(engine: Engine) -> None:
    """Thirty minutes of BTC/USDT until noon."""
    store_candles(engine, "BTC/USDT", NOON, 30)


@pytest.fixture
def worker(engine: Engine) -> Iterator[None]:
    """A worker at work."""
    with working(engine):
        yield


@pytest.fixture
def lone_doors() -> Iterator[Doors]:
    """Doors whose database is away, for what needs none."""
    away = SecretStr("postgresql://nobody@127.0.0.1:1/moodtape")
    engine = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": away}))
    queue = ScoringClient(engine)
    opened: list[TestClient] = []

    def make(*, base_url: str = HERE, **settings: Any) -> TestClient:
        app = create_app(engine, queue, WebSettings(**settings))
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)
    queue.close()
    engine.dispose()


@pytest.fixture
def lone_door(lone_doors: Doors) -> TestClient:
    """A door whose database is away, with the usual settings."""
    return lone_doors()
