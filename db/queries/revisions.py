"""Model revisions: which one is the champion, who scores with which, and who changed that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from domain.errors import InputError


@dataclass(frozen=True, slots=True)
class Scorer:
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


def scorers(connection: Connection, silence: float = 15.0) -> list[Scorer]:
    """Processes that have reported themselves within ``silence`` seconds."""
    rows = connection.execute(
        text(
            "select name, revision, device, posts_per_second, beat_at from scorers "
            "where beat_at > now() - make_interval(secs => :silence) order by started_at"
        ),
        {"silence": silence},
    )
    return [Scorer(*row) for row in rows]


def known(connection: Connection) -> list[dict[str, Any]]:
    """All revisions, the latest change first: revision, state, changed_at, changed_by, reason."""
    rows = connection.execute(
        text("select revision, state, changed_at, changed_by, reason from model_revisions order by changed_at desc")
    )
    return [dict(row._mapping) for row in rows]
