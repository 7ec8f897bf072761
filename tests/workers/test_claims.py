"""What a batch may hold beside its number of posts, on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.claims import claim
from db.queries.posts import insert_posts, store_image
from domain.types import ImageRef, Post
from tests.fakes.scoring import FakeScorer
from workers.client.queue import Priority
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

R = "fake"
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
PICTURE = ImageRef("0" * 64, "image/png", 1024, 1024)


def put(engine: Engine, kinds: str, priority: Priority = Priority.LIVE) -> list[str]:
    """One waiting post per letter, ``p`` with a picture and ``t`` without."""
    posts = [
        Post(f"{kind}{n:02}", "test", "words", "en", NOON, image=PICTURE if kind == "p" else None)
        for n, kind in enumerate(kinds)
    ]
    with transaction(engine) as connection:
        revisions.register(connection, R, {})
        store_image(connection, PICTURE, b"picture")
        insert_posts(connection, posts)
        jobs.enqueue(connection, [post.id for post in posts], R, priority, "chat")
    return [post.id for post in posts]


@pytest.mark.parametrize("priority", list(Priority))
def test_a_batch_ends_before_it_holds_too_many_pictures(engine: Engine, priority: Priority) -> None:
    """Order is kept, and what is beyond the last picture that fits is free for another worker at once."""
    ids = put(engine, "tptpptptt", priority)
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        taken = [[c.post_id for c in claim(wire, R, (64, 64, 64), 2)] for wire in (one, two, three)]
    assert taken == [ids[:4], ids[4:9], []]


def test_a_batch_without_many_pictures_is_as_long_as_before(engine: Engine) -> None:
    """The number of posts bounds it as ever, and smaller batches of people are untouched."""
    ids = put(engine, "ttptttpt")
    with engine.connect() as one, engine.connect() as two:
        assert [c.post_id for c in claim(one, R, (4, 4, 4), 2)] == ids[:4]
        assert [c.post_id for c in claim(two, R, (2, 2, 2), 2)] == ids[4:6]


def test_a_worker_bounds_the_pictures_of_its_batches(engine: Engine, scorer: FakeScorer, metrics: Metrics) -> None:
    """However much words have raised the number of posts."""
    ids = put(engine, 40 * "p")
    runner = Runner(engine, scorer, WorkerSettings(), metrics)
    runner.pace._limits = [256, 256, 256]
    runner.drain()
    assert scorer.batches == [ids[:16], ids[16:32], ids[32:]]
