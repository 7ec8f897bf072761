"""The scoring queue's rows: put on, taken off, finished, failed; :mod:`db.queries.claims` says which come next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

COUNTED = 10_000
"""Backlogs are counted up to here, unless a higher bound is asked for; longer ones are just long."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs of one priority that wait: how many (as far as they were counted), and since when the oldest."""

    priority: int
    posts: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class JobState:
    """Where a job stands: ``waiting``, ``paused``, ``done``, ``failed``, ``cancelled``; ``error`` is JSON."""

    state: str
    error: str | None


def enqueue(
    connection: Connection,
    post_ids: Sequence[str],
    revision: str,
    priority: int,
    requester: str | None = None,
    run_id: int | None = None,
) -> int:
    """Put posts on the queue; returns how many now wait because of it. Unknown posts are passed over.

    A job that failed, was cancelled or is paused waits again; one that waits with less haste moves forward. For people
    (priority 0) a finished job waits again when its answer lacked the market, which may be known by now. Rows that a
    worker is scoring are left alone rather than waited for.
    """
    ids = list(dict.fromkeys(post_ids))
    values = {"ids": ids, "revision": revision, "priority": int(priority), "requester": requester, "run": run_id}
    if not ids:
        return 0
    fresh = connection.execute(text(_ENQUEUE), values).scalars().all()
    if len(fresh) == len(ids):
        return len(fresh)
    return len(fresh) + connection.execute(text(_REVIVE), values).rowcount


_ENQUEUE = """
insert into jobs (post_id, revision, priority, requester, run_id)
select p.id, :revision, :priority, :requester, :run
from unnest(cast(:ids as text[])) with ordinality u(id, n) join posts p on p.id = u.id order by u.n
on conflict (post_id, revision) do nothing returning id
"""

_REVIVE = """
update jobs set state = 'waiting', priority = least(priority, :priority), attempts = 0, error = null,
    requester = coalesce(:requester, requester), run_id = coalesce(:run, run_id), finished_at = null,
    submitted_at = case when state = 'waiting' then submitted_at else now() end, rung_at = now()
where id in (
    select j.id from jobs j left join verdicts v on v.post_id = j.post_id and v.revision = j.revision
    where j.post_id = any(:ids) and j.revision = :revision
      and (j.state in ('failed', 'cancelled', 'paused')
           or (j.state = 'waiting' and j.priority > :priority)
           or (j.state = 'done' and (v.post_id is null or (:priority = 0 and v.answer ->> 'trajectories' is null))))
    order by j.id for update of j skip locked)
"""


def job_state(connection: Connection, post_id: str, revision: str) -> JobState | None:
    """Where the job of a post and revision stands; None when there is none."""
    row = connection.execute(
        text("select state, error from jobs where post_id = :post and revision = :revision"),
        {"post": post_id, "revision": revision},
    ).first()
    return None if row is None else JobState(row.state, row.error)


def awaited(connection: Connection, post_id: str, champion: str) -> tuple[str, JobState] | None:
    """Revision and state of the job whose verdict people wait for; None when there is none.

    After a promotion or a roll-back that is still the job they were promised, of the champion of that moment, unless
    the present champion has answered too. Challengers' jobs are nobody's answer; one that was cancelled because the
    champion's stands beside it counts last.
    """
    row = connection.execute(text(_AWAITED), {"post": post_id, "champion": champion}).first()
    return None if row is None else (row.revision, JobState(row.state, row.error))


_AWAITED = """
select revision, state, error from jobs j where post_id = :post
  and not exists (select from model_revisions r where r.revision = j.revision and r.state = 'shadow')
order by revision = :champion and state = 'done' desc, revision <> :champion and state in ('cancelled', 'paused'),
    priority, submitted_at desc, id desc limit 1
"""


def cancel(connection: Connection, post_ids: Sequence[str]) -> int:
    """Cancel jobs that wait and are not being scored; returns how many. Listeners are told."""
    return connection.execute(
        text(
            """
            with gone as (
                update jobs set state = 'cancelled', finished_at = now() where id in (
                    select id from jobs where post_id = any(:ids) and state = 'waiting' for update skip locked)
                returning post_id)
            select pg_notify('verdicts', post_id) from gone
            """
        ),
        {"ids": list(post_ids)},
    ).rowcount


def backlog(connection: Connection, revision: str, most: int = COUNTED) -> list[Waiting]:
    """What waits for a revision, per priority 0, 1, 2, counted up to ``most`` posts of each."""
    rows = connection.execute(
        text(
            """
            select p.priority, w.posts, w.oldest from generate_series(0, 2) p(priority), lateral (
                select count(*) as posts, min(submitted_at) as oldest from (
                    select submitted_at from jobs
                    where state = 'waiting' and priority = p.priority and revision = :revision
                    order by id limit :most) j) w
            order by 1
            """
        ),
        {"revision": revision, "most": most},
    )
    return [Waiting(r.priority, r.posts, r.oldest) for r in rows]


def waiting_of(connection: Connection, requester: str) -> int:
    """Interactive posts of one requester that wait."""
    return int(
        connection.execute(
            text("select count(*) from jobs where state = 'waiting' and priority = 0 and requester = :who"),
            {"who": requester},
        ).scalar_one()
    )


DEATHS = 5
"""A job that this many batches have died with is failed."""


def hold_batch(connection: Connection) -> int:
    """A number for the batch about to be scored, held as alive for as long as this transaction lives."""
    batch = int(connection.execute(text("select nextval('batches_id_seq')")).scalar_one())
    connection.execute(text("select pg_advisory_xact_lock(:space, :batch)"), {"space": SPACE, "batch": batch % 2**31})
    return batch


def note_batch(connection: Connection, batch: int, job_ids: Sequence[int]) -> None:
    """Write down which jobs are in the air; to be committed on a connection of its own before they are scored."""
    connection.execute(text("set local synchronous_commit = off"))
    connection.execute(
        text("insert into batches (id, job_ids) overriding system value values (:batch, :ids)"),
        {"batch": batch, "ids": list(job_ids)},
    )


def close_batch(connection: Connection, batch: int) -> None:
    """The batch ended well; in the transaction of its verdicts."""
    connection.execute(text("delete from batches where id = :batch"), {"batch": batch})


SPACE = 0x6D74
"""First key of the advisory locks of batches."""


def expire_batches(connection: Connection, error: str) -> tuple[int, int]:
    """Count a death for the jobs of batches whose transaction is gone; returns (jobs counted, jobs failed).

    A job that somebody holds at this moment, such as the next worker that took it, stays in its batch and is counted
    the next time: a post that kills every process is found out, however soon it is taken again.
    """
    dead = connection.execute(
        text(
            "select id, job_ids from batches "
            "where pg_try_advisory_xact_lock(:space, cast(id % 2147483648 as int)) for update skip locked"
        ),
        {"space": SPACE},
    ).all()
    if not dead:
        return 0, 0
    ids = sorted({job for batch in dead for job in batch.job_ids})
    counted = connection.execute(
        text(
            "update jobs set attempts = attempts + 1 where id in "
            "(select id from jobs where id = any(:ids) and state = 'waiting' order by id for update skip locked) "
            "returning id, attempts"
        ),
        {"ids": ids},
    ).all()
    held = {"ids": sorted(set(ids) - {row.id for row in counted}), "batches": [batch.id for batch in dead]}
    connection.execute(text(_KEEP_HELD), held)
    connection.execute(text("delete from batches where id = any(:batches) and job_ids = '{}'"), held)
    dying = [(row.id, error) for row in counted if row.attempts >= DEATHS]
    fail(connection, dying)
    return len(counted), len(dying)


_KEEP_HELD = """
update batches b set job_ids = array(
    select j.id from jobs j where j.id = any(b.job_ids) and j.id = any(:ids) and j.state = 'waiting' order by j.id)
where b.id = any(:batches)
"""


def finish(connection: Connection, job_ids: Iterable[int]) -> None:
    """Mark claimed jobs as done."""
    connection.execute(
        text("update jobs set state = 'done', error = null, finished_at = clock_timestamp() where id = any(:ids)"),
        {"ids": list(job_ids)},
    )


def fail(connection: Connection, failures: Sequence[tuple[int, str]]) -> None:
    """Mark jobs as failed with an error each, and tell the listeners."""
    if not failures:
        return
    connection.execute(
        text(
            """
            with failed as (
                update jobs j set state = 'failed', error = f.error, finished_at = clock_timestamp()
                from unnest(cast(:ids as bigint[]), cast(:errors as text[])) f(id, error)
                where j.id = f.id returning j.post_id)
            select pg_notify('verdicts', post_id) from failed
            """
        ),
        {"ids": [i for i, _ in failures], "errors": [e for _, e in failures]},
    )


def more_waits(connection: Connection, revision: str, held: Sequence[int] = ()) -> bool:
    """Whether anything waits beside the jobs held here (another worker may hold it; that costs one empty ring)."""
    query = "select 1 from jobs where state = 'waiting' and revision = :revision and id <> all(:held) limit 1"
    return connection.execute(text(query), {"revision": revision, "held": list(held)}).first() is not None


def ring_due(connection: Connection, revision: str, age: float) -> int | None:
    """Priority of the most urgent job that nobody holds and nobody has rung for in ``age`` seconds; None if none.

    At most 100 jobs are marked as rung: one ring wakes a worker, which then takes whatever waits.
    """
    rows = connection.execute(
        text(
            """
            update jobs set rung_at = now() where id in (
                select id from jobs
                where state = 'waiting' and revision = :revision and rung_at < now() - make_interval(secs => :age)
                order by priority, id limit 100 for update skip locked)
            returning priority
            """
        ),
        {"revision": revision, "age": age},
    ).scalars()
    return min(rows, default=None)


def adopt(connection: Connection, revision: str, silence: float) -> int:
    """Take over jobs of retired revisions that no process scores any more; those already known for this one are cancelled.

    Jobs of a rescore run stay: who asked for verdicts of one revision is not served by those of another.
    """
    return connection.execute(
        text(
            """
            with orphans as (
                select id, post_id from jobs j where state = 'waiting' and revision <> :revision
                  and run_id is null
                  and not exists (select from scorers s where s.revision = j.revision
                                  and s.beat_at > now() - make_interval(secs => :silence))
                  and not exists (select from model_revisions r where r.revision = j.revision
                                  and r.state in ('shadow', 'champion'))
                order by id limit 5000 for update of j skip locked),
            doubled as (
                update jobs set state = 'cancelled', finished_at = now() where id in (
                    select o.id from orphans o join jobs j on j.post_id = o.post_id and j.revision = :revision)
                returning id)
            update jobs set revision = :revision, rung_at = now()
            where id in (select min(id) from orphans where id not in (select id from doubled) group by post_id)
            """
        ),
        {"revision": revision, "silence": silence},
    ).rowcount
