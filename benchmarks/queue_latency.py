"""Seconds that a person waits for a verdict at 5 posts/s: on an idle queue, and while stored posts are rescored.

The real models, one worker process; the wait includes storing the post, the bell, scoring with reasons, and the notice.
``ours`` is the 95th percentile during the rescore, ``peer`` the 1.5 s that are allowed. The rescore must still run when the
last person has the answer (else status 1: take more ``--posts``), and must have scored something meanwhile.

    python -m benchmarks.queue_latency [--data posts.parquet] [--posts 20000] [--seconds 60] [--json]
"""

from __future__ import annotations

import argparse
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encode import made_up, real
from benchmarks.queue_stack import REAL, Stack, stack
from benchmarks.report import demand, report
from db.engine import transaction
from db.queries import rescore
from db.queries.posts import insert_posts
from domain.text import clean
from domain.types import Post
from models.manifest import load_manifest
from workers.client.queue import Priority, ScoringClient
from workers.settings import WorkerSettings

ALLOWED = 1.5
RATE = 5.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--posts", type=int, default=20_000, help="stored posts to rescore meanwhile")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long people ask, each time")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    texts = real(given.data, given.posts) if given.data else made_up(given.posts)
    asked = texts[: int(given.seconds * RATE)]
    revision = load_manifest().revision
    with stack(REAL) as run:
        run.store(texts, "old")
        run.start_worker()
        run.until(lambda: run.scalar("select count(*) from scorers"))
        client = ScoringClient(
            run.engine, WorkerSettings.model_validate({"REDIS_URL": run.environment["REDIS_URL"], "max_people": 4000})
        )
        alone = people(run, client, asked, "alone")
        with transaction(run.engine) as connection:
            number = rescore.begin(connection, revision, rescore.Filters(source="old"), "benchmark")
        run.until(lambda: rescored(run))
        before, begun = rescored(run), time.monotonic()
        during = people(run, client, asked, "during")
        meanwhile = standing(run, number, before, time.monotonic() - begun)
        with transaction(run.engine) as connection:
            rescore.cancel_run(connection, number)
        client.close()
    report(
        ours=float(np.quantile(during, 0.95)),
        peer=ALLOWED,
        unit="seconds until the verdict during a rescore, 95th percentile (lower is better)",
        median_during=float(np.median(during)),
        median_alone=float(np.median(alone)),
        p95_alone=float(np.quantile(alone, 0.95)),
        **meanwhile,
        posts=len(asked),
        packages=("torch", "celery", "psycopg"),
    )
    over, starved = not meanwhile["rescore_running_at_the_end"], not meanwhile["rescored_meanwhile"]
    demand(rescore_over=int(over), rescore_starved=int(starved))


def rescored(run: Stack) -> int:
    """Stored posts that the rescore has scored so far."""
    return int(run.scalar("select count(*) from verdicts v join posts p on p.id = v.post_id where p.source = 'old'"))


def standing(run: Stack, number: int, before: int, seconds: float) -> dict[str, Any]:
    """How the rescore stands now: what it did in these seconds, what it has left, and whether it still runs."""
    state = run.scalar("select state from rescore_runs where id = :id", id=number)
    done = rescored(run)
    left = int(run.scalar("select count(*) from posts where source = 'old'")) - done
    return {
        "rescored_meanwhile": done - before,
        "rescored_posts_per_second_meanwhile": (done - before) / seconds,
        "rescore_posts_left": left,
        "rescore_running_at_the_end": state == "running" and left > 0,
    }


def people(run: Stack, client: ScoringClient, texts: list[str], name: str) -> list[float]:
    """Ask at the rate, each from a thread of its own; seconds until each answer."""
    seconds: list[float] = []
    threads = []
    begun = time.monotonic()
    for n, words in enumerate(texts):
        time.sleep(max(0.0, begun + n / RATE - time.monotonic()))
        thread = threading.Thread(
            target=lambda n=n, words=words: seconds.append(ask(run, client, f"{name}:{n}", words))
        )
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    if len(seconds) < len(texts):
        raise RuntimeError(f"{len(texts) - len(seconds)} of {len(texts)} people got no answer")
    return seconds


def ask(run: Stack, client: ScoringClient, post_id: str, words: str) -> float:
    """Store a post, submit it, wait; the seconds it took."""
    started = time.monotonic()
    post = Post(post_id, "person", clean(words), "en", datetime.now(UTC), ("BTC/USDT",))
    with transaction(run.engine) as connection:
        insert_posts(connection, [post])
    client.submit([post_id], priority=Priority.PEOPLE)
    client.wait(post_id, deadline=60)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
