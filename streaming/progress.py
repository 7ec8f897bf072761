"""How far a command is: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS = 5.0
"""Seconds between lines of progress in a log."""


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal, a plain line every five seconds in a log; both on standard error."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    began = told = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total or None)

        def tick(done: int) -> None:
            nonlocal told
            bar.update(task, completed=done)
            now = time.monotonic()
            if not console.is_terminal and now - told >= LINE_SECONDS:
                told, rate = now, done / (now - began)
                left = f", {(total - done) / rate:,.0f} s left" if rate else ""
                sys.stderr.write(f"{name}: {done:,} of {total:,}, {rate:,.0f}/s{left}\n")

        yield tick
