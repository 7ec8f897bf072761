"""Rescore runs: fed piece by piece, paused and resumed, one verdict per post and revision; and the commands for them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from db.engine import transaction
from db.queries import comparison, rescore, revisions
from db.queries.posts import insert_posts
from domain.errors import InputError
from domain.types import Post
from tests.fakes.scoring import FakeScorer
from tests.workers.conftest import NOON
from workers import cli
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

R = "fake"


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
        revisions.register(connection, R, {})
    return [post.id for post in posts]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescore, "PIECE", 2)


def begin(engine: Engine, **filters: Any) -> int:
    with transaction(engine) as connection:
        return rescore.begin(connection, R, rescore.Filters(**filters), "ada")


def work(engine: Engine, runner: Runner, run: int, window: int = 4, turns: int = 20) -> rescore.Progress:
    """Feed and score by turns until the run ends, or ``turns`` are over."""
    for _ in range(turns):
        with transaction(engine) as connection:
            rescore.feed(connection, R, window)
        runner.drain()
        found = look(engine, run)
        if found.state != "running":
            return found
    return look(engine, run)


def look(engine: Engine, run: int) -> rescore.Progress:
    with transaction(engine) as connection:
        found = rescore.progress(connection, run)
    assert found is not None
    return found


def verdicts(engine: Engine) -> list[str]:
    with transaction(engine) as connection:
        return list(connection.execute(text("select post_id from verdicts order by 1")).scalars())


def test_every_post_is_scored_once(engine: Engine, runner: Runner, stored: list[str], scorer: FakeScorer) -> None:
    """A run passes all posts, in order of posting, and ends by itself; a second run finds nothing left to score."""
    assert work(engine, runner, begin(engine)).state == "done"
    assert verdicts(engine) == stored
    again = work(engine, runner, begin(engine))
    assert (again.state, again.fed, again.enqueued) == ("done", 12, 0)
    assert sum(len(batch) for batch in scorer.batches) == 12


def test_a_run_keeps_a_bounded_window_on_the_queue(engine: Engine, stored: list[str]) -> None:
    """Feeding stops at the window and goes on only when half of it has been scored."""
    run = begin(engine)
    with transaction(engine) as connection:
        assert rescore.feed(connection, R, window=4) == 4
        assert rescore.feed(connection, R, window=4) == 0
    assert (look(engine, run).waiting, look(engine, run).done) == (4, 0)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"source": "even"}, 6),
        ({"symbol": "BTC/USDT"}, 4),
        ({"since": NOON + timedelta(minutes=10)}, 2),
        ({"until": NOON + timedelta(minutes=4)}, 4),
        ({"limit": 3}, 3),
        ({"source": "even", "symbol": "BTC/USDT", "limit": 1}, 1),
    ],
)
def test_filters_choose_posts(
    engine: Engine, runner: Runner, stored: list[str], filters: dict[str, Any], count: int
) -> None:
    """What is counted beforehand is what gets scored."""
    found = work(engine, runner, begin(engine, **filters))
    assert (found.total, found.fed, found.state) == (count, count, "done")
    assert len(verdicts(engine)) == count


def test_pause_resume_and_cancel(engine: Engine, runner: Runner, stored: list[str]) -> None:
    """A paused run leaves nothing on the queue and continues where it was; a cancelled one keeps its verdicts."""
    run = begin(engine)
    with transaction(engine) as connection:
        rescore.feed(connection, R, 4)
        assert rescore.pause(connection, run)
        assert not rescore.pause(connection, run)
    assert runner.drain() == 0
    with transaction(engine) as connection:
        assert rescore.resume(connection, run)
    assert runner.drain() == 4
    with transaction(engine) as connection:
        rescore.feed(connection, R, 4)
        assert rescore.cancel_run(connection, run)
    assert runner.drain() == 0
    assert len(verdicts(engine)) == 4
    assert look(engine, run).state == "cancelled"


def test_two_feeders_do_not_feed_the_same_run(engine: Engine, stored: list[str]) -> None:
    """The run's row is locked by the first; the second passes on."""
    begin(engine)
    with engine.connect() as one, engine.connect() as two:
        assert rescore.feed(one, R, 4) == 4
        assert rescore.feed(two, R, 4) == 0


def test_a_challenger_is_compared_with_the_champion(
    engine: Engine, runner: Runner, stored: list[str], settings: WorkerSettings, metrics: Metrics
) -> None:
    """Shadow verdicts stand beside the champion's, whose answers people keep seeing; the report counts both."""
    work(engine, runner, begin(engine))
    with transaction(engine) as connection:
        revisions.register(connection, "new", {}, shadow=True)
        run = rescore.begin(connection, "new", rescore.Filters(limit=5), "ada")
        rescore.feed(connection, "new", 100)
    Runner(engine, FakeScorer("new"), settings, metrics).drain()
    with transaction(engine) as connection:
        report = comparison.compare(connection, R, "new")
    assert look(engine, run).done == 5
    assert (report["posts"], report["label_agreement"], report["changed_labels"]) == (5, 1.0, [])
    assert report["band_width_a"] == 2.0


def call(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


@pytest.mark.usefixtures("_environment", "stored")
def test_the_commands_begin_show_and_end_a_run() -> None:
    """Counting only, starting, status as JSON, pausing and cancelling, each with its words or JSON."""
    counted = json.loads(call("rescore", "--dry-run", "--source", "even", "--json").stdout)
    assert counted == {"posts": 6, "revision": R, "dry_run": True}
    started = call("rescore", "--detach", "--limit", "5", "--json")
    body = json.loads(started.stdout)
    assert (body["total"], body["state"], body["done"]) == (5, "running", 0)
    assert "No worker scores with revision" in started.stderr
    assert "(paused)" in call("rescore", "pause").stdout
    assert "(running)" in call("rescore", "resume", str(body["id"])).stdout
    assert "(cancelled)" in call("rescore", "cancel").stdout
    refused = call("rescore", "resume")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception) == "Cannot resume: run 1 is cancelled."


@pytest.mark.usefixtures("_environment", "stored")
def test_promotion_and_roll_back_say_who_and_why(engine: Engine) -> None:
    """The champion changes by command, with a reason, and back again."""
    with transaction(engine) as connection:
        revisions.register(connection, "new", {}, shadow=True)
    assert "in place of fake" in call("promote", "new", "--why", "better", "--by", "ada").stdout
    assert "in place of new" in call("rollback", "--why", "worse after all", "--by", "ada").stdout
    listed = json.loads(call("revisions", "--json").stdout)
    assert {row["revision"]: row["state"] for row in listed} == {"fake": "champion", "new": "retired"}
    assert listed[0]["reason"] == "worse after all"
    with pytest.raises(InputError, match="No model revision"), transaction(engine) as connection:
        revisions.change_champion(connection, "nobody", "promote", "ada", "?")
