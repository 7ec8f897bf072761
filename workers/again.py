"""A stored answer made again from what was known then, and what differs: same revision, same library, same candles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.queries.claims import Claim
from db.queries.trajectories import load_library_rows
from db.queries.verdicts import Stored, complete, newest_ids, stored, stored_at
from domain.answer import Json, Verdict, to_answer
from domain.errors import InputError, MoodtapeError
from models.manifest import ARTIFACTS, verify
from models.scorer import Scorer, ScoringInput
from models.trajectories import library
from models.trajectories.retrieval import load_trajectories
from workers.bands import Bands, digest
from workers.client.queue import Priority
from workers.earned import earned
from workers.inputs import load_inputs

MOST = 20
"""Differences told of one answer."""


@dataclass(frozen=True, slots=True)
class Again:
    """One answer made again. ``same_inputs``: whether the market's numbers are those that went in then."""

    post_id: str
    identical: bool
    same_inputs: bool
    differences: tuple[Json, ...]


def again(engine: Engine, post_ids: Sequence[str], newest: int = 0, artifacts: Path = ARTIFACTS) -> list[Again]:
    """Make answers of the present weights again: of these posts, or the ``newest`` ones.

    Raises:
        InputError: there is no such answer, or none whose inputs are known.
        WeightsError: a weights file is missing or altered.
    """
    revision = verify(artifacts).revision
    with transaction(engine) as connection:
        wanted = list(post_ids) or newest_ids(connection, revision, newest)
        found = stored(connection, wanted, revision)
    if not wanted:
        raise InputError("No answer of the present models is stored yet; analyze a post first.")
    for post_id in wanted:
        if post_id not in found:
            raise InputError(f"Revision {revision} has no stored answer to the post {post_id[:80]}.")
        if not found[post_id].known:
            raise InputError(f"The answer to {post_id[:80]} is of an older version, which did not keep what went in.")
    ends = sorted({found[post_id].known["library"] for post_id in wanted})
    with transaction(engine) as connection:
        rows, ids = load_library_rows(connection, library.encoder_revision(artifacts), until=ends[-1])
    scorer, out = Scorer.load(artifacts, rows), dict[str, Again]()
    for end in ends:
        model = load_trajectories(rows.take(np.array(ids) <= end), artifacts)
        scorer.parts = replace(scorer.parts, trajectories=model)
        moments = {found[post_id].scored_at for post_id in wanted if found[post_id].known["library"] == end}
        out |= _with_library(engine, scorer, Bands(engine, model.parameters), moments)
    return [out[post_id] for post_id in wanted]


def _with_library(engine: Engine, scorer: Scorer, bands: Bands, moments: Collection[datetime]) -> dict[str, Again]:
    """Whole batches again, for a forward pass may differ in its last digit with what else was in it."""
    out = {}
    for moment in sorted(moments):
        with transaction(engine) as connection:
            answers = stored_at(connection, moment, scorer.revision)
            items = _inputs(connection, bands, answers, scorer.reads_posts)
            scorer.earned = earned(connection, datetime.fromisoformat(answers[0].known["at"]))
        scored = scorer.score(scorer.prepare(items))
        with transaction(engine) as connection:
            verdicts = [complete(connection, made) if isinstance(made, Verdict) else made for made in scored]
        for answer, item, made in zip(answers, items, verdicts, strict=True):
            out[answer.post_id] = _compared(answer, item, made)
    return out


def _compared(answer: Stored, item: ScoringInput, made: Verdict | MoodtapeError) -> Again:
    if not isinstance(made, Verdict):
        return Again(answer.post_id, False, False, ({"path": "", "stored": "an answer", "again": str(made)},))
    same = item.context is None or digest(item.context) == answer.known.get("digest")
    fresh = to_answer(made)
    if not fresh["emotions"]["why"].get("words"):  # said only while a batch's time for reasons lasts
        fresh["emotions"]["why"] = {**answer.answer["emotions"]["why"], **fresh["emotions"]["why"]}
    differences = tuple(_differences(answer.answer, fresh, ""))
    return Again(answer.post_id, not differences, same, differences[:MOST])


def _inputs(connection: Connection, bands: Bands, answers: Sequence[Stored], counted: bool) -> list[ScoringInput]:
    """What a batch was made from; candles that had not arrived by then are taken away again.

    Raises:
        InputError: a post of it is no longer stored.
    """
    why = any(answer.answer["emotions"]["why"].get("words") for answer in answers)
    priority = Priority.PEOPLE if why else Priority.LIVE
    claims = [Claim(0, answer.post_id, priority, 0) for answer in answers]
    at = datetime.fromisoformat(answers[0].known["at"])
    scored = next(
        (answer.known["scored_by"] for answer in answers if "scored_by" in answer.known), answers[0].known["at"]
    )
    inputs = load_inputs(connection, claims, bands, at, counted, datetime.fromisoformat(scored))
    found = {item.post.id: item for item in inputs}
    for answer in answers:
        if answer.post_id not in found:
            raise InputError(f"The post {answer.post_id[:80]} is no longer stored.")
    return [_without_late(found[answer.post_id], answer.known.get("newest")) for answer in answers]


def _without_late(item: ScoringInput, newest: int | None) -> ScoringInput:
    if item.context is None or item.context.minutes is None or newest is None:
        return item
    late = newest + 1 - item.context.minutes.first
    if not np.isfinite(item.context.minutes.mid[late:]).any():
        return item
    mid, volume = item.context.minutes.mid.copy(), item.context.minutes.volume.copy()
    mid[late:], volume[late:] = np.nan, np.nan
    minutes = replace(item.context.minutes, mid=mid, volume=volume)
    return replace(item, context=replace(item.context, minutes=minutes, mid=mid[-len(item.context.mid) :]))


def _differences(before: Any, after: Any, path: str) -> Iterator[Json]:
    """Every place where two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}[{n}]")
    elif before != after:
        yield {"path": path, "stored": before, "again": after}


def as_json(made: Sequence[Again]) -> Json:
    """``{"answers", "identical", "posts": [{"post_id", "identical", "same_inputs", "differences"}]}``."""
    posts = [
        {
            "post_id": a.post_id,
            "identical": a.identical,
            "same_inputs": a.same_inputs,
            "differences": list(a.differences),
        }
        for a in made
    ]
    return {"answers": len(posts), "identical": sum(a.identical for a in made), "posts": posts}
