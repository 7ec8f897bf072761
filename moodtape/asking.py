"""`moodtape analyze`: one post from the command line through the same use-case as the page and the bot."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import SystemClock
from domain.errors import ConfigError, InputError
from moodtape import control
from moodtape.servers import files
from moodtape.settings import StackSettings
from moodtape.state import State

if TYPE_CHECKING:
    from domain.answer import Json


def connect(settings: StackSettings) -> None:
    """Put the running stack's addresses into our environment, unless it names a database itself.

    Raises:
        Unavailable: no stack runs, and the environment names no database.
    """
    from db.settings import secrets_dir

    folder = secrets_dir()
    if os.environ.get("DATABASE_URL") or (folder and (folder / "DATABASE_URL").exists()):
        return
    for name, address in control.addresses(State(settings.data_dir)).items():
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
    from workers.client.analyze import Request, analyze, parse_time
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


def save_chart(answer: Json, path: Path) -> None:
    """Draw the answer as a PNG.

    Raises:
        ConfigError, Unavailable: the file cannot be written.
    """
    from workers.client.chart import draw

    try:
        path.write_bytes(draw(answer))
    except OSError as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            raise ConfigError(f"--chart {path} is no file that could be written.") from None
        raise files.explain(error, path) from None


def show(answer: Json, *, as_json: bool) -> None:
    """Print the answer: JSON alone, or plain words."""
    if as_json:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        return
    from workers.client.words import tell

    sys.stdout.write(tell(answer) + "\n")
