"""Memory of a worker that scores post after post: what it holds when warm, and what it gains over 10,000 posts more.

A real worker process with the packaged models rescores stored posts; its resident memory is noted twice a second.
``ours`` is the slope of a straight line through the notes after the warm-up, in MB per hour of such work at full speed;
``peer`` the 1 MB per hour that is allowed. Notes scatter by some 20 MB with the batch under way, so over a few minutes an
hour's slope is uncertain by hundreds of MB: ``mb_gained`` compares the medians of the first and the last quarter.

    python -m benchmarks.worker_memory [--data posts.parquet] [--posts 10000] [--warm 10000] [--json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.encode import made_up, real
from benchmarks.queue_stack import REAL, Stack, stack
from benchmarks.report import report
from db.engine import transaction
from db.queries import rescore, revisions

ALLOWED = 1.0
Note = tuple[float, float, float]
"""Seconds, verdicts, MB."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--posts", type=int, default=10_000, help="posts after the warm-up")
    parser.add_argument("--warm", type=int, default=10_000, help="posts before it")
    parser.add_argument("--trace", action="store_true", help="print each thousandth note")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    count = given.warm + given.posts
    texts = real(given.data, count) if given.data else made_up(count)
    with stack(REAL) as run:
        stored = len(run.store(texts, "old"))
        worker = psutil.Process(run.start_worker().pid)
        run.until(lambda: run.scalar("select count(*) from scorers"))
        with transaction(run.engine) as connection:
            rescore.begin(connection, revisions.champion(connection) or "", rescore.Filters(), "benchmark")
        notes = watch(run, worker, stored, given.trace)
    warm = np.array([note for note in notes if note[1] >= given.warm * stored / count])
    per_second, per_post = slope(warm[:, 0], warm[:, 2]), slope(warm[:, 1], warm[:, 2])
    quarter = max(1, len(warm) // 4)
    report(
        ours=3600 * per_second,
        peer=ALLOWED,
        unit="MB per hour at full speed after the warm-up (lower is better)",
        mb_per_10k_posts=10_000 * per_post,
        mb_gained=float(np.median(warm[-quarter:, 2]) - np.median(warm[:quarter, 2])),
        mb_warm=float(warm[0, 2]),
        mb_end=float(warm[-1, 2]),
        mb_most=float(warm[:, 2].max()),
        posts=int(warm[-1, 1] - warm[0, 1]),
        seconds=float(warm[-1, 0] - warm[0, 0]),
        packages=("torch", "transformers", "psycopg", "celery"),
    )


def watch(run: Stack, worker: psutil.Process, posts: int, trace: bool) -> list[Note]:
    """Notes until so many verdicts are there."""
    notes: list[Note] = []
    shown = 0
    while not notes or notes[-1][1] < posts:
        done = float(run.scalar("select count(*) from verdicts"))
        notes.append((time.monotonic(), done, worker.memory_info().rss / 2**20))
        if trace and done >= shown:
            print(f"{done:.0f} posts, {notes[-1][2]:.1f} MB", flush=True)
            shown += 1000
        time.sleep(0.5)
    return notes


def slope(x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Of the least-squares line."""
    return float(np.polyfit(x - x[0], y, 1)[0])


if __name__ == "__main__":
    main()
