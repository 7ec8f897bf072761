"""Rescore runs: fed piece by piece, paused and resumed, one verdict per post and revision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import jobs, rescore, revisions
from db.queries import revisions as comparison
from domain.errors import InputError
from tests.fakes.scoring import FakeScorer
from tests.workers.conftest import NOON
from workers.client import rescoring
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

R = "fake"


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
