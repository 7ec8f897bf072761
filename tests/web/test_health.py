"""Probes and figures."""

from __future__ import annotations

from contextlib import closing

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text

from db.engine import DatabaseSettings, make_engine, transaction
from db.queries import streams
from domain.clock import ManualClock
from tests.web.conftest import HERE, NOON, Doors
from web.app import create_app
from web.settings import WebSettings
from workers.client.queue import ScoringClient


def feed_moved(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text(
                "insert into stream_offsets (consumer_group, topic, partition, next_offset, moved_at) "
                "values ('sink', 'candles', 0, 1, :at)"
            ),
            {"at": NOON},
        )


def note_feed(engine: Engine, kind: str) -> None:
    with transaction(engine) as connection:
        streams.note_feed(connection, kind, NOON)


def test_the_process_is_live_whatever_else_is_not(lone_door: TestClient) -> None:
    """Liveness asks nobody."""
    assert lone_door.get("/live").json() == {"live": True}


def test_not_ready_without_a_worker(door: TestClient) -> None:
    """503 with the reason."""
    response = door.get("/ready")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "ok"
    assert "No worker" in response.json()["checks"]["worker"]


@pytest.mark.usefixtures("worker")
def test_ready_with_a_worker_and_a_moving_feed(engine: Engine, door: TestClient, clock: ManualClock) -> None:
    """A feed that is noted must move; a replay that has ended may stand still; none need not move at all."""
    assert door.get("/ready").status_code == 200
    note_feed(engine, "synthetic")
    assert "nothing yet" in door.get("/ready").json()["checks"]["feed"]
    feed_moved(engine)
    ready = door.get("/ready").json()
    assert ready["ready"] is True
    assert ready["checks"] == {"database": "ok", "worker": "ok", "feed": "ok"}
    assert ready["feed"] == {"kind": "synthetic", "since": "2025-01-01T12:00:00Z"}
    clock.advance(600)
    assert "stood still for 600 s" in door.get("/ready").json()["checks"]["feed"]
    note_feed(engine, "replay")
    assert door.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://nobody@127.0.0.1:1/moodtape", "does not answer"),
        ("postgresql://nobody:wrong@{host}/moodtape", "refused the log-in"),
        ("postgresql://{login}/no_such_database", "no such database"),
    ],
)
def test_a_wrong_database_is_told(postgres_url: str, url: str, says: str) -> None:
    """Away, wrong password, wrong name: /ready and the API answer 503 with the sentence, and no secret in it."""
    login = postgres_url.split("//")[1].rpartition("/")[0]
    wrong = url.format(host=login.partition("@")[2], login=login)
    engine = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(wrong)}))
    with (
        closing(ScoringClient(engine)) as queue,
        TestClient(create_app(engine, queue, WebSettings()), base_url=HERE) as door,
    ):
        ready, asked = door.get("/ready"), door.post("/v1/analyze", data={"caption": "x"})
    engine.dispose()
    assert (ready.status_code, asked.status_code) == (503, 503)
    assert says in ready.json()["checks"]["database"]
    assert says in asked.json()["error"]["message"]
    assert "wrong@" not in asked.text


def test_missing_tables_are_told(postgres_url: str) -> None:
    """A database that was never migrated is not ready."""
    engine = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(postgres_url)}))
    with (
        closing(ScoringClient(engine)) as queue,
        TestClient(create_app(engine, queue, WebSettings()), base_url=HERE) as door,
    ):
        assert "tables are missing" in door.get("/ready").json()["checks"]["database"]
    engine.dispose()


def test_figures_count_by_route_not_by_path(doors: Doors) -> None:
    """Strangers' paths do not become labels."""
    door = doors()
    door.get("/v1/posts/one")
    door.get("/v1/posts/two")
    door.get("/wp-login.php")
    figures = door.get("/metrics").text
    assert 'moodtape_http_requests_total{method="GET",route="/v1/posts/{post_id}",status="404"} 2.0' in figures
    assert 'route="other"' in figures
    assert "wp-login" not in figures
