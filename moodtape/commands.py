"""`moodtape analyze`: one post from the command line through the same use-case as the page and the bot."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import SystemClock, parse_time
from domain.errors import ConfigError, InputError
from moodtape import state as control
from moodtape.state import StackSettings, State
from runtime import processes

if TYPE_CHECKING:
    from answer.catalogue import Say
    from domain.answer import Json
from typing import Any

from rich.console import Console
from rich.table import Table

from db.engine import make_engine, transaction
from db.migrate import upgrade
from db.queries import trajectories
from models.trajectories import library


def connect(settings: StackSettings) -> None:
    """Put the running stack's addresses into our environment, unless it names a database itself.

    Raises:
        Unavailable: no stack runs, and the environment names no database.
        ConfigError: the same in a container, where none will run.
    """
    from db.engine import NO_DATABASE, secrets_dir

    folder = secrets_dir()
    if os.environ.get("DATABASE_URL") or (folder and (folder / "DATABASE_URL").exists()):
        return
    state = State(settings.data_dir)
    if folder and state.supervisor() is None:
        raise ConfigError(NO_DATABASE)
    for name, address in control.addresses(state).items():
        os.environ.setdefault(name, address)


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        InputError: there is no such file, or it may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The picture {path} cannot be read ({error.strerror}).") from None


def ask(image: Path | None, caption: str, symbol: str | None, at: str | None) -> Json:
    """The answer from the running stack.

    Raises:
        InputError, Unavailable, Busy: as the use-case says.
    """
    from db.engine import make_engine
    from workers.client.analyze import Request, analyze
    from workers.client.queue import ScoringClient

    request = Request(
        text=caption,
        image=read_picture(image) if image else None,
        symbol=symbol,
        at=parse_time(at) if at else None,
    )
    engine = make_engine()
    client = ScoringClient(engine)
    try:
        return analyze(engine, client, request, clock=SystemClock())
    finally:
        client.close()
        engine.dispose()


def save_chart(answer: Json, path: Path, say: Say) -> None:
    """Draw the answer as a PNG.

    Raises:
        ConfigError, Unavailable: the file cannot be written.
    """
    from answer.chart import draw

    try:
        path.write_bytes(draw(answer, say))
    except OSError as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            raise ConfigError(f"--chart {path} is no file that could be written.") from None
        raise processes.explain(error, path) from None


def speaker(language: str | None = None) -> Say:
    """The words of a language, else of the environment's (LC_ALL, LC_MESSAGES, LANG), else English.

    Raises:
        InputError: there is no such language.
    """
    from answer.catalogue import texts

    known = texts()
    if language is not None and known.find(language) is None:
        raise InputError(f"There is no language {language[:20]} here; there are: {', '.join(known.languages)}.")
    wishes = [os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    return known.speaker(known.choose(language, next(filter(None, wishes), None)))


def show(answer: Json, say: Say, *, as_json: bool) -> None:
    """Print the answer: JSON alone, or plain words."""
    if as_json:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        return
    from answer.words import tell

    sys.stdout.write(tell(answer, say) + "\n")


def prepare(*, seed: bool) -> str:
    """Bring up the schema, and seed the library where its encoder's rows are missing; returns a sentence.

    Raises:
        ConfigError, Unavailable: the database. WeightsError: the library is missing or altered.
    """
    head = upgrade()
    if not seed:
        return f"the schema is at {head}"
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            rows = trajectories.seed(connection, library)
    finally:
        engine.dispose()
    return f"the schema is at {head}, the library has {rows} starter trajectories"


def stack_table(state: dict[str, Any]) -> Table:
    """What runs where, one row a process."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for column in ("what", "where", "state", "pid", "log"):
        table.add_column(column, overflow="fold")
    for server in state.get("servers", []):
        if server["kind"] == "external":
            table.add_row(server["name"], "as set in the environment", "external", "", "")
        else:
            table.add_row(
                server["name"],
                f"127.0.0.1:{server['port']}",
                _mark(server["ready"], _with_detail("running" if server["ready"] else "down", server)),
                str(server["pid"] or ""),
                server["log"],
            )
    for service in state.get("services", []):
        word = service["state"] + (f": {service['reason']}" if service["state"] in ("refused", "broken") else "")
        word = _with_detail(word, service)
        row = (service["name"], service["address"] or "", _mark(service["ready"], word), str(service["pid"] or ""))
        table.add_row(*row, service["log"])
    return table


def show_stack(console: Console, state: dict[str, Any], *, seconds: float | None = None) -> None:
    """The one screen: the table, then the page's address."""
    console.print(stack_table(state))
    if state.get("ready"):
        took = f" in {seconds:.1f} s" if seconds is not None else ""
        console.print(f"\n[bold green]ready[/]{took} – the page: [bold]{state.get('page')}[/]")
    elif state.get("supervisor"):
        console.print("\n[bold yellow]not ready yet[/] – `moodtape doctor` says what is missing")


def _with_detail(word: str, part: dict[str, Any]) -> str:
    """The word and what the part tells of itself: "ready · unread 0"."""
    details = [
        f"{name.replace('_', ' ')} {value}" for name, value in part.get("detail", {}).items() if value is not None
    ]
    return " · ".join([word, *details])


def _mark(good: bool, word: str) -> str:
    return f"[green]{word}[/]" if good else f"[yellow]{word}[/]"
