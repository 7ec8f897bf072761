"""The witness of the queue's benchmarks: what it calls doubled, held and dead, and that a benchmark fails by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from benchmarks.queue_stack import Witness
from benchmarks.report import demand
from db.engine import transaction
from db.queries import claims, jobs
from db.queries.verdicts import upsert_verdicts
from tests.fakes.scoring import FakeScorer
from tests.workers.conftest import REVISION, Queue
from workers.inputs import load_inputs
from workers.runner import Runner

pytestmark = pytest.mark.stack
LIMITS = (8, 8, 8)


@pytest.fixture
def witness(engine: Engine) -> Witness:
    return Witness(engine)


def test_a_verdict_written_over_another_counts_as_doubled(engine: Engine, queue: Queue, witness: Witness) -> None:
    """The table holds one row all the same; another revision's verdict of the same post is none of it."""
    queue("a", "b")
    with transaction(engine) as connection:
        inputs = load_inputs(connection, claims.claim(connection, REVISION, LIMITS))
    for scorer in (FakeScorer(REVISION), FakeScorer("other")):
        with transaction(engine) as connection:
            upsert_verdicts(connection, scorer.score(inputs))  # type: ignore[arg-type]
    assert witness.writings() == {"written": 4, "doubled": 0}
    with transaction(engine) as connection:
        upsert_verdicts(connection, FakeScorer(REVISION).score(inputs)[:1])  # type: ignore[arg-type]
    assert witness.writings() == {"written": 5, "doubled": 1}
    assert witness.scalar("select count(*) from verdicts") == 4


def test_a_writing_that_was_rolled_back_counts_as_none(engine: Engine, queue: Queue, witness: Witness) -> None:
    """A worker that dies between its verdicts and its commit has written nothing."""
    queue("a")
    with engine.connect() as connection:
        held_jobs = claims.claim(connection, REVISION, LIMITS)
        upsert_verdicts(connection, FakeScorer(REVISION).score(load_inputs(connection, held_jobs)))  # type: ignore[arg-type]
        connection.rollback()
    assert witness.writings() == {"written": 0, "doubled": 0}


def test_a_batch_is_held_by_its_scorer_and_not_by_who_buries_it(
    engine: Engine, queue: Queue, runner: Runner, witness: Witness
) -> None:
    """Held while its transaction lives; dead when another scorer wrote its verdicts."""
    queue("a", "b", "c")
    with engine.connect() as dying:
        held_jobs = claims.claim(dying, REVISION, LIMITS)
        number = jobs.hold_batch(dying)
        with transaction(engine) as note:
            jobs.note_batch(note, number, [job.id for job in held_jobs])
        (held,) = witness.held()
        assert (held.id, sorted(held.jobs)) == (number, sorted(job.id for job in held_jobs))
        assert held.backend == dying.execute(text("select pg_backend_pid()")).scalar()
        dying.rollback()
        dying.invalidate()
    assert witness.held() == []
    with engine.connect() as grave:
        lock = text("select pg_advisory_xact_lock(:space, :batch)")
        grave.execute(lock, {"space": jobs.SPACE, "batch": number})
        assert witness.held() == []
    assert runner.drain() == 3
    assert witness.died(held)
    writer = witness.scalar("select distinct writer from verdict_log")
    assert not witness.died(replace(held, backend=writer))


def test_a_benchmark_ends_with_1_and_names_what_is_wrong() -> None:
    """Nothing happens while all is 0."""
    demand(lost=0, doubled=0)
    with pytest.raises(SystemExit, match="doubled 2") as ended:
        demand(lost=0, doubled=2)
    assert ended.value.code not in (0, None)
