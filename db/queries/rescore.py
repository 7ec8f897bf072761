"""Rescore runs: which stored posts a revision shall score (again), fed to the queue piece by piece."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from db.queries.jobs import enqueue
from domain.answer import stamp

RESCORE = 2
PIECE = 1_000
PIECES = 50
"""Posts passed at a time, and how often at most in one transaction."""

RECENT = 15
"""Seconds over which the rate of a running run is taken."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which posts: ``since`` ≤ posted_at < ``until``, oldest first, at most ``limit``."""

    since: datetime | None = None
    until: datetime | None = None
    symbol: str | None = None
    source: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands, in posts: ``fed`` of ``total`` have been passed, ``waiting`` of those are on the queue.

    What a pause or the end took off the queue does not count as passed.

    ``rate`` is posts per second: of the last :data:`RECENT` seconds while it runs (pauses and restarts do not count for
    long), over its whole time once it has ended.
    """

    id: int
    revision: str
    state: str
    filters: dict[str, Any]
    total: int
    fed: int
    enqueued: int
    waiting: int
    started_by: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    rate: float

    @property
    def done(self) -> int:
        """Posts that need nothing more."""
        return self.fed - self.waiting

    @property
    def seconds_left(self) -> float | None:
        """Expected, at the present rate; None where nothing moves."""
        return (self.total - self.done) / self.rate if self.state == "running" and self.rate > 0 else None


_MATCHING = """
    from posts p
    where (cast(:since as timestamptz) is null or p.posted_at >= cast(:since as timestamptz))
      and (cast(:until as timestamptz) is null or p.posted_at < cast(:until as timestamptz))
      and (cast(:symbol as text) is null or cast(:symbol as text) = any(p.symbols))
      and (cast(:source as text) is null or p.source = cast(:source as text))
"""


def count(connection: Connection, filters: Filters) -> int:
    """How many stored posts a run would pass."""
    matching = int(connection.execute(text("select count(*) " + _MATCHING), _values(_json(filters))).scalar_one())
    return matching if filters.limit is None else min(matching, filters.limit)


def begin(connection: Connection, revision: str, filters: Filters, started_by: str) -> int:
    """Start a run; returns its number. The workers of that revision feed and score it."""
    return int(
        connection.execute(
            text(
                "insert into rescore_runs (revision, filters, total, started_by) "
                "values (:revision, cast(:filters as jsonb), :total, :by) returning id"
            ),
            {
                "revision": revision,
                "filters": json.dumps(_json(filters)),
                "total": count(connection, filters),
                "by": started_by,
            },
        ).scalar_one()
    )


def feed(connection: Connection, revision: str, window: int) -> int:
    """Put the next posts of this revision's running run on the queue, up to ``window`` waiting; returns how many.

    The cursor moves in the transaction of the jobs, so a crash neither skips nor repeats a post. One feeder at a time:
    the run's row is locked, and another feeder passes it over.
    """
    run = connection.execute(text(_LOCK_RUNNING), {"revision": revision}).first()
    if run is None:
        return 0
    waiting, made, fed, cursor = _count(connection, run.id, "waiting"), 0, run.fed, (run.cursor_at, run.cursor_id)
    if waiting > window // 2:
        return 0
    limit = run.filters.get("limit")
    exhausted = False
    for _ in range(PIECES):
        piece = PIECE if limit is None else max(0, min(PIECE, limit - fed))
        posts = _next(connection, run.filters, cursor, piece)
        made += enqueue(connection, [post.id for post in posts], run.revision, RESCORE, run_id=run.id)
        fed += len(posts)
        cursor = (posts[-1].posted_at, posts[-1].id) if posts else cursor
        exhausted = len(posts) < PIECE
        if exhausted or waiting + made + PIECE > window:
            break
    connection.execute(
        text(
            "update rescore_runs set fed = :fed, enqueued = enqueued + :made, cursor_at = :at, cursor_id = :post, "
            "state = case when :over then 'done' else state end, finished_at = case when :over then now() end "
            "where id = :id"
        ),
        {
            "fed": fed,
            "made": made,
            "at": cursor[0],
            "post": cursor[1],
            "over": exhausted and waiting + made == 0,
            "id": run.id,
        },
    )
    return made


_LOCK_RUNNING = """
select id, revision, filters, fed, cursor_at, cursor_id from rescore_runs
where state = 'running' and revision = :revision order by id limit 1 for update skip locked
"""


def progress(connection: Connection, run_id: int | None = None, states: Sequence[str] | None = None) -> Progress | None:
    """How a run stands, None when there is none: of those in ``states`` the one under way, else the latest.

    Runs of one revision follow one another, so the one under way is not always the newest.
    """
    values = {"id": run_id, "recent": RECENT, "states": None if states is None else list(states)}
    row = connection.execute(text(_PROGRESS), values).first()
    if row is None:
        return None
    waiting = _count(connection, row.id, "waiting")
    fed = row.fed - _count(connection, row.id, "paused")
    lately = row.scored / min(RECENT, max(row.seconds, 1.0)) if row.state == "running" else 0.0
    return Progress(
        id=row.id,
        revision=row.revision,
        state=row.state,
        filters=row.filters,
        total=max(row.total, fed),  # posts that came in after the start are passed too
        fed=fed,
        enqueued=row.enqueued,
        waiting=waiting,
        started_by=row.started_by,
        started_at=row.started_at,
        finished_at=row.finished_at,
        seconds=row.seconds,
        rate=lately or (fed - waiting) / max(row.seconds, 1e-3),
    )


_PROGRESS = """
select r.*, extract(epoch from coalesce(r.finished_at, now()) - r.started_at)::float8 as seconds,
       (select count(*) from verdicts v join jobs j on j.post_id = v.post_id and j.revision = v.revision
        where v.scored_at > greatest(r.started_at, now() - make_interval(secs => :recent))
          and v.revision = r.revision and j.run_id = r.id) as scored
from rescore_runs r where (cast(:id as bigint) is null or r.id = :id)
  and (cast(:states as text[]) is null or r.state = any(cast(:states as text[])))
order by r.state = 'running' and r.fed > 0 desc, r.state in ('running', 'paused') desc, r.id desc limit 1
"""


def pause(connection: Connection, run_id: int) -> bool:
    """Stop a running run and take what waits of it off the queue; whether there was one to stop."""
    if not _change(connection, run_id, ("running",), "paused"):
        return False
    _change_jobs(connection, run_id, ("waiting",), "paused")
    return True


def resume(connection: Connection, run_id: int) -> bool:
    """Let a paused run go on, its jobs with it; whether there was one."""
    if not _change(connection, run_id, ("paused",), "running"):
        return False
    _change_jobs(connection, run_id, ("paused",), "waiting")
    return True


def cancel_run(connection: Connection, run_id: int) -> bool:
    """End a run for good; verdicts it has made stay. Whether there was one to end."""
    if not _change(connection, run_id, ("running", "paused"), "cancelled"):
        return False
    gone = _change_jobs(connection, run_id, ("waiting", "paused"), "cancelled")
    connection.execute(
        text("update rescore_runs set fed = fed - :gone, finished_at = now() where id = :id"),
        {"id": run_id, "gone": gone},
    )
    return True


def _change(connection: Connection, run_id: int, before: Sequence[str], after: str) -> bool:
    """Change the run's state, where it is one of ``before``."""
    query = "update rescore_runs set state = :after where id = :id and state = any(:before)"
    return bool(connection.execute(text(query), {"id": run_id, "before": list(before), "after": after}).rowcount)


def _change_jobs(connection: Connection, run_id: int, before: Sequence[str], after: str) -> int:
    """Change the state of the run's jobs that no worker is scoring; returns how many there were."""
    query = """
        update jobs set state = :after, rung_at = now(), finished_at = case when :after = 'cancelled' then now() end
        where id in (select id from jobs where state = any(:before) and priority = 2 and run_id = :id
                     for update skip locked)
        """
    return connection.execute(text(query), {"id": run_id, "before": list(before), "after": after}).rowcount


def _next(
    connection: Connection, filters: dict[str, Any], cursor: tuple[datetime | None, str | None], piece: int
) -> list[Row[Any]]:
    return list(
        connection.execute(
            text(
                f"select p.id, p.posted_at {_MATCHING} and (cast(:at as timestamptz) is null or (p.posted_at, p.id) > "
                "(cast(:at as timestamptz), cast(:after as text))) order by p.posted_at, p.id limit :piece"
            ),
            {**_values(filters), "at": cursor[0], "after": cursor[1], "piece": piece},
        )
    )


def _count(connection: Connection, run_id: int, state: str) -> int:
    query = "select count(*) from jobs where state = :state and priority = 2 and run_id = :id"
    return int(connection.execute(text(query), {"id": run_id, "state": state}).scalar_one())


def _json(filters: Filters) -> dict[str, Any]:
    return {k: stamp(v) if isinstance(v, datetime) else v for k, v in asdict(filters).items()}


def _values(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: filters.get(name) for name in ("since", "until", "symbol", "source")}
