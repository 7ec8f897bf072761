"""The rescore run on the page: how it stands, and who may steer it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import rescore, revisions
from db.queries.posts import insert_posts
from db.queries.verdicts import upsert_verdicts, verdicts_of
from domain.types import Post
from tests.fakes.answers import REVISION, verdict
from tests.web.conftest import NOON, Doors


@pytest.fixture
def run(engine: Engine) -> int:
    """A run over three posts, all of them on the queue."""
    with transaction(engine) as connection:
        insert_posts(connection, [Post(f"p:{n}", "test", f"words {n}", "en", NOON) for n in range(3)])
        number = rescore.begin(connection, REVISION, rescore.Filters(), "ada")
        rescore.feed(connection, REVISION, 10)
    return number


def test_there_may_be_no_run(door: TestClient) -> None:
    """Nothing to show is no error; steering what is not there is."""
    assert door.get("/v1/rescore").json() == {"run": None}
    refused = door.post("/v1/rescore/1/pause")
    assert (refused.status_code, refused.json()["error"]["message"]) == (404, "There is no rescore run 1.")


def test_a_run_is_shown_and_steered(door: TestClient, run: int) -> None:
    """Counts, rate and state; pause, resume and cancel each once, and what cannot be is said."""
    shown = door.get("/v1/rescore").json()["run"]
    assert {name: shown[name] for name in ("id", "state", "total", "done", "revision", "started_by")} == {
        "id": run, "state": "running", "total": 3, "done": 0, "revision": REVISION, "started_by": "ada",
    }  # fmt: skip
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert door.post(f"/v1/rescore/{run}/{action}").json()["run"]["state"] == state
    refused = door.post(f"/v1/rescore/{run}/pause")
    assert refused.json()["error"]["message"] == f"Cannot pause: run {run} is cancelled."
    assert door.post(f"/v1/rescore/{run}/explode").status_code == 422
    assert door.post("/v1/rescore/0/pause").status_code == 422


def test_strangers_may_not_steer(doors: Doors, run: int) -> None:
    """Not without the key where one is set, not from another page, not by another host name, not by a link."""
    closed, open_ = doors(api_key="a secret key"), doors()
    path = f"/v1/rescore/{run}/cancel"
    assert closed.post(path).status_code == 401
    assert closed.get("/v1/rescore").status_code == 401
    assert open_.post(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert open_.post(path, headers={"Host": "evil.example"}).status_code == 403
    assert open_.get(path).status_code == 405
    assert open_.get("/v1/rescore").json()["run"]["state"] == "running"
    assert closed.post(path, headers={"X-API-Key": "a secret key"}).json()["run"]["state"] == "cancelled"


def test_rescored_posts_are_no_news(engine: Engine, door: TestClient, run: int) -> None:
    """Neither rescored posts nor a challenger's verdicts push aside what the feed brought."""
    with transaction(engine) as connection:
        insert_posts(connection, [Post(f"live:{n}", "test", "words", "en", NOON) for n in range(2)])
        revisions.register(connection, "new", {}, shadow=True)
        said = [verdict(post_id) for post_id in ("live:0", "p:0", "p:1")]
        upsert_verdicts(connection, [*said, replace(verdict("live:1"), revision="new")])
        assert [row["id"] for row in verdicts_of(connection, ["live:0", "live:1", "p:0"])] == ["live:0"]
    assert [item["post_id"] for item in door.get("/v1/latest").json()["items"]] == ["live:0"]
