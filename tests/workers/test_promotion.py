"""Who waits while the champion changes, on a real PostgreSQL; Redis is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.verdicts import upsert_verdicts
from domain.errors import Unavailable
from tests.fakes.answers import verdict
from tests.workers.conftest import REVISION
from workers.client.queue import Priority, ScoringClient
from workers.settings import WorkerSettings


@pytest.fixture
def client(engine: Engine, settings: WorkerSettings) -> Iterator[ScoringClient]:
    """A door's client."""
    client = ScoringClient(engine, settings)
    yield client
    client.close()


def promote(engine: Engine, client: ScoringClient, revision: str) -> None:
    """A challenger becomes the champion, and the client has noticed."""
    with transaction(engine) as connection:
        revisions.register(connection, revision, {}, shadow=True)
        revisions.change_champion(connection, revision, "promote", "ada", "better")
    client._champion = None


def answer(engine: Engine, post_id: str, revision: str) -> None:
    """A worker with these weights answers."""
    with transaction(engine) as connection:
        upsert_verdicts(connection, [replace(verdict(post_id), revision=revision)])
        connection.execute(
            text("update jobs set state = 'done', finished_at = now() where post_id = :post and revision = :revision"),
            {"post": post_id, "revision": revision},
        )


@pytest.mark.parametrize("rescored", [False, True])
def test_a_promotion_in_mid_flight_costs_no_answer(
    client: ScoringClient, engine: Engine, queue: Any, rescored: bool
) -> None:
    """Who was promised the old champion's verdict gets it, also where the new one's job waits among the rescored."""
    [post] = queue("to the moon", priority=Priority.PEOPLE)
    if rescored:
        with transaction(engine) as connection:
            jobs.enqueue(connection, [post], "r2", Priority.RESCORE)
    promote(engine, client, "r2")
    with pytest.raises(Unavailable):
        client.wait(post, deadline=0.05)
    answer(engine, post, REVISION)
    assert client.wait(post, deadline=5)["revision"] == REVISION
    client.submit([post], priority=Priority.PEOPLE)
    if rescored:
        answer(engine, post, "r2")
    else:
        with pytest.raises(Unavailable):
            client.wait(post, deadline=0.05)
        answer(engine, post, "r2")
    assert client.wait(post, deadline=5)["revision"] == "r2", "who asks after it gets the new champion's"


def test_a_challengers_verdict_and_an_adopted_job_are_not_taken_for_the_answer(
    client: ScoringClient, engine: Engine, queue: Any
) -> None:
    """A shadow's verdict is nobody's answer; a job that its adopter cancelled leaves the champion's to be waited for."""
    [post] = queue("to the moon", priority=Priority.PEOPLE)
    with transaction(engine) as connection:
        revisions.register(connection, "r2", {}, shadow=True)
        jobs.enqueue(connection, [post], "r2", Priority.RESCORE)
    answer(engine, post, "r2")
    with pytest.raises(Unavailable):
        client.wait(post, deadline=0.05)
    promote(engine, client, "r3")
    with transaction(engine) as connection:
        jobs.enqueue(connection, [post], "r3", Priority.LIVE)
        assert jobs.adopt(connection, "r3", silence=60) == 0
        assert jobs.job_state(connection, post, REVISION) == jobs.JobState("cancelled", None)
    answer(engine, post, "r3")
    assert client.wait(post, deadline=5)["revision"] == "r3"
