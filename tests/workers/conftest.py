"""What the tests of the workers share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.posts import insert_posts
from domain.types import Post
from tests.fakes.scoring import FakeScorer
from workers.client.queue import Priority
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
REVISION = "fake"

Queue = Callable[..., list[str]]


@pytest.fixture
def settings() -> WorkerSettings:
    """Settings with a Redis that is away."""
    return WorkerSettings(redis_url="redis://127.0.0.1:1/0")


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """``queue("text", …, priority=)`` stores posts with these texts and puts them on the queue; returns their ids."""
    count = 0

    def put(
        *texts: str, priority: Priority = Priority.LIVE, posted_at: datetime = NOON, revision: str = REVISION
    ) -> list[str]:
        nonlocal count
        posts = [Post(f"test:{count + n}", "test", text, "en", posted_at) for n, text in enumerate(texts)]
        count += len(texts)
        with transaction(engine) as connection:
            insert_posts(connection, posts)
            jobs.enqueue(connection, [post.id for post in posts], revision, priority)
        return [post.id for post in posts]

    with transaction(engine) as connection:
        revisions.register(connection, REVISION, {})
    return put


@pytest.fixture
def scorer() -> FakeScorer:
    """A scorer that answers by rule."""
    return FakeScorer(REVISION)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of this test's own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def runner(engine: Engine, scorer: FakeScorer, settings: WorkerSettings, metrics: Metrics) -> Runner:
    """A runner on a fresh database."""
    return Runner(engine, scorer, settings, metrics)


@pytest.fixture
def stored(engine: Engine) -> list[str]:
    """Twelve posts a minute apart, two of them at the same moment, every third about BTC."""
    posts = [
        Post(
            f"p:{n:02}",
            "even" if n % 2 == 0 else "odd",
            f"words {n}",
            "en",
            NOON + timedelta(minutes=n - (n == 5)),
            ("BTC/USDT",) if n % 3 == 0 else (),
        )
        for n in range(12)
    ]
    with transaction(engine) as connection:
        insert_posts(connection, posts)
        revisions.register(connection, REVISION, {})
    return [post.id for post in posts]
