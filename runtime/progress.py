"""Progress of a long run: a bar on a terminal, a plain line now and then in a log; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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
"""Least seconds between two lines of progress in a log."""


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


class Report(Protocol):
    """Told after each step: how many steps are done, and a short note such as the loss."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int, every: float | None = None) -> Iterator[Report]:
    """A reporter for ``total`` steps; in a log it writes at most one line in ``every`` seconds (:data:`LINE_SECONDS`)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, total, LINE_SECONDS if every is None else every)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(title, total=total or None, note="")

        def report(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        yield report


def _lines(title: str, total: int, every: float) -> Report:
    began = last = time.monotonic()

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if (done < total or done == 0 or not total) and now - last < every:
            return
        last, rate = now, done / max(now - began, 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if rate and total else ""
        of = f" of {total:,}" if total else ""
        sys.stderr.write(f"{title}: {done:,}{of}, {rate:,.0f}/s{left} {note}".rstrip() + "\n")
        sys.stderr.flush()

    return report
