"""The queue's client and its rows, on a real PostgreSQL; Redis only where its absence matters."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.claims import claim
from db.queries.posts import insert_posts
from domain.errors import Busy, Cancelled, ConfigError, TooLarge, Unavailable
from domain.reasons import Reason
from domain.types import Post
from workers.client.queue import Priority, ScoringClient, error_of, error_text, make_app
from workers.settings import WorkerSettings

R = "r1"
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
LIMITS = (16, 64, 64)


def store(engine: Engine, *ids: str) -> list[str]:
    with transaction(engine) as connection:
        insert_posts(connection, [Post(i, "test", f"words of {i}", "en", NOON) for i in ids])
    return list(ids)


@pytest.fixture
def client(engine: Engine):
    """A client whose Redis is away: nothing listens on that port."""
    with transaction(engine) as connection:
        revisions.register(connection, R, {})
    client = ScoringClient(engine, WorkerSettings(redis_url="redis://127.0.0.1:1/0", max_people=5, max_per_requester=3))
    yield client
    client.close()


def put(engine: Engine, ids: list[str], priority: Priority = Priority.LIVE, requester: str | None = None) -> int:
    with transaction(engine) as connection:
        return jobs.enqueue(connection, ids, R, priority, requester)


def test_a_post_is_enqueued_once(engine: Engine) -> None:
    """The same post submitted twice makes one job; unknown posts make none."""
    ids = store(engine, "a", "b")
    assert put(engine, ids) == 2
    assert put(engine, [*ids, "nobody"]) == 0
    with transaction(engine) as connection:
        assert [(w.priority, w.posts) for w in jobs.backlog(connection, R)] == [(0, 0), (1, 2), (2, 0)]


def test_a_person_moves_a_waiting_post_forward(engine: Engine) -> None:
    """A post waiting for rescoring that a person asks for is served as a person's."""
    ids = store(engine, "a")
    put(engine, ids, Priority.RESCORE)
    assert put(engine, ids, Priority.PEOPLE) == 1
    with transaction(engine) as connection:
        assert [c.priority for c in claim(connection, R, LIMITS)] == [0]


def test_people_come_before_live_before_rescoring(engine: Engine) -> None:
    """A claim takes one priority at a time, the most urgent first."""
    store(engine, "old", "live", "person")
    put(engine, ["old"], Priority.RESCORE)
    put(engine, ["live"], Priority.LIVE)
    put(engine, ["person"], Priority.PEOPLE)
    served = []
    for _ in range(3):
        with transaction(engine) as connection:
            claimed = claim(connection, R, LIMITS)
            served += [c.post_id for c in claimed]
            jobs.finish(connection, [c.id for c in claimed])
    assert served == ["person", "live", "old"]


def test_requesters_take_turns(engine: Engine) -> None:
    """A chat that sends many posts does not push others back."""
    put(engine, store(engine, "a1", "a2", "a3", "a4"), Priority.PEOPLE, "chat-a")
    put(engine, store(engine, "b1"), Priority.PEOPLE, "chat-b")
    with transaction(engine) as connection:
        assert [c.post_id for c in claim(connection, R, (3, 1, 1))] == ["a1", "b1", "a2"]


def serve(engine: Engine, limits: tuple[int, int, int] = (2, 2, 2)) -> list[str]:
    """One batch as a worker does it; returns its posts."""
    with transaction(engine) as connection:
        claimed = claim(connection, R, limits)
        jobs.close_batch(connection, jobs.hold_batch(connection))
        jobs.finish(connection, [c.id for c in claimed])
    return [c.post_id for c in claimed]


def flood(engine: Engine, posts: int, chat: str = "flood") -> None:
    """People's posts of one chat, all waiting."""
    put(engine, store(engine, *(f"{chat}-{n:03}" for n in range(posts))), Priority.PEOPLE, chat)


@pytest.mark.parametrize(("age", "batches"), [(60, 10), (1, 0)])
def test_old_live_posts_have_a_share_of_the_batches(engine: Engine, age: int, batches: int) -> None:
    """Under a flood of people's posts one batch in four is of live posts that have waited long; young ones give way."""
    flood(engine, 100)
    serve(engine)
    put(engine, store(engine, *(f"live-{n:03}" for n in range(40))), Priority.LIVE)
    put(engine, store(engine, "old"), Priority.RESCORE)
    with transaction(engine) as connection:
        connection.execute(text("update jobs set submitted_at = now() - make_interval(secs => :age)"), {"age": age})
    served = [serve(engine) for _ in range(40)]
    assert sum(batch[0].startswith("live") for batch in served) == batches
    assert [post for batch in served for post in batch if post.startswith("live")] == [
        f"live-{n:03}" for n in range(2 * batches)
    ]
    assert all(len({post[:4] for post in batch}) == 1 for batch in served), "a batch has one priority"


def test_a_chat_that_floods_does_not_starve_another(engine: Engine) -> None:
    """Whatever one chat has waiting, another's post is in the next batch, and its ten posts need ten batches of two."""
    flood(engine, 100)
    serve(engine)
    put(engine, store(engine, *(f"calm-{n}" for n in range(10))), Priority.PEOPLE, "calm")
    served = [serve(engine) for _ in range(10)]
    assert [post for batch in served for post in batch if post.startswith("calm")] == [f"calm-{n}" for n in range(10)]
    assert all(sum(post.startswith("calm") for post in batch) == 1 for batch in served)


def test_two_workers_never_hold_the_same_job(engine: Engine) -> None:
    """A claim skips what another open transaction holds, and a rollback frees it."""
    put(engine, store(engine, "a", "b", "c"))
    with engine.connect() as one, engine.connect() as two:
        first = {c.post_id for c in claim(one, R, (2, 2, 2))}
        second = {c.post_id for c in claim(two, R, (2, 2, 2))}
        assert (first, second) == ({"a", "b"}, {"c"})
        one.rollback()
        assert {c.post_id for c in claim(two, R, LIMITS)} == {"a", "b", "c"}


def test_a_post_being_deleted_is_not_claimed(engine: Engine) -> None:
    """A deletion in progress neither blocks the claim nor deadlocks with it, and takes the job along."""
    put(engine, store(engine, "a", "b"))
    with engine.connect() as deleter, engine.connect() as worker:
        deleter.execute(text("select from posts where id = 'a' for update"))
        assert [c.post_id for c in claim(worker, R, LIMITS)] == ["b"]
        worker.rollback()
        deleter.execute(text("delete from posts where id = 'a'"))
        deleter.commit()
    with transaction(engine) as connection:
        assert jobs.job_state(connection, "a", R) is None


def test_a_batch_that_died_is_counted_and_shrinks_until_its_job_fails(engine: Engine) -> None:
    """Each death counts outside the lost transaction; a suspect is soon alone and fails after DEATHS."""
    put(engine, store(engine, *(f"p{n}" for n in range(20))))
    sizes = []
    for _ in range(jobs.DEATHS):
        with engine.connect() as worker:
            claimed = claim(worker, R, LIMITS)
            sizes.append(len(claimed))
            batch = jobs.hold_batch(worker)
            with transaction(engine) as note:
                jobs.note_batch(note, batch, [c.id for c in claimed])
            with transaction(engine) as other:
                assert jobs.expire_batches(other, "error: died") == (0, 0), "a batch that lives does not expire"
        with transaction(engine) as other:
            counted, _ = jobs.expire_batches(other, "error: died")
            assert counted == len(claimed)
    assert sizes == [20, 8, 1, 1, 1]
    with transaction(engine) as connection:
        assert jobs.job_state(connection, "p0", R) == jobs.JobState("failed", "error: died")
        assert jobs.job_state(connection, "p1", R) == jobs.JobState("waiting", None)


def test_a_job_that_is_held_when_its_batch_died_is_counted_later(engine: Engine) -> None:
    """The next worker took it at once: its death is not forgotten, and counts once when it is let go."""
    put(engine, store(engine, "a", "b"))
    with engine.connect() as worker:
        claimed = claim(worker, R, LIMITS)
        batch = jobs.hold_batch(worker)
        with transaction(engine) as note:
            jobs.note_batch(note, batch, [c.id for c in claimed])
    with engine.connect() as following:
        held = following.execute(text("select id from jobs where post_id = 'a' for update")).scalar_one()
        with transaction(engine) as other:
            assert jobs.expire_batches(other, "error: died") == (1, 0)
            assert jobs.expire_batches(other, "error: died") == (0, 0), "still held"
            assert other.execute(text("select job_ids from batches")).scalar_one() == [held]
    with transaction(engine) as other:
        assert jobs.expire_batches(other, "error: died") == (1, 0)
        assert jobs.expire_batches(other, "error: died") == (0, 0)
        attempts = other.execute(text("select post_id, attempts from jobs order by post_id")).all()
        assert [tuple(row) for row in attempts] == [("a", 1), ("b", 1)]


def test_a_full_queue_says_busy_and_for_how_long(client: ScoringClient, engine: Engine) -> None:
    """Back-pressure names the expected wait, in all and per requester."""
    client.submit(store(engine, "a", "b", "c"), priority=Priority.PEOPLE, requester="chat")
    with pytest.raises(Busy) as own:
        client.submit(store(engine, "d"), priority=Priority.PEOPLE, requester="chat")
    assert own.value.retry_after >= 1
    client.submit(store(engine, "e", "f"), priority=Priority.PEOPLE)
    with pytest.raises(Busy, match=r"queue_full \(count 5"):
        client.submit(store(engine, "g"), priority=Priority.PEOPLE)


def test_the_bound_of_live_posts_is_counted_to(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it lies beyond what backlogs are counted to elsewhere."""
    monkeypatch.setattr(jobs, "COUNTED", 2)
    monkeypatch.setattr(jobs.backlog, "__defaults__", (2,))
    with transaction(engine) as connection:
        revisions.register(connection, R, {})
    client = ScoringClient(engine, WorkerSettings(redis_url="redis://127.0.0.1:1/0", max_live=5))
    put(engine, store(engine, "a", "b", "c", "d"))
    with transaction(engine) as connection:
        client.refuse_if_busy(connection, Priority.LIVE)
    put(engine, store(engine, "e"))
    with transaction(engine) as connection, pytest.raises(Busy, match=r"queue_full \(count 5"):
        client.refuse_if_busy(connection, Priority.LIVE)
    client.close()


def test_the_client_works_without_redis(client: ScoringClient, engine: Engine) -> None:
    """Ringing a bell that is away is no error: the job stands in PostgreSQL, due for a worker's own look."""
    assert client.submit(store(engine, "a"), priority=Priority.LIVE) == 1
    with transaction(engine) as connection:
        assert jobs.ring_due(connection, R, age=3600) is None
        assert jobs.ring_due(connection, R, age=-1) == Priority.LIVE


def test_waiting_ends_with_the_error_of_the_job(client: ScoringClient, engine: Engine) -> None:
    """Who waits is woken by the failure and gets it as the error class it was."""
    client.submit(store(engine, "a"), priority=Priority.PEOPLE)
    with transaction(engine) as connection:
        job = claim(connection, R, LIMITS)[0]

    def break_it() -> None:
        with transaction(engine) as connection:
            jobs.fail(connection, [(job.id, error_text(TooLarge(Reason("picture_huge", {"most": 25}))))])

    timer = threading.Timer(0.05, break_it)
    timer.start()
    with pytest.raises(TooLarge, match="picture_huge"):
        client.wait("a", deadline=10)
    timer.join()


def test_waiting_ends_at_the_deadline(client: ScoringClient, engine: Engine) -> None:
    """Without an answer the caller is told so, and the job stays."""
    client.submit(store(engine, "a"), priority=Priority.PEOPLE)
    with pytest.raises(Unavailable, match="no_answer_yet"):
        client.wait("a", deadline=0.05)


def test_a_cancelled_job_is_not_scored_and_may_be_submitted_again(client: ScoringClient, engine: Engine) -> None:
    """Cancelling takes waiting jobs off the queue; a later submit revives them."""
    client.submit(store(engine, "a"), priority=Priority.PEOPLE)
    assert client.cancel(["a"]) == 1
    with transaction(engine) as connection:
        assert claim(connection, R, LIMITS) == []
    with pytest.raises(Cancelled, match="cancelled"):
        client.wait("a", deadline=1)
    assert client.submit(["a"], priority=Priority.PEOPLE) == 1


def test_jobs_of_a_retired_revision_are_adopted_once(engine: Engine) -> None:
    """Jobs for weights that nobody scores with any more move to the worker that is there; doubles are cancelled."""
    ids = store(engine, "a", "b", "c")
    with transaction(engine) as connection:
        jobs.enqueue(connection, ids, "old", Priority.LIVE)
        jobs.enqueue(connection, ["b"], R, Priority.LIVE)
        revisions.beat(connection, "host-1", "old", "cpu", 10.0)
        assert jobs.adopt(connection, R, silence=60) == 0, "a process still scores with the old weights"
        assert jobs.adopt(connection, R, silence=-60) == 2
    with transaction(engine) as connection:
        assert sorted(c.post_id for c in claim(connection, R, LIMITS)) == ids
        assert jobs.job_state(connection, "b", "old") == jobs.JobState("cancelled", None)


@pytest.mark.parametrize("standing", ["champion", "shadow"])
def test_jobs_of_a_champion_or_shadow_that_is_away_wait_for_it(engine: Engine, standing: str) -> None:
    """While their worker starts anew nobody else takes them, however long it is silent."""
    ids = store(engine, "a", "b")
    with transaction(engine) as connection:
        revisions.register(connection, "first", {})
        revisions.register(connection, "away", {}, shadow=standing == "shadow")
        jobs.enqueue(connection, ids, "away", Priority.PEOPLE)
        assert jobs.adopt(connection, R, silence=-60) == 0


def test_errors_keep_their_class_in_the_table() -> None:
    """With their reasons; messages for operators stay in the log; the sentences of version 0.1 are kept."""
    reason = Reason("picture_huge", {"most": 25})
    error = error_of(error_text(TooLarge(reason)))
    assert (type(error), error.reason) == (TooLarge, reason)
    assert json.loads(error_text(error)) == {"error": "too_large", "reason": {"code": "picture_huge", "most": 25}}
    assert error_of(error_text(ConfigError("a setting of ours"))).reason == Reason("not_scored")
    assert error_of(None).reason == Reason("not_scored")
    old = error_of("too_large: Too large: cut it.")
    assert (type(old), old.reason) == (TooLarge, Reason("worded", {"text": "Too large: cut it"}))


def test_the_first_revision_becomes_champion_and_a_change_is_recorded(engine: Engine) -> None:
    """Registering is idempotent; a shadow stays one until promoted; who and why are kept; roll-back leads back."""
    with transaction(engine) as connection:
        assert revisions.register(connection, "r1", {}, shadow=True) == "champion"
        assert revisions.register(connection, "r2", {}, shadow=True) == "shadow"
        assert revisions.change_champion(connection, "r2", "promote", "ada", "better ECE") == "r1"
        assert revisions.champion(connection) == "r2"
        assert revisions.replaced_by(connection, "r2") == "r1"
        row = connection.execute(text("select changed_by, reason from revision_changes order by id desc limit 1")).one()
    assert tuple(row) == ("ada", "better ECE")


def test_celery_keeps_what_a_dying_worker_held() -> None:
    """Late acknowledgement, one message at a time, rings restored every second, and time to finish a batch."""
    app = make_app(WorkerSettings(redis_url="redis://127.0.0.1:1/0", visibility=7))
    conf = app.conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)
    transport = conf.broker_transport_options
    assert transport["visibility_timeout"] == 7
    assert (transport["unacked_restore_interval"], transport["unacked_restore_throttle"]) == (1, 1)
    assert conf.worker_soft_shutdown_timeout > 0
    assert conf.worker_pool == "solo"
