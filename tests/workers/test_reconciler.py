"""The reconciler, tick by tick, without a thread."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.claims import claim
from domain.clock import ManualClock
from tests.fakes.scoring import FakeScorer
from tests.workers.conftest import NOON
from workers.client.queue import Priority
from workers.metrics import Metrics
from workers.reconciler import DEAF, Reconciler
from workers.runner import Runner
from workers.settings import WorkerSettings


class Bell:
    """Remembers rings; ``works`` says whether Redis is there."""

    def __init__(self) -> None:
        self.rings: list[Priority] = []
        self.works = True

    def __call__(self, priority: Priority) -> bool:
        self.rings.append(priority)
        return self.works


@pytest.fixture
def clock() -> ManualClock:
    """A clock moved by the test."""
    return ManualClock(NOON)


@pytest.fixture
def bell() -> Bell:
    """A bell that works until told otherwise."""
    return Bell()


@pytest.fixture
def reconciler(engine: Engine, scorer: FakeScorer, metrics: Metrics, clock: ManualClock, bell: Bell) -> Reconciler:
    """A reconciler over a runner with the same clock."""
    settings = WorkerSettings(reconcile_seconds=5)
    runner = Runner(engine, scorer, settings, metrics, clock=clock)
    return Reconciler(engine, runner, settings, metrics, ring=bell, clock=clock)


def age(engine: Engine, seconds: int) -> None:
    with transaction(engine) as connection:
        connection.execute(text("update jobs set rung_at = rung_at - make_interval(secs => :s)"), {"s": seconds})


def test_fresh_jobs_are_left_to_their_own_bell(reconciler: Reconciler, queue: Any, bell: Bell) -> None:
    """Only what has waited longer than the setting is rung for."""
    queue("just now")
    reconciler.tick()
    assert bell.rings == []


def test_a_forgotten_job_is_rung_for_once_per_interval(
    reconciler: Reconciler, queue: Any, engine: Engine, bell: Bell
) -> None:
    """The bell that was lost is rung again, with the most urgent priority, and not at every tick."""
    queue("old")
    queue("person", priority=Priority.PEOPLE)
    age(engine, 6)
    reconciler.tick()
    reconciler.tick()
    assert bell.rings == [Priority.PEOPLE]


def test_without_a_bell_the_reconciler_scores_itself(
    reconciler: Reconciler, queue: Any, engine: Engine, bell: Bell, scorer: FakeScorer
) -> None:
    """Redis away: the jobs are scored all the same."""
    ids = queue("a", "b")
    age(engine, 6)
    bell.works = False
    reconciler.tick()
    assert scorer.batches == [ids]


def test_a_bell_that_nobody_hears_is_not_trusted(
    reconciler: Reconciler, queue: Any, engine: Engine, clock: ManualClock, scorer: FakeScorer
) -> None:
    """Rung, but the consumer is still reconnecting: after a moment the reconciler scores itself."""
    ids = queue("a")
    age(engine, 6)
    clock.advance(1)
    reconciler.tick()
    assert scorer.batches == []
    age(engine, 6)
    clock.advance(DEAF + 0.1)
    reconciler.tick()
    assert scorer.batches == [ids]


def test_it_reports_the_process_and_signs_off(reconciler: Reconciler, queue: Any, engine: Engine) -> None:
    """The process stands among the scorers until it stops."""
    reconciler.tick()
    with transaction(engine) as connection:
        assert [(s.name, s.revision) for s in revisions.scorers(connection)] == [(reconciler.name, "fake")]
    reconciler.stop()
    with transaction(engine) as connection:
        assert revisions.scorers(connection) == []


def test_a_dead_batch_is_buried_and_rung_for(
    reconciler: Reconciler, queue: Any, engine: Engine, bell: Bell, metrics: Metrics
) -> None:
    """What a killed worker left behind is counted and offered again at once."""
    queue("a")
    with engine.connect() as dead:
        [held] = claim(dead, "fake", (9, 9, 9))
        batch = jobs.hold_batch(dead)
        with transaction(engine) as note:
            jobs.note_batch(note, batch, [held.id])
    reconciler.tick()
    assert bell.rings == [Priority.LIVE]
    assert metrics.registry.get_sample_value("moodtape_batch_deaths_total") == 1


def test_metrics_tell_how_old_the_queue_is(reconciler: Reconciler, queue: Any, metrics: Metrics) -> None:
    """Posts waiting and the age of the oldest, per priority."""
    queue("a", "b", priority=Priority.RESCORE)
    reconciler.tick()
    assert metrics.registry.get_sample_value("moodtape_queue_posts", {"priority": "rescore"}) == 2
    assert metrics.registry.get_sample_value("moodtape_queue_posts", {"priority": "people"}) == 0


def test_only_the_champions_worker_adopts(reconciler: Reconciler, queue: Any, engine: Engine) -> None:
    """A shadow beside a champion that is away leaves jobs of retired weights to the champion."""
    with transaction(engine) as connection:
        revisions.register(connection, "champion", {})
        revisions.register(connection, "fake", {}, shadow=True)
    [post] = queue("for old weights")
    with transaction(engine) as connection:
        connection.execute(text("update jobs set revision = 'retired'"))
    reconciler.tick()
    with transaction(engine) as connection:
        assert jobs.job_state(connection, post, "retired") == jobs.JobState("waiting", None)
        revisions.change_champion(connection, "fake", "promote", "ada", "better")
    reconciler._last.clear()
    reconciler.tick()
    with transaction(engine) as connection:
        assert jobs.job_state(connection, post, "fake") is not None


def test_models_that_break_in_the_reconciler_end_the_process(
    reconciler: Reconciler, queue: Any, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bell the reconciler scores; a defect then is told and leaves no thread that only seems to work."""
    ended: list[bool] = []
    reconciler._on_defect = lambda: ended.append(True)

    def breaks() -> int:
        raise MemoryError

    monkeypatch.setattr(reconciler._runner, "drain", breaks)
    bell.works = False
    queue("a", priority=Priority.PEOPLE)
    monkeypatch.setattr(jobs, "ring_due", lambda *_: 0)
    reconciler._work()
    assert ended == [True]
    assert not reconciler.healthy


def test_the_library_grows_beside_endless_work(
    reconciler: Reconciler, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is never idle takes new windows in once a minute; what they break does not stop it."""
    grown: list[float] = []

    def refresh() -> None:
        grown.append(clock.monotonic())
        raise ValueError("an outcome is not finite")

    reconciler._refresh = refresh
    monkeypatch.setattr(Runner, "busy", property(lambda _: True))
    for _ in range(130):
        reconciler.tick()
        clock.advance(1)
    assert len(grown) == 3
