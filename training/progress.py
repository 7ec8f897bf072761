"""Progress of a long run: a bar on a terminal, a plain line now and then in a log; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Report(Protocol):
    """Told after each step: how many steps are done, and a short note such as the loss."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int, every: float = 20.0) -> Iterator[Report]:
    """A reporter for ``total`` steps; in a log it writes at most one line in ``every`` seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, total, every)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(title, total=total, note="")

        def report(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        yield report


def _lines(title: str, total: int, every: float) -> Report:
    began = last = time.monotonic()

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < every:
            return
        last = now
        left = (now - began) / max(done, 1) * (total - done)
        print(f"{title}: {done}/{total} {note} ({now - began:.0f} s, {left:.0f} s left)", file=sys.stderr, flush=True)  # noqa: T201 - the log

    return report
