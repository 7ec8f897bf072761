"""A rescore run as every door shows and steers it: the command line, HTTP, the page and the bot."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from sqlalchemy import Connection

from db.queries import rescore
from db.queries.rescore import Progress
from domain.answer import Json, stamp
from domain.errors import NotFound, WrongState

Action = Literal["pause", "resume", "cancel"]

_STEPS = {
    "pause": (rescore.pause, ("running",)),
    "resume": (rescore.resume, ("paused",)),
    "cancel": (rescore.cancel_run, ("running", "paused")),
}


def run_of(connection: Connection, run: int | None = None) -> Progress:
    """A run, or without a number the one under way, else the latest.

    Raises:
        NotFound: there is none.
    """
    progress = rescore.progress(connection, run)
    if progress is None:
        raise NotFound("There is no rescore run yet." if run is None else f"There is no rescore run {run}.")
    return progress


def turn(connection: Connection, action: Action, run: int | None = None) -> Progress:
    """Pause, resume or cancel a run, without a number one that can be; returns how it stands then.

    Raises:
        NotFound: there is no such run. WrongState: it is not in a state for that.
    """
    act, states = _STEPS[action]
    run_progress = (rescore.progress(connection, None, states) if run is None else None) or run_of(connection, run)
    if not act(connection, run_progress.id):
        raise WrongState(f"Cannot {action}: run {run_progress.id} is {run_progress.state}.")
    return run_of(connection, run_progress.id)


def as_json(found: Progress) -> Json:
    """The run for programs: counts in posts, rate in posts per second, times in seconds or ISO 8601."""
    rate, left = round(found.rate, 1), found.seconds_left
    body = asdict(found) | {"done": found.done, "posts_per_second": rate, "seconds_left": left and round(left)}
    del body["rate"]
    return body | {
        "started_at": stamp(found.started_at),
        "finished_at": stamp(found.finished_at) if found.finished_at else None,
    }
