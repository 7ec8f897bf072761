"""What a worker takes off the queue at a time. A claim is a row lock, so a dead worker frees its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this transaction holds. ``attempts`` counts the batches that died with it."""

    id: int
    post_id: str
    priority: int
    attempts: int


SMALLER = (None, 8, 1)
"""Most jobs per batch by how many batches have died with them: a poisonous post is soon alone."""

LIVE_WAIT_SECONDS = 10.0
"""Seconds that a live post gives way to people; an older one has a share of the batches."""

SHARE = 4
"""One batch in so many may begin with a live post that has waited longer than that."""


def claim(connection: Connection, revision: str, limits: Sequence[int], pictures: int | None = None) -> list[Claim]:
    """Lock the next batch until the transaction ends: one priority, ``limits[priority]`` jobs, people by turns.

    People come first, then live posts, then rescoring; but however many people ask, one batch in :data:`SHARE` is one
    of live posts when the oldest of these has waited for :data:`LIVE_WAIT_SECONDS` seconds. The batch ends before it would hold
    more than ``pictures`` posts with a picture, which cost far more than words.

    Jobs whose post is being deleted are left out. Posts are locked against deletion, so that a deletion waits for the
    verdict and takes it along instead of running into a deadlock.
    """
    who = {"revision": revision, "patience": LIVE_WAIT_SECONDS, "share": SHARE}
    first = connection.execute(text(_AGED), who).first() or connection.execute(text(_FIRST), who).first()
    if first is None:
        return []
    limit = min(limits[first.priority], SMALLER[min(first.attempts, 2)] or limits[first.priority])
    query = _CLAIM_FAIRLY if first.priority == 0 else _CLAIM
    values = {"revision": revision, "priority": first.priority, "attempts": first.attempts, "limit": limit}
    rows = _lock(connection, query, values, limit if pictures is None else pictures)
    return [Claim(r.id, r.post_id, first.priority, first.attempts) for r in rows]


@dataclass(frozen=True, slots=True)
class _Held:
    id: int
    post_id: str
    picture: bool


def _lock(connection: Connection, query: str, values: dict[str, Any], pictures: int) -> list[_Held]:
    """What ``query`` finds, up to so many pictures; what is beyond them is not locked but left to other workers."""
    if values["limit"] <= pictures:
        return _hold(connection, query, values)
    trial = connection.begin_nested()
    claims = _hold(connection, query, values)
    fitting = [job for job, so_far in zip(claims, accumulate(job.picture for job in claims), strict=True)
               if so_far <= pictures]  # fmt: skip
    if len(fitting) == len(claims):
        trial.commit()
        return claims
    trial.rollback()
    return _hold(connection, _CLAIM_THESE, {**values, "ids": [job.id for job in fitting]})


def _hold(connection: Connection, query: str, values: dict[str, Any]) -> list[_Held]:
    rows = connection.execute(text(query), values).all()
    posts = connection.execute(
        text(
            "select id, image_sha256 is not null as picture from posts where id = any(:ids) for key share skip locked"
        ),
        {"ids": [row.post_id for row in rows]},
    )
    alive = {post.id: post.picture for post in posts}
    return [_Held(row.id, row.post_id, alive[row.post_id]) for row in rows if row.post_id in alive]


_AGED = """
select priority, attempts from jobs where id = (
    select id from jobs where state = 'waiting' and revision = :revision and priority = 1 order by id limit 1)
  and submitted_at < now() - make_interval(secs => :patience) and (select last_value % :share = 0 from batches_id_seq)
for update skip locked
"""

_FIRST = """
select priority, attempts from jobs where state = 'waiting' and revision = :revision
order by priority, id limit 1 for update skip locked
"""

_CLAIM = """
select id, post_id from jobs
where state = 'waiting' and revision = :revision and priority = :priority and attempts = :attempts
order by id limit :limit for update skip locked
"""

_CLAIM_FAIRLY = """
with turns as (
    select id, row_number() over (partition by coalesce(requester, post_id) order by id) as turn
    from jobs where state = 'waiting' and revision = :revision and priority = :priority and attempts = :attempts)
select j.id, j.post_id from jobs j join turns t on t.id = j.id where j.state = 'waiting'
order by t.turn, j.id limit :limit for update of j skip locked
"""

_CLAIM_THESE = """
select id, post_id from jobs
where id = any(:ids) and state = 'waiting' and revision = :revision and priority = :priority
order by array_position(cast(:ids as bigint[]), id) for update skip locked
"""
