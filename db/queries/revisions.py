"""Model revisions: which one is the champion, who scores with which, and who changed that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from domain.errors import InputError


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A scoring process that reported itself lately."""

    name: str
    revision: str
    device: str
    posts_per_second: float
    beat_at: datetime


def champion(connection: Connection) -> str | None:
    """The revision whose verdicts people see; None before the first worker has reported."""
    return connection.execute(text("select revision from model_revisions where state = 'champion'")).scalar()


def register(connection: Connection, revision: str, manifest: dict[str, Any], shadow: bool = False) -> str:
    """Make a revision known, once; returns its state.

    A new revision becomes the champion, as installed, unless it is meant as a ``shadow``; where it is known already,
    what people decided about it stands. The very first one is the champion in any case.
    """
    connection.execute(text("lock table model_revisions in share row exclusive mode"))
    known = connection.execute(
        text("select state from model_revisions where revision = :revision"), {"revision": revision}
    ).scalar()
    if known is not None:
        return str(known)
    connection.execute(
        text("insert into model_revisions (revision, manifest, state) values (:revision, cast(:m as jsonb), 'shadow')"),
        {"revision": revision, "m": json.dumps(manifest)},
    )
    if shadow and champion(connection) is not None:
        return "shadow"
    change_champion(connection, revision, "install", "moodtape", "came with the installed weights", automatic=True)
    return "champion"


def change_champion(
    connection: Connection, revision: str, action: str, by: str, reason: str, automatic: bool = False
) -> str | None:
    """Make a known revision the champion and record who did it and why; returns the revision it replaced.

    Raises:
        InputError: no such revision, or it is the champion already.
    """
    connection.execute(text("lock table model_revisions in share row exclusive mode"))
    states: dict[str, str] = {
        row.revision: row.state for row in connection.execute(text("select revision, state from model_revisions"))
    }
    if revision not in states:
        raise InputError(f"No model revision {revision} is known here; a worker that scores with it must run once.")
    if states[revision] == "champion":
        raise InputError(f"Revision {revision} is the champion already.")
    before = next((name for name, state in states.items() if state == "champion"), None)
    values = {"revision": revision, "by": by, "reason": reason, "action": action, "before": before, "auto": automatic}
    connection.execute(text("update model_revisions set state = 'retired' where state = 'champion'"))
    connection.execute(
        text(
            "update model_revisions set state = 'champion', changed_at = now(), changed_by = :by, reason = :reason "
            "where revision = :revision"
        ),
        values,
    )
    connection.execute(
        text(
            "insert into revision_changes (revision, replaced, action, changed_by, reason, automatic) "
            "values (:revision, :before, :action, :by, :reason, :auto)"
        ),
        values,
    )
    return before


def replaced_by(connection: Connection, revision: str) -> str | None:
    """The revision that this champion replaced when it was promoted or installed; where a roll-back leads."""
    return connection.execute(
        text(
            "select replaced from revision_changes where revision = :revision and action <> 'rollback' "
            "order by id desc limit 1"
        ),
        {"revision": revision},
    ).scalar()


def changes(connection: Connection) -> list[dict[str, Any]]:
    """Every change of the champion, the latest first: changed_at, action, revision, replaced, changed_by, reason."""
    rows = connection.execute(
        text("select changed_at, action, revision, replaced, changed_by, reason from revision_changes order by id desc")
    )
    return [dict(row._mapping) for row in rows]


def beat(connection: Connection, name: str, revision: str, device: str, posts_per_second: float) -> None:
    """Report a scoring process as alive."""
    connection.execute(
        text(
            """
            insert into scorers (name, revision, device, posts_per_second) values (:name, :revision, :device, :rate)
            on conflict (name) do update set revision = excluded.revision, device = excluded.device,
                posts_per_second = excluded.posts_per_second, beat_at = now()
            """
        ),
        {"name": name, "revision": revision, "device": device, "rate": posts_per_second},
    )


def leave(connection: Connection, name: str, silence: float = 3600.0) -> None:
    """Take a process off the list, and those that have been silent for long."""
    connection.execute(
        text("delete from scorers where name = :name or beat_at < now() - make_interval(secs => :silence)"),
        {"name": name, "silence": silence},
    )


def scorers(connection: Connection, silence: float = 15.0) -> list[WorkerInfo]:
    """Processes that have reported themselves within ``silence`` seconds."""
    rows = connection.execute(
        text(
            "select name, revision, device, posts_per_second, beat_at from scorers "
            "where beat_at > now() - make_interval(secs => :silence) order by started_at"
        ),
        {"silence": silence},
    )
    return [WorkerInfo(*row) for row in rows]


def known(connection: Connection) -> list[dict[str, Any]]:
    """All revisions, the latest change first: revision, state, changed_at, changed_by, reason."""
    rows = connection.execute(
        text("select revision, state, changed_at, changed_by, reason from model_revisions order by changed_at desc")
    )
    return [dict(row._mapping) for row in rows]


_PAIRS = """
create temporary table pairs on commit drop as
select a.post_id, x.emotions -> 'probabilities' as emotions_a, y.emotions -> 'probabilities' as emotions_b,
       x.emotions ->> 'label' as label_a, y.emotions ->> 'label' as label_b,
       coalesce(x.hype #>> '{symbol,probability}', x.hype ->> 'probability')::float8 as hype_a,
       coalesce(y.hype #>> '{symbol,probability}', y.hype ->> 'probability')::float8 as hype_b,
       (x.trajectories #>> '{low,255}')::float8 as low_a, (x.trajectories #>> '{high,255}')::float8 as high_a,
       (y.trajectories #>> '{low,255}')::float8 as low_b, (y.trajectories #>> '{high,255}')::float8 as high_b,
       s.end_change, s.hype as came
from verdicts a join verdicts b on b.post_id = a.post_id and b.revision = :b,
     lateral jsonb_to_record(a.answer) as x(emotions jsonb, hype jsonb, trajectories jsonb),
     lateral jsonb_to_record(b.answer) as y(emotions jsonb, hype jsonb, trajectories jsonb)
left join lateral (select end_change, hype from prediction_scores s where s.post_id = a.post_id limit 1) s on true
where a.revision = :a
"""
"""Each answer is unpacked once: it holds four times 256 steps, and PostgreSQL keeps it compressed."""

_SUMS = """
select count(*) as posts,
       avg((label_a is not distinct from label_b)::int)::float8 as label_agreement,
       avg((label_a is null)::int)::float8 as abstained_a, avg((label_b is null)::int)::float8 as abstained_b,
       avg(abs(hype_a - hype_b)) as hype_difference,
       avg(high_a - low_a) as band_width_a, avg(high_b - low_b) as band_width_b,
       count(end_change) as outcomes,
       avg((end_change between low_a and high_a)::int)::float8 as coverage_a,
       avg((end_change between low_b and high_b)::int)::float8 as coverage_b,
       avg((hype_a - came::int) ^ 2) as brier_a, avg((hype_b - came::int) ^ 2) as brier_b
from pairs
"""

_CHANGES = """
select coalesce(label_a, 'abstained') as before, coalesce(label_b, 'abstained') as after, count(*) as posts from pairs
where label_a is distinct from label_b group by 1, 2 order by 3 desc, 1, 2 limit 10
"""

_EMOTIONS = """
select e.key as emotion, count(*) as posts,
       count(*) filter (where label_a = e.key) as labelled_a, count(*) filter (where label_b = e.key) as labelled_b,
       count(*) filter (where label_a = e.key and label_b = e.key) as labelled_both,
       avg(e.value::float8) as probability_a, avg((emotions_b ->> e.key)::float8) as probability_b,
       avg(abs(e.value::float8 - (emotions_b ->> e.key)::float8)) as difference
from pairs, jsonb_each_text(emotions_a) e group by 1 order by 3 desc, 1
"""

_DIFFERING = """
select pairs.post_id, left(p.text, 80) as text, label_a as before, label_b as after,
       (emotions_a ->> label_a)::float8 as certainty_before, (emotions_b ->> label_b)::float8 as certainty_after, apart
from pairs join posts p on p.id = pairs.post_id, lateral (
    select sum(abs(e.value::float8 - (emotions_b ->> e.key)::float8)) / 2 as apart from jsonb_each_text(emotions_a) e) d
where label_a is distinct from label_b order by apart desc nulls last, 1 limit :differing
"""


def compare(connection: Connection, champion: str, challenger: str, differing: int = 20) -> dict[str, Any]:
    """Agreement over the posts that both revisions scored, per emotion, and against outcomes where they are known.

    Suffix ``_a`` is the champion, ``_b`` the challenger; shares and probabilities lie in 0…1, widths are percent. The
    ``differing`` posts with other labels come furthest apart first, by total variation of the seven probabilities.
    """
    connection.execute(text("set local statement_timeout = '10min'"))
    values = {"a": champion, "b": challenger}
    connection.execute(text("drop table if exists pairs"))
    connection.execute(text(_PAIRS), values)

    def rows(query: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in connection.execute(text(query), {"differing": differing})]

    return {
        "champion": champion,
        "challenger": challenger,
        **rows(_SUMS)[0],
        "changed_labels": rows(_CHANGES),
        "emotions": rows(_EMOTIONS),
        "differing": rows(_DIFFERING),
    }
