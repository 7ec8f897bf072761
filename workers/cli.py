"""Commands about stored posts and model revisions: ``rescore``, ``revisions``, ``promote``, ``rollback``."""

from __future__ import annotations

import getpass
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from db.queries import rescore, revisions
from db.queries import revisions as comparison
from domain.answer import stamp
from domain.clock import parse_time
from domain.errors import InputError
from domain.symbols import normalize
from models.manifest import load_manifest
from workers.client import rescoring
from workers.report import AsJson, database, say, tables

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
runs = typer.Typer(help="Score stored posts with a model revision.", invoke_without_command=True)
app.add_typer(runs, name="rescore")

Run = Annotated[int | None, typer.Argument(help="Number of the run; without it the one under way, else the latest.")]
By = Annotated[str, typer.Option(help="Who decides this; the user of this machine when empty.")]
Why = Annotated[str, typer.Option(help="Why; kept with the change.")]
Revision = Annotated[str, typer.Argument(help="As `moodtape revisions` lists it.")]
LOOK = 0.5
TELL = 10.0
"""Seconds between two looks at a run, and between two lines of a log that is no terminal."""


@runs.callback()
def start(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="First time of posting (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Time of posting to stop before.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only posts that name this market.")] = None,
    source: Annotated[str | None, typer.Option(help="Only posts of this source.")] = None,
    revision: Annotated[str | None, typer.Option(help="Model revision to score with; the champion without it.")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Score with the challenger beside the champion.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many posts, oldest first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the posts.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score stored posts; those that this revision has scored already are passed over. Ctrl-C leaves the run going."""
    if context.invoked_subcommand is not None:
        return
    filters = _filters(since, until, symbol, source, limit)
    with database() as connection:
        chosen = _chosen(connection, revision, shadow)
        posts = rescore.count(connection, filters)
        served = chosen in {scorer.revision for scorer in revisions.scorers(connection)}
    if dry_run or not posts:
        told = f"{posts:,} posts match; none was queued."
        say({"posts": posts, "revision": chosen, "dry_run": dry_run}, told, as_json)
        return
    if not served:
        _err().print(f"No worker scores with revision {chosen} now; the run begins as soon as one does.")
    with database() as connection:
        run = rescore.begin(connection, chosen, filters, getpass.getuser())
    if not detach:
        _follow(run)
    _tell(run, as_json)


def _filters(
    since: str | None, until: str | None, symbol: str | None, source: str | None, limit: int | None
) -> rescore.Filters:
    first, end = parse_time(since) if since else None, parse_time(until) if until else None
    if first and end and first >= end:
        raise InputError("--since lies at or after --until; no post can match.")
    return rescore.Filters(first, end, normalize(symbol) if symbol else None, source, limit)


def _chosen(connection: Connection, revision: str | None, shadow: bool) -> str:
    """The revision to score with: a known one, and with ``shadow`` not the champion."""
    champion = _champion(connection)
    if revision is None:
        return _challenger(connection) if shadow else champion
    if shadow and revision == champion:
        raise InputError(f"Revision {revision} is the champion; --shadow scores with a challenger.")
    return revision if revision == champion else _known(connection, revision)


def _known(connection: Connection, revision: str) -> str:
    known = [str(row["revision"]) for row in revisions.known(connection)]
    if revision not in known:
        raise InputError(
            f"No model revision {revision} is known here, but {', '.join(known) or 'none yet'}; "
            "a worker that scores with it must run once (MOODTAPE_ARTIFACTS)."
        )
    return revision


@runs.command()
def status(run: Run = None, as_json: AsJson = False) -> None:
    """How a run stands: posts done, posts per second, time left."""
    _tell(run, as_json)


@runs.command()
def pause(run: Run = None, as_json: AsJson = False) -> None:
    """Stop a run for a while; what waits of it leaves the queue."""
    _turn("pause", run, as_json)


@runs.command()
def resume(run: Run = None, as_json: AsJson = False) -> None:
    """Let a paused run go on where it stopped."""
    _turn("resume", run, as_json)


@runs.command()
def cancel(run: Run = None, as_json: AsJson = False) -> None:
    """End a run; the verdicts it has made stay."""
    _turn("cancel", run, as_json)


@app.command("revisions")
def list_revisions(
    compare: Annotated[str | None, typer.Option(help="A revision to compare with the champion.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Who changed the champion, when and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Known model revisions and who scores with them; a challenger beside the champion; past promotions."""
    with database() as connection:
        if compare is not None:
            report = comparison.compare(connection, _champion(connection), _known(connection, compare))
            say(report, tables(report), as_json)
            return
        known = revisions.changes(connection) if history else revisions.known(connection)
        served = [scorer.revision for scorer in revisions.scorers(connection)]
    body = [{**row, "changed_at": stamp(row["changed_at"])} for row in known]
    if not history:
        body = [{**row, "processes": served.count(row["revision"])} for row in body]
    lines = [_change_line(row) if history else _revision_line(row) for row in body]
    say(body, "\n".join(lines) or "No worker has reported yet.", as_json)


def _revision_line(row: dict[str, Any]) -> str:
    since = f"since {row['changed_at'][:19]}Z" + (f" by {row['changed_by']}: {row['reason']}" if row["reason"] else "")
    return f"{row['revision']}  {row['state']:9} {row['processes']} processes  {since}"


def _change_line(row: dict[str, Any]) -> str:
    place = f" in place of {row['replaced']}" if row["replaced"] else ""
    when, by = f"{row['changed_at'][:19]}Z", row["changed_by"]
    return f"{when}  {row['action']:8} {row['revision']}{place}  by {by}: {row['reason']}"


@app.command()
def promote(revision: Revision, why: Why, by: By = "", as_json: AsJson = False) -> None:
    """Make a revision the champion, whose verdicts people see from now on; recorded with who, when and why."""
    _change(revision, "promote", by, why, as_json)


@app.command()
def rollback(why: Why, by: By = "", as_json: AsJson = False) -> None:
    """Make the champion that the present one replaced the champion again; recorded like a promotion."""
    with database() as connection:
        before = revisions.replaced_by(connection, _champion(connection))
    if before is None:
        raise InputError("The present champion replaced none; there is nothing to go back to.")
    _change(before, "rollback", by, why, as_json)


def _change(revision: str, action: str, by: str, why: str, as_json: bool) -> None:
    if not why.strip():
        raise InputError("Say why with --why; it is kept with the change.")
    who = by or getpass.getuser()
    with database() as connection:
        before = revisions.change_champion(connection, revision, action, who, why)
        served = revision in {scorer.revision for scorer in revisions.scorers(connection)}
    body = {"revision": revision, "replaced": before, "action": action, "changed_by": who, "reason": why}
    say(body, f"Revision {revision} is the champion now, in place of {before}.", as_json)
    if not served:
        _err().print("No worker scores with it now: start one with its weights (MOODTAPE_ARTIFACTS).")


def _turn(action: rescoring.Action, run: int | None, as_json: bool) -> None:
    with database() as connection:
        found = rescoring.turn(connection, action, run)
    say(rescoring.as_json(found), _sentence(found), as_json)


def _follow(run: int) -> None:
    columns = (
        TextColumn("rescoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} posts/s"),
        TimeRemainingColumn(),
    )
    told = float("-inf")
    try:
        with Progress(*columns, console=_err(), transient=True) as bar:
            task = bar.add_task("", total=None, rate=0.0)
            while (found := _progress(run)).state == "running":
                bar.update(task, total=found.total, completed=found.done, rate=found.rate)
                if not bar.console.is_terminal and time.monotonic() - told > TELL:
                    told = time.monotonic()
                    bar.console.print(_sentence(found), highlight=False, soft_wrap=True)
                time.sleep(LOOK)
    except KeyboardInterrupt:
        _err().print(f"The run goes on without this window; `moodtape rescore status {run}` shows it.")


def _progress(run: int | None) -> rescore.Progress:
    with database() as connection:
        return rescoring.run_of(connection, run)


def _tell(run: int | None, as_json: bool) -> None:
    found = _progress(run)
    say(rescoring.as_json(found), _sentence(found), as_json)


def _sentence(found: rescore.Progress) -> str:
    left = "" if found.seconds_left is None else f", about {found.seconds_left:.0f} s left"
    return (
        f"Run {found.id} ({found.state}): {found.done:,} of {found.total:,} posts by revision {found.revision}, "
        f"{found.rate:.0f} posts/s over {found.seconds:.0f} s{left}."
    )


def _champion(connection: Connection) -> str:
    return revisions.champion(connection) or load_manifest().revision


def _challenger(connection: Connection) -> str:
    shadows = [row["revision"] for row in revisions.known(connection) if row["state"] == "shadow"]
    if len(shadows) != 1:
        raise InputError(
            f"There are {len(shadows)} challengers; name one with --revision, or start a worker with MOODTAPE_ARTIFACTS."
        )
    return str(shadows[0])


def _err() -> Console:
    return Console(stderr=True)
