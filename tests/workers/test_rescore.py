"""Rescore runs: fed piece by piece, paused and resumed, one verdict per post and revision; and the commands for them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from db.engine import transaction
from db.queries import comparison, jobs, rescore, revisions
from db.queries.posts import insert_posts
from domain.errors import InputError
from domain.types import Post
from tests.fakes.scoring import FakeScorer
from tests.workers.conftest import NOON
from workers import cli
from workers.client import rescoring
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
    assert (look(engine, run).done, look(engine, run).seconds_left) == (0, None)
    with transaction(engine) as connection:
        assert rescore.resume(connection, run)
    assert runner.drain() == 4
    assert (look(engine, run).done, look(engine, run).fed) == (4, 4)
    with transaction(engine) as connection:
        rescore.feed(connection, R, 4)
        assert rescore.cancel_run(connection, run)
    assert runner.drain() == 0
    assert len(verdicts(engine)) == 4
    assert (look(engine, run).state, look(engine, run).done) == ("cancelled", 4)


def test_a_run_keeps_its_limit_whatever_was_cancelled_meanwhile(
    engine: Engine, runner: Runner, stored: list[str]
) -> None:
    """A post cancelled by itself stays cancelled over a pause, one that a person asked for counts once, the run ends."""
    run = begin(engine, limit=4)
    with transaction(engine) as connection:
        rescore.feed(connection, R, 4)
        assert jobs.cancel(connection, stored[:1]) == 1
        assert rescore.pause(connection, run)
        assert jobs.enqueue(connection, stored[1:2], R, 0) == 1
        assert rescore.resume(connection, run)
    found = work(engine, runner, run)
    assert (found.state, found.total, found.fed, found.done) == ("done", 4, 4, 4)
    assert verdicts(engine) == stored[1:4]


def test_a_run_that_has_passed_too_many_ends(engine: Engine, runner: Runner, stored: list[str]) -> None:
    """Numbers that an older release left behind stop nothing."""
    run = begin(engine, limit=2)
    with transaction(engine) as connection:
        connection.execute(text("update rescore_runs set fed = 5"))
    assert work(engine, runner, run).state == "done"
    assert verdicts(engine) == []


def test_without_a_number_the_run_that_fits_is_meant(engine: Engine, stored: list[str]) -> None:
    """Runs of one revision follow one another: the one at work is shown and paused, and the paused one resumed."""
    first, second = begin(engine), begin(engine)
    with transaction(engine) as connection:
        assert rescoring.run_of(connection).id == second
        rescore.feed(connection, R, 4)
        assert rescoring.run_of(connection).id == first
        assert rescoring.turn(connection, "pause").id == first
        rescore.feed(connection, R, 4)
        assert rescoring.turn(connection, "resume").id == first
        assert [rescoring.turn(connection, "cancel").state for _ in range(2)] == ["cancelled", "cancelled"]
        with pytest.raises(InputError, match=f"Cannot cancel: run {second} is cancelled"):
            rescoring.turn(connection, "cancel")
    assert (look(engine, first).done, look(engine, second).done) == (4, 0), "what the second took over is its own"


def test_rate_and_time_left_are_of_late(engine: Engine, runner: Runner, stored: list[str]) -> None:
    """A long pause weighs for RECENT seconds only; an ended run shows its mean."""
    run = begin(engine)
    with transaction(engine) as connection:
        rescore.feed(connection, R, 6)
    runner.drain()
    with transaction(engine) as connection:
        connection.execute(text("update rescore_runs set started_at = now() - interval '1 hour'"))
    found = look(engine, run)
    assert found.rate == pytest.approx(6 / rescore.RECENT)
    assert found.seconds_left == pytest.approx(6 / found.rate)
    assert work(engine, runner, run).rate == pytest.approx(12 / 3600, rel=0.01)


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
    (joy,) = [row for row in report["emotions"] if row["emotion"] == "joy"]
    assert {k: joy[k] for k in ("posts", "labelled_a", "labelled_both", "probability_a", "difference")} == {
        "posts": 5, "labelled_a": 5, "labelled_both": 5, "probability_a": 1.0, "difference": 0.0,
    }  # fmt: skip
    assert report["differing"] == []


@pytest.mark.usefixtures("_environment")
def test_the_report_names_what_differs(engine: Engine, runner: Runner, stored: list[str]) -> None:
    """Counts with their n, agreement per emotion, and the posts furthest apart with their words, whatever stands in them."""
    work(engine, runner, begin(engine))
    with transaction(engine) as connection:
        connection.execute(text("update posts set text = 'so [/b] angry' where id = 'p:03'"))
        revisions.register(connection, "new", {}, shadow=True)
        connection.execute(
            text(
                """
                insert into verdicts (post_id, revision, answer) select post_id, 'new', case when post_id > 'p:03' then answer
                else jsonb_set(jsonb_set(jsonb_set(answer, '{emotions,probabilities,anger}', to_jsonb(prior)),
                               '{emotions,probabilities,joy}', to_jsonb(1 - prior)), '{emotions,label}', '"anger"') end
                from verdicts, lateral (select case when post_id = 'p:03' then 0.9 else 0.6 end as prior) p
                """
            )
        )
    body = json.loads(call("revisions", "--compare", "new", "--json").stdout)
    assert (body["posts"], body["outcomes"]) == (12, 0)
    assert body["label_agreement"] == pytest.approx(8 / 12)
    assert body["changed_labels"] == [{"before": "joy", "after": "anger", "posts": 4}]
    assert body["differing"][0] == {
        "post_id": "p:03", "text": "so [/b] angry", "before": "joy", "after": "anger",
        "certainty_before": 1.0, "certainty_after": 0.9, "apart": pytest.approx(0.9),
    }  # fmt: skip
    assert [row["post_id"] for row in body["differing"][1:]] == ["p:00", "p:01", "p:02"]
    shown = call("revisions", "--compare", "new").stdout
    assert "66.7%" in shown
    assert "so [/b] angry" in shown


@pytest.mark.usefixtures("_environment", "stored")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rescore", "--revision", "nobody"], "No model revision nobody is known here, but fake;"),
        (["rescore", "--shadow"], "There are 0 challengers"),
        (["rescore", "--shadow", "--revision", R], "is the champion"),
        (["rescore", "--since", "2025-01-02", "--until", "2025-01-01"], "no post can match"),
        (["rescore", "--since", "yesterday"], "is not a time"),
        (["rescore", "status", "7"], "There is no rescore run 7"),
        (["rescore", "pause"], "There is no rescore run yet"),
        (["revisions", "--compare", "nobody"], "No model revision nobody"),
        (["promote", R, "--why", "again"], "is the champion already"),
        (["promote", "nobody", "--why", "x"], "No model revision nobody"),
        (["promote", R, "--why", " "], "Say why"),
        (["rollback", "--why", "x"], "there is nothing to go back to"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], sentence: str) -> None:
    """One sentence, exit status 2, nothing begun."""
    refused = call(*arguments)
    assert isinstance(refused.exception, InputError)
    assert sentence in str(refused.exception)
    assert call("rescore", "status").exception is not None


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
    assert call("rescore", "--source", "nobody").stdout == "0 posts match; none was queued.\n"
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
    back = json.loads(call("rollback", "--why", "worse after all", "--by", "ada", "--json").stdout)
    assert back == {
        "revision": R, "replaced": "new", "action": "rollback", "changed_by": "ada", "reason": "worse after all",
    }  # fmt: skip
    again = call("rollback", "--why", "once more")
    assert "nothing to go back to" in str(again.exception), "a roll-back does not lead forward again"
    history = json.loads(call("revisions", "--history", "--json").stdout)
    assert [(row["action"], row["revision"], row["replaced"]) for row in history] == [
        ("rollback", R, "new"),
        ("promote", "new", R),
        ("install", R, None),
    ]
    assert "  by ada: worse after all\n" in call("revisions", "--history").stdout
    listed = json.loads(call("revisions", "--json").stdout)
    assert {row["revision"]: row["state"] for row in listed} == {"fake": "champion", "new": "retired"}
    assert listed[0]["reason"] == "worse after all"
    with pytest.raises(InputError, match="No model revision"), transaction(engine) as connection:
        revisions.change_champion(connection, "nobody", "promote", "ada", "?")
