"""Commands about stored posts and model revisions: ``rescore``, ``revisions``, ``promote``, ``rollback``."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sqlalchemy import Connection

from db.engine import make_engine, transaction
from db.queries import comparison, rescore, revisions
from domain.errors import InputError
from domain.symbols import normalize
from models.manifest import load_manifest
from workers.client import rescoring
from workers.client.analyze import parse_time

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
runs = typer.Typer(help="Score stored posts with a model revision.", invoke_without_command=True)
app.add_typer(runs, name="rescore")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Run = Annotated[int | None, typer.Argument(help="Number of the run; without it the one under way, else the latest.")]
By = Annotated[str, typer.Option(help="Who decides this.")]
Why = Annotated[str, typer.Option(help="Why; kept with the change.")]
LOOK = 0.5


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
    filters = rescore.Filters(
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        symbol=normalize(symbol) if symbol else None,
        source=source,
        limit=limit,
    )
    with _database() as connection:
        chosen = revision or (_challenger(connection) if shadow else _champion(connection))
        posts = rescore.count(connection, filters)
        served = chosen in {scorer.revision for scorer in revisions.scorers(connection)}
    if dry_run:
        _say({"posts": posts, "revision": chosen, "dry_run": True}, f"{posts:,} posts match; none was queued.", as_json)
        return
    if not served:
        _err().print(f"No worker scores with revision {chosen} now; the run begins as soon as one does.")
    with _database() as connection:
        run = rescore.begin(connection, chosen, filters, getpass.getuser())
    if not detach:
        _follow(run)
    _tell(run, as_json)


@runs.command()
def status(run: Run = None, as_json: AsJson = False) -> None:
    """How a run stands."""
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
    as_json: AsJson = False,
) -> None:
    """Known model revisions and who scores with them; ``--compare`` shows a challenger beside the champion."""
    with _database() as connection:
        if compare is not None:
            report = comparison.compare(connection, _champion(connection), compare)
            _say(report, _report(report), as_json)
            return
        known = revisions.known(connection)
        served = [scorer.revision for scorer in revisions.scorers(connection)]
    body = [{**row, "processes": served.count(row["revision"])} for row in known]
    lines = [
        f"{r['revision']}  {r['state']:9} {r['processes']} processes  {r['changed_by']} {r['reason']}" for r in body
    ]
    _say(body, "\n".join(lines) or "No worker has reported yet.", as_json)


@app.command()
def promote(revision: str, why: Why, by: By = "") -> None:
    """Make a revision the champion, whose verdicts people see from now on."""
    _change(revision, "promote", by, why)


@app.command()
def rollback(why: Why, by: By = "") -> None:
    """Make the champion before the present one the champion again."""
    with _database() as connection:
        before = revisions.replaced_by(connection, _champion(connection))
    if before is None:
        raise InputError("The present champion replaced none; there is nothing to go back to.")
    _change(before, "rollback", by, why)


def _change(revision: str, action: str, by: str, why: str) -> None:
    with _database() as connection:
        before = revisions.change_champion(connection, revision, action, by or getpass.getuser(), why)
        served = revision in {scorer.revision for scorer in revisions.scorers(connection)}
    _out().print(f"Revision {revision} is the champion now, in place of {before}.", highlight=False)
    if not served:
        _err().print("No worker scores with it now: start one with its weights (MOODTAPE_ARTIFACTS).")


def _turn(action: rescoring.Action, run: int | None, as_json: bool) -> None:
    with _database() as connection:
        found = rescoring.turn(connection, action, run)
    _say(rescoring.as_json(found), _sentence(found), as_json)


def _follow(run: int) -> None:
    columns = (
        TextColumn("rescoring"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} posts/s"),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=_err(), transient=True) as bar:
            task = bar.add_task("", total=None, rate=0.0)
            while (found := _progress(run)).state == "running":
                bar.update(task, total=found.total, completed=found.done, rate=found.rate)
                time.sleep(LOOK)
    except KeyboardInterrupt:
        _err().print(f"The run goes on without this window; `moodtape rescore status {run}` shows it.")


def _progress(run: int | None) -> rescore.Progress:
    with _database() as connection:
        return rescoring.run_of(connection, run)


def _tell(run: int | None, as_json: bool) -> None:
    found = _progress(run)
    _say(rescoring.as_json(found), _sentence(found), as_json)


def _sentence(found: rescore.Progress) -> str:
    left = "" if found.seconds_left is None else f", about {found.seconds_left:.0f} s left"
    return (
        f"Run {found.id} ({found.state}): {found.done:,} of {found.total:,} posts by revision {found.revision}, "
        f"{found.rate:.0f} posts/s over {found.seconds:.0f} s{left}."
    )


def _report(report: dict[str, Any]) -> Table | str:
    if not report["posts"]:
        return "No post has been scored by both; run `moodtape rescore --shadow` first."
    table = Table(title=f"{report['posts']:,} posts scored by both, {report['outcomes']:,} with a known outcome")
    for heading in ("", f"champion {report['champion']}", f"challenger {report['challenger']}"):
        table.add_column(heading)
    for name in ("abstained", "band_width", "coverage", "brier"):
        row = [report[f"{name}_{side}"] for side in "ab"]
        table.add_row(name.replace("_", " "), *("–" if value is None else f"{value:.4f}" for value in row))
    table.caption = f"same label: {report['label_agreement']:.1%}"
    return table


def _champion(connection: Connection) -> str:
    return revisions.champion(connection) or load_manifest().revision


def _challenger(connection: Connection) -> str:
    shadows = [row["revision"] for row in revisions.known(connection) if row["state"] == "shadow"]
    if len(shadows) != 1:
        raise InputError(
            f"There are {len(shadows)} challengers; name one with --revision, or start a worker with MOODTAPE_ARTIFACTS."
        )
    return str(shadows[0])


@contextmanager
def _database() -> Iterator[Connection]:
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def _say(body: Any, words: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(body, default=str) + "\n")
    else:
        _out().print(words, highlight=False)


def _out() -> Console:
    return Console()


def _err() -> Console:
    return Console(stderr=True)
