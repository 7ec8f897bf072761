"""Verdicts: stored without the 256 steps of their matches, which the library already holds, and put together on reading."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection, select, text, tuple_

from db.copy import stage
from db.tables import ModelRevision, TrajectoryRow, VerdictRow
from domain.answer import Json, in_order, numbers, to_answer
from domain.types import Verdict

CHANNEL = "verdicts"
"""NOTIFY channel; the payload is the post id."""


def upsert_verdicts(connection: Connection, verdicts: Sequence[Verdict]) -> list[str]:
    """Write verdicts by (post, revision); one whose post has been deleted meanwhile is dropped. Returns the ids written.

    Listeners on :data:`CHANNEL` are told when the transaction commits.
    """
    rows = [(v.post_id, v.revision, json.dumps(_slim(to_answer(_bare(v))))) for v in verdicts]
    if not rows:
        return []
    stage(connection, "stage_verdicts", (("post_id", "text"), ("revision", "text"), ("answer", "text")), rows)
    return list(
        connection.execute(
            text(
                """
                with written as (
                    insert into verdicts (post_id, revision, answer)
                    select s.post_id, s.revision, s.answer::jsonb
                    from stage_verdicts s join posts p on p.id = s.post_id
                    on conflict (post_id, revision) do update set answer = excluded.answer, scored_at = now()
                    returning post_id
                )
                select post_id from written, lateral (select pg_notify('verdicts', post_id)) n
                """
            )
        ).scalars()
    )


def answer(connection: Connection, post_id: str, revision: str | None = None) -> Json | None:
    """The whole answer for a post: of that revision, else of the champion, else the newest. None when there is none."""
    champion = select(ModelRevision.revision).where(ModelRevision.state == "champion").scalar_subquery()
    query = select(VerdictRow.answer).where(VerdictRow.post_id == post_id)
    if revision is not None:
        query = query.where(VerdictRow.revision == revision)
    query = query.order_by((VerdictRow.revision == champion).desc().nulls_last(), VerdictRow.scored_at.desc()).limit(1)
    found = connection.execute(query).scalar()
    return None if found is None else in_order(_hydrated(connection, [found])[0])


def _bare(verdict: Verdict) -> Verdict:
    """Without the steps of the matches, which would only be written out to be dropped: most of a verdict's cost."""
    if verdict.trajectories is None:
        return verdict
    matches = tuple(replace(match, change=_NO_STEPS) for match in verdict.trajectories.matches)
    return replace(verdict, trajectories=replace(verdict.trajectories, matches=matches))


_NO_STEPS = np.zeros(0, dtype=np.float32)


def _slim(full: Json) -> Json:
    trajectories = full["trajectories"]
    if trajectories is None:
        return full
    matches = [{k: v for k, v in m.items() if k != "change"} for m in trajectories["matches"]]
    return {**full, "trajectories": {**trajectories, "matches": matches}}


def _hydrated(connection: Connection, answers: Sequence[Json]) -> list[Json]:
    keys = {(m["post_id"], m["symbol"]) for a in answers if a["trajectories"] for m in a["trajectories"]["matches"]}
    steps: dict[tuple[str, str], list[float]] = {}
    if keys:
        query = select(TrajectoryRow.post_id, TrajectoryRow.symbol, TrajectoryRow.change).where(
            tuple_(TrajectoryRow.post_id, TrajectoryRow.symbol).in_(keys)
        )
        steps = {(post, symbol): _steps(change) for post, symbol, change in connection.execute(query)}
    for a in answers:
        if a["trajectories"]:
            for match in a["trajectories"]["matches"]:
                match["change"] = steps.get((match["post_id"], match["symbol"]), [])
    return list(answers)


def _steps(change: Sequence[float]) -> list[float]:
    return numbers(np.asarray(change, dtype=np.float32))
