"""A rescore of stored posts by the real models: posts per second, a kill -9 in the middle, nothing missing or doubled.

``ours`` is the rate of the whole worker path (claim, market, models, verdicts in PostgreSQL) between the first and the
last verdict, the kill and the new start left out; ``peer`` is the rate that the transformers pipeline (batch 32) reaches
on the same texts for the text model alone, one process after the other on the same cores.

    python -m benchmarks.rescore [--data posts.parquet] [--posts 20000] [--json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.encode import made_up, pipeline, real
from benchmarks.queue_stack import REAL, Stack, stack
from benchmarks.report import demand, report
from db.engine import transaction
from db.queries import rescore, revisions
from models.emotion.text import EmotionTextReader
from models.manifest import ARTIFACTS

PEER_POSTS = 320
STALLED = 60.0
"""Seconds without a new verdict after which the rest counts as missing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    texts = real(given.data, given.posts) if given.data else made_up(given.posts)
    with stack(REAL) as run:
        stored = len(run.store(texts, "old"))
        worker = run.start_worker()
        run.until(lambda: run.scalar("select count(*) from scorers"))
        with transaction(run.engine) as connection:
            number = rescore.begin(connection, revisions.champion(connection) or "", rescore.Filters(), "benchmark")
        before, first = measure(run, stored // 3)
        run.kill(worker)
        killed = time.monotonic()
        run.start_worker()
        at_kill = done(run)
        run.until(lambda: done(run) > at_kill)
        recovered = time.monotonic() - killed
        after, second = measure(run, stored)
        figures = ended(run, number, stored)
    report(
        ours=(before + after) / (first + second),
        peer=peer(texts[:PEER_POSTS]),
        unit="posts/s of the whole worker path",
        posts=stored,
        **figures,
        seconds_to_recover=recovered,
        packages=("torch", "transformers", "psycopg", "celery"),
    )
    demand(**{name: figures[name] for name in ("missing", "doubled", "not_done", "run_not_done")})


def done(run: Stack) -> int:
    """Verdicts so far."""
    return int(run.scalar("select count(*) from verdicts"))


def ended(run: Stack, number: int, stored: int) -> dict[str, int]:
    """How the run ended: each post must have one verdict, written once."""
    state = "select state from rescore_runs where id = :id"
    end = time.monotonic() + STALLED
    while run.scalar(state, id=number) != "done" and time.monotonic() < end:
        time.sleep(0.5)
    return {
        "verdicts": done(run),
        "missing": stored - int(run.scalar("select count(distinct post_id) from verdicts")),
        **run.writings(),
        "not_done": int(run.scalar("select count(*) from jobs where state <> 'done'")),
        "run_not_done": int(run.scalar(state, id=number) != "done"),
    }


def measure(run: Stack, until: int) -> tuple[int, float]:
    """Wait for so many verdicts in all, or until none comes any more; (verdicts, seconds) from the first that came."""
    start = done(run)
    run.until(lambda: done(run) > start or start >= until)
    start = now = done(run)
    begun = moved = time.monotonic()
    while now < until and time.monotonic() - moved < STALLED:
        time.sleep(0.5)
        before, now = now, done(run)
        moved = time.monotonic() if now > before else moved
    return now - start, moved - begun


def peer(texts: list[str]) -> float:
    """Posts per second of the pipeline, after one warm-up."""
    run = pipeline(EmotionTextReader.from_pretrained(ARTIFACTS / "emotion-text"))
    run(texts[:32])
    started = time.monotonic()
    run(texts)
    return len(texts) / (time.monotonic() - started)


if __name__ == "__main__":
    main()
