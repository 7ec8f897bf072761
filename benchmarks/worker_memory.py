"""Memory of a worker that scores post after post: what it holds at rest, and what that gains over the hours.

A real worker process with the packaged models rescores stored posts in rounds, each as fast as it can; then it rests until
it has given freed memory back to the system, as it does every 10 s. What it holds is noted in that rest: anonymous memory
(resident and swapped) of its process and all that it started; pages of files, which the system drops and reads again, do
not count. In mid-batch a worker holds some 80 MB more, which come and go: ``mb_most_in_batch``.

``ours`` is the slope of the least-squares line through the notes after the warm-up, in MB per hour of this run, rests
included; ``peer`` the 1 MB per hour that is allowed. The same line against the posts scored gives ``mb_per_10k_posts``, and
``mb_per_hour_of_the_feed`` is that for 18,000 posts, an hour of a feed of 5 posts a second. ``..._error`` are standard
errors, widened where neighbouring notes resemble each other (``resemblance``, the lag-1 correlation of the residuals);
``..._upper`` is the one-sided 95 % bound, slope + 1.645 errors: below ``peer`` the mark is shown and not only met. A short
run shows nothing: notes scatter by 1 to 2 MB, so it takes about 150 of them over an hour.

    python -m benchmarks.worker_memory [--data posts.parquet] [--rounds 12] [--size 1000] [--warm 10000] [--rest 11.5] [--json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.encode import made_up, real
from benchmarks.queue_stack import REAL, Stack, stack
from benchmarks.report import demand, report
from db.engine import transaction
from db.queries import rescore, revisions

ALLOWED = 1.0
FEED = 5 * 3600
"""Posts per hour of the live feed, to which the slope per post is converted."""

STEP = 0.5
"""Seconds between two looks at a worker."""

ONE_SIDED = 1.645
"""Standard errors above the slope at which its one-sided 95 % bound lies."""


@dataclass(frozen=True, slots=True)
class Note:
    """One rest: when it ended, posts scored by then, least MB seen in it, most MB seen in the round before."""

    seconds: float
    posts: int
    rest: float
    most: float


@dataclass(frozen=True, slots=True)
class Line:
    """A least-squares slope and its standard error; ``scatter``: of the residuals, ``resemblance``: of neighbours."""

    slope: float
    error: float
    scatter: float
    resemblance: float

    @property
    def upper(self) -> float:
        """The one-sided 95 % bound."""
        return self.slope + ONE_SIDED * self.error


def main() -> None:
    """Measure and print."""
    given = arguments()
    count = given.warm + given.rounds * given.size
    texts = real(given.data, count) if given.data else made_up(count)
    with stack(REAL) as run:
        process = psutil.Process(run.start_worker().pid)
        run.until(lambda: run.scalar("select count(*) from scorers"))
        notes = list(watch(run, process, texts, given))
        processes = 1 + len(process.children(recursive=True))
        missing = notes[-1].posts - int(run.scalar("select count(*) from verdicts"))
    speak(notes, processes)
    demand(posts_without_verdict=missing)


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--rounds", type=int, default=12, help="rounds after the warm-up, at least 3")
    parser.add_argument("--size", type=int, default=1000, help="posts of a round")
    parser.add_argument("--warm", type=int, default=10_000, help="posts before the first of them")
    parser.add_argument(
        "--rest", type=float, default=11.5, help="seconds of rest; more than 10.5, or nothing is given back"
    )
    parser.add_argument("--trace", action="store_true", help="print each note")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def watch(run: Stack, worker: psutil.Process, texts: list[str], given: argparse.Namespace) -> Iterator[Note]:
    """The note of the warm-up, then one of each round; posts begin anew where the data are too few."""
    started, posts = time.monotonic(), 0
    for number in range(given.rounds + 1):
        size = given.size if number else given.warm
        most = work(run, worker, [texts[n % len(texts)] for n in range(posts, posts + size)], f"round-{number}")
        posts += size
        end, least = time.monotonic() + given.rest, float("inf")
        while time.monotonic() < end:
            time.sleep(STEP)
            least = min(least, held(worker))
        note = Note(time.monotonic() - started, posts, least, most)
        if given.trace:
            print(f"{note.seconds:.0f} s, {posts} posts, {least:.2f} MB at rest, {most:.0f} MB before", flush=True)
        yield note


def work(run: Stack, worker: psutil.Process, texts: list[str], name: str) -> float:
    """Store posts and have them scored; the most MB held meanwhile."""
    run.store(texts, name)
    with transaction(run.engine) as connection:
        champion = revisions.champion(connection) or ""
        number = rescore.begin(connection, champion, rescore.Filters(source=name), "benchmark")
    most, end = 0.0, time.monotonic() + 60 + len(texts)
    while run.scalar("select state from rescore_runs where id = :id", id=number) != "done":
        most = max(most, held(worker))
        if time.monotonic() > end:
            raise TimeoutError((run.folder / "worker.log").read_text()[-3000:])
        time.sleep(STEP)
    return most


def held(worker: psutil.Process) -> float:
    """MB of anonymous memory, resident or swapped, of a process and all that it started (Linux)."""
    total = _anonymous(worker.pid)
    for child in worker.children(recursive=True):
        try:
            total += _anonymous(child.pid)
        except (FileNotFoundError, ProcessLookupError):  # one that has just ended
            continue
    return total


def _anonymous(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Anonymous:", "Swap:"))) / 1024


def line(x: Any, y: Any) -> Line:
    """Through points in order; the error counts neighbours that resemble each other as fewer than they are."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    residuals = y - y.mean() - slope * away
    squares = float(residuals @ residuals)
    resemblance = float(residuals[1:] @ residuals[:-1]) / squares if squares else 0.0
    scatter = (squares / (len(x) - 2)) ** 0.5
    again = min(max(resemblance, 0.0), 0.99)
    error = scatter / float(away @ away) ** 0.5 * ((1 + again) / (1 - again)) ** 0.5
    return Line(slope, error, scatter, resemblance)


def speak(notes: list[Note], processes: int) -> None:
    """Print the report."""
    rests = [note.rest for note in notes]
    hours = line([note.seconds / 3600 for note in notes], rests)
    posts = line([float(note.posts) for note in notes], rests)
    passed, scored = notes[-1].seconds - notes[0].seconds, notes[-1].posts - notes[0].posts
    report(
        ours=hours.slope,
        peer=ALLOWED,
        unit="MB per hour of the run, after the warm-up (lower is better)",
        ours_error=hours.error,
        ours_upper=hours.upper,
        mb_per_10k_posts=10_000 * posts.slope,
        mb_per_10k_posts_error=10_000 * posts.error,
        mb_per_hour_of_the_feed=FEED * posts.slope,
        mb_per_hour_of_the_feed_error=FEED * posts.error,
        mb_per_hour_of_the_feed_upper=FEED * posts.upper,
        mb_first=rests[0],
        mb_last=rests[-1],
        mb_least_at_rest=min(rests),
        mb_most_at_rest=max(rests),
        mb_most_in_batch=max(note.most for note in notes),
        mb_scatter=hours.scatter,
        resemblance=hours.resemblance,
        notes=len(notes),
        posts=scored,
        warm_up_posts=notes[0].posts,
        hours=passed / 3600,
        posts_per_hour=3600 * scored / passed,
        processes=processes,
        packages=("torch", "transformers", "psycopg", "celery"),
    )


if __name__ == "__main__":
    main()
