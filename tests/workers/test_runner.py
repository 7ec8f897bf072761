"""One batch after another, on a real PostgreSQL with a scorer that answers by rule."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import jobs
from db.queries.verdicts import answer
from domain.answer import Coverage
from domain.errors import Unavailable
from tests.fakes.scoring import FakeScorer
from workers.client.queue import Priority, ScoringClient
from workers.metrics import Metrics
from workers.runner import Done, Pace, Runner
from workers.service import SecondRunner, run_safely
from workers.settings import WorkerSettings


def value(engine: Engine, query: str) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(query)).scalar()


def test_a_post_becomes_a_verdict(runner: Runner, queue: Any, engine: Engine, settings: WorkerSettings) -> None:
    """What was put on the queue is answered in the one shape, and the client's wait gets it."""
    [post] = queue("to the moon", priority=Priority.PEOPLE)
    assert runner.run_once() == Done(1)
    client = ScoringClient(engine, settings)
    found = client.wait(post, deadline=5)
    client.close()
    assert (found["post_id"], found["revision"], found["emotions"]["label"]) == (post, "fake", "joy")


def test_doorbells_that_come_together_make_one_batch(
    runner: Runner, queue: Any, scorer: FakeScorer, metrics: Metrics
) -> None:
    """The first ring gathers everything; the others find nothing and return at once."""
    posts = queue(*(f"post {n}" for n in range(5)))
    assert [runner.run_once().posts for _ in range(3)] == [5, 0, 0]
    assert scorer.batches == [posts]
    assert metrics.registry.get_sample_value("moodtape_empty_rings_total") == 2


def test_a_batch_is_bounded_and_the_rest_is_rung_for(
    engine: Engine, scorer: FakeScorer, metrics: Metrics, queue: Any
) -> None:
    """More than a batch waits: one is scored, and the bell rings for the others."""
    rung: list[Priority] = []
    settings = WorkerSettings(batch_posts=4)
    runner = Runner(engine, scorer, settings, metrics, ring=rung.append)
    queue(*(f"post {n}" for n in range(10)))
    assert runner.run_once() == Done(4, more=True)
    assert rung == [Priority.LIVE]
    assert runner.drain() == 6
    assert [len(batch) for batch in scorer.batches] == [4, 4, 2]
    assert rung == [Priority.LIVE], "who drains goes on by himself"


def test_only_a_batch_begun_by_a_bell_rings_again(
    engine: Engine, scorer: FakeScorer, metrics: Metrics, queue: Any
) -> None:
    """A backlog worked off by the bell and the second second leaves at most one ring waiting at any time."""
    waiting = 1
    most = 0

    def ring(priority: Priority) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)

    runner = Runner(engine, scorer, WorkerSettings(batch_posts=4), metrics, ring=ring)
    queue(*(f"post {n}" for n in range(40)))
    second = SecondRunner(runner, on_defect=lambda: None)
    second.start()
    while waiting:
        waiting -= 1
        run_safely(runner, on_defect=lambda: None)
    second.stop()
    runner.drain()
    assert most <= 1
    assert value(engine, "select count(*) from verdicts") == 40


def test_a_person_overtakes_a_rescore(engine: Engine, scorer: FakeScorer, metrics: Metrics, queue: Any) -> None:
    """Between two batches of rescoring a person who came meanwhile is served."""
    runner = Runner(engine, scorer, WorkerSettings(batch_posts=2), metrics)
    queue(*(f"old {n}" for n in range(4)), priority=Priority.RESCORE)
    runner.run_once()
    [person] = queue("me first", priority=Priority.PEOPLE)
    runner.drain()
    assert scorer.batches[1] == [person]


def test_a_post_that_breaks_fails_alone(runner: Runner, queue: Any, engine: Engine) -> None:
    """Its neighbours are answered; it keeps its own error."""
    good, bad, last = queue("fine", "FAIL", "fine too")
    assert runner.run_once() == Done(3, failed=1)
    with transaction(engine) as connection:
        assert [answer(connection, post) is not None for post in (good, bad, last)] == [True, False, True]
        state = jobs.job_state(connection, bad, "fake")
    assert state is not None
    assert state.state == "failed"
    assert json.loads(state.error or "") == {"error": "unreadable_image", "reason": {"code": "picture_broken"}}


def test_scoring_again_leaves_one_verdict(runner: Runner, queue: Any, engine: Engine) -> None:
    """A job that is run twice, for whatever reason, writes the same row."""
    queue("again")
    runner.run_once()
    with transaction(engine) as connection:
        connection.execute(text("update jobs set state = 'waiting'"))
    assert runner.run_once() == Done(1)
    assert value(engine, "select count(*) from verdicts") == 1


def test_a_database_error_while_scoring_loses_nothing_and_is_no_death(
    engine: Engine, scorer: FakeScorer, settings: WorkerSettings, metrics: Metrics, queue: Any
) -> None:
    """The server ends our connection in mid-batch: the jobs wait again, uncounted, and the next run answers them."""

    class Cut(FakeScorer):
        def score(self, inputs: Any) -> Any:
            with transaction(engine) as other:
                other.execute(
                    text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where state = 'idle in transaction' and datname = current_database()"
                    )
                )
            return super().score(inputs)

    queue("a", "b")
    runner = Runner(engine, Cut("fake"), settings, metrics)
    with pytest.raises(Unavailable):
        runner.run_once()
    runner._scorer = scorer
    assert runner.run_once() == Done(2)
    with transaction(engine) as connection:
        assert jobs.expire_batches(connection, "error: died") == (0, 0)
    assert value(engine, "select max(attempts) from jobs") == 0


def test_a_forgotten_author_stays_forgotten(
    engine: Engine, settings: WorkerSettings, metrics: Metrics, queue: Any
) -> None:
    """Posts deleted while they are scored take their verdicts along; the neighbour is answered."""

    class Slow(FakeScorer):
        def score(self, inputs: Any) -> Any:
            deletion.start()
            return super().score(inputs)

    def delete() -> None:
        with transaction(engine) as connection:
            connection.execute(text("delete from posts where id = :id"), {"id": gone})

    gone, kept = queue("forget me", "keep me")
    deletion = threading.Thread(target=delete)
    runner = Runner(engine, Slow("fake"), settings, metrics)
    assert runner.run_once() == Done(2)
    deletion.join(timeout=10)
    assert value(engine, "select string_agg(post_id, ',') from verdicts") == kept
    assert value(engine, f"select count(*) from jobs where post_id = '{gone}'") == 0


def test_predictions_are_written_only_while_the_outcome_is_open(runner: Runner, queue: Any, engine: Engine) -> None:
    """A live post of now is a prediction; an old one and a rescored one are not."""
    now = datetime.now(UTC)
    [live] = queue("now", posted_at=now)
    queue("long ago", posted_at=now - timedelta(days=1))
    queue("rescored", posted_at=now, priority=Priority.RESCORE)
    runner.drain()
    with transaction(engine) as connection:
        rows = connection.execute(text("select post_id, due_at, end_low, end_high from predictions")).all()
    assert [(row.post_id, row.end_low, row.end_high) for row in rows] == [(live, -1.0, 1.0)]
    assert timedelta(minutes=256) <= rows[0].due_at - now <= timedelta(minutes=258)


def test_the_pace_follows_what_batches_take() -> None:
    """Full quick batches let the next be larger, slow ones smaller; each priority has its own bound."""
    pace = Pace(seconds=0.4, most=256)
    assert pace.limits() == (16, 16, 16)
    for _ in range(12):
        pace.note(2, pace.limits()[2], 0.05)
        pace.note(0, pace.limits()[0], 0.1 * pace.limits()[0])
    assert pace.limits() == (4, 16, 256)


def test_fixed_costs_do_not_shrink_batches_to_nothing() -> None:
    """Where most of a batch's time does not depend on its size, small batches would only make it worse."""
    pace = Pace(seconds=0.4, most=256)
    for _ in range(20):
        posts = pace.limits()[1]
        pace.note(1, posts, 0.7 + 0.001 * posts)
    assert pace.limits()[1] == 12
    for _ in range(20):
        posts = pace.limits()[1]
        pace.note(1, posts, 0.05 + 0.002 * posts)
    assert 150 <= pace.limits()[1] <= 180
    pace.note(1, 1, 0.06)
    assert pace.limits()[1] >= 150, "a batch that was not full says nothing against larger ones"
    assert pace.rate > 0


def test_a_second_lane_claims_and_writes_while_the_models_work(
    engine: Engine, metrics: Metrics, queue: Any, settings: WorkerSettings
) -> None:
    """A second batch is claimed and prepared meanwhile, the models see one at a time, and every post has one verdict."""
    inside: list[int] = []
    prepared: list[int] = []
    overlapped = threading.Event()

    class Watched(FakeScorer):
        def prepare(self, inputs: Any) -> Any:
            prepared.append(len(inputs))
            if len(prepared) == 2:
                overlapped.set()
            return super().prepare(inputs)

        def score(self, inputs: Any) -> Any:
            inside.append(1)
            assert len(inside) == 1, "the models serve one batch at a time"
            if len(self.batches) == 0:
                assert overlapped.wait(10), "nobody prepared the next batch meanwhile"
            result = super().score(inputs)
            inside.pop()
            return result

    queue(*(f"post {n}" for n in range(20)))
    runner = Runner(engine, Watched("fake"), WorkerSettings(batch_posts=4), metrics)
    second = SecondRunner(runner, on_defect=lambda: None)
    second.start()
    runner.drain()
    second.stop()
    assert value(engine, "select count(*) from verdicts") == 20
    assert value(engine, "select count(*) from jobs where state <> 'done'") == 0


def test_a_defect_of_the_models_ends_the_process(
    engine: Engine, settings: WorkerSettings, metrics: Metrics, queue: Any
) -> None:
    """Not a post's fault but the models': the process is told to end, and the death counts for the batch."""

    class Broken(FakeScorer):
        def score(self, inputs: Any) -> Any:
            raise RuntimeError("the device is gone")

    queue("a")
    ended: list[bool] = []
    assert run_safely(Runner(engine, Broken("fake"), settings, metrics), lambda: ended.append(True)) == Done(0)
    assert ended == [True]
    with transaction(engine) as connection:
        assert jobs.expire_batches(connection, "error: died") == (1, 0)


def test_metrics_say_how_the_bands_of_a_market_held(metrics: Metrics) -> None:
    """Live and replayed apart; before anything is scored only the number, 0, is given."""
    metrics.held("BTC/USDT", Coverage(0.8), replayed=False)
    metrics.held("BTC/USDT", Coverage(0.8, 0.75, 12), replayed=True)
    live, played = ({"symbol": "BTC/USDT", "feed": feed} for feed in ("live", "replay"))
    read = metrics.registry.get_sample_value
    assert (read("moodtape_band_scored", live), read("moodtape_band_coverage", live)) == (0, None)
    assert (read("moodtape_band_scored", played), read("moodtape_band_coverage", played)) == (12, 0.75)
