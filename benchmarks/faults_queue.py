"""What the queue survives, at size: kills of the worker in mid-batch, of Redis with and without its file, of PostgreSQL.

Every post must end with exactly one verdict. Seconds to recover run from the kill to the next verdict, the start of a
new worker included (a supervisor's part, done here at once). ``ours`` is the median after a kill of the worker, ``peer``
the ten seconds that are allowed.

    python -m benchmarks.faults_queue [--kills 50] [--models] [--json]
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from collections.abc import Callable

import redis

from benchmarks.encode import made_up
from benchmarks.queue_stack import BY_RULE, REAL, Stack, stack
from benchmarks.report import report
from db.engine import transaction
from db.queries import jobs
from models.manifest import load_manifest

ALLOWED = 10.0
PER_KILL = 120


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--models", action="store_true", help="the real models in the place of verdicts by rule")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    revision = load_manifest().revision if given.models else "fake"
    with stack(REAL if given.models else BY_RULE) as run:
        posts = PER_KILL * given.kills
        ids = run.store(made_up(posts), "t")
        enqueue(run, ids, revision)
        seconds = kills(run, given.kills)
        worker = run.start_worker()
        run.until(lambda: waiting(run) == 0, seconds=600)
        deaths = int(run.scalar("select max(attempts) from jobs"))
        others = {name: fault(run, name, revision) for name in FAULTS}
        assert worker.poll() is None, "the worker did not survive its servers"
        verdicts = int(run.scalar("select count(*) from verdicts"))
        total = int(run.scalar("select count(*) from posts"))
        failed = int(run.scalar("select count(*) from jobs where state <> 'done'"))
    report(
        ours=statistics.median(seconds),
        peer=ALLOWED,
        unit="seconds from kill -9 of the worker to the next verdict, median (lower is better)",
        slowest=max(seconds),
        kills=given.kills,
        posts=total,
        verdicts=verdicts,
        lost=total - verdicts,
        not_done=failed,
        most_deaths_of_a_post=deaths,
        recovery_seconds=others,
        packages=("celery", "kombu", "redis", "psycopg"),
    )


def enqueue(run: Stack, ids: list[str], revision: str) -> None:
    """Put posts on the queue as live ones, without a bell."""
    with transaction(run.engine) as connection:
        jobs.enqueue(connection, ids, revision, priority=1)


def waiting(run: Stack) -> int:
    """Jobs that wait."""
    return int(run.scalar("select count(*) from jobs where state = 'waiting'"))


def done(run: Stack) -> int:
    """Jobs that are done."""
    return int(run.scalar("select count(*) from jobs where state = 'done'"))


def kills(run: Stack, count: int) -> list[float]:
    """Kill the worker in mid-batch again and again; seconds to the next verdict each time."""
    seconds: list[float] = []
    worker = run.start_worker()
    for _ in range(count):
        before = done(run)
        run.until(lambda before=before: done(run) > before and in_the_air(run))
        run.kill(worker)
        killed, before = time.monotonic(), done(run)
        worker = run.start_worker()
        run.until(lambda before=before: done(run) > before)
        seconds.append(time.monotonic() - killed)
    run.kill(worker)
    return seconds


def in_the_air(run: Stack) -> bool:
    """Whether a batch is being scored now."""
    return bool(run.scalar("select exists (select from batches where started_at > now() - interval '2 s')"))


def kill_redis(run: Stack) -> None:
    """Kill -9; what its file holds is there again."""
    os.kill(run.redis.pid or 0, signal.SIGKILL)
    run.redis.start()


def kill_and_empty_redis(run: Stack) -> None:
    """Kill -9, and everything it held is lost."""
    kill_redis(run)
    with redis.Redis.from_url(run.environment["REDIS_URL"]) as server:
        server.flushall()


def kill_postgres(run: Stack) -> None:
    """Kill -9 of the whole server."""
    os.kill(run.postgres.pid or 0, signal.SIGKILL)
    run.postgres.start()


FAULTS: dict[str, Callable[[Stack], None]] = {
    "redis": kill_redis,
    "redis_emptied": kill_and_empty_redis,
    "postgres": kill_postgres,
}


def fault(run: Stack, name: str, revision: str) -> float:
    """Strike while a batch is in the air; seconds from the server's return to the next verdict."""
    ids = run.store(made_up(400), name)
    enqueue(run, ids, revision)
    run.until(lambda: in_the_air(run))
    FAULTS[name](run)
    returned, before = time.monotonic(), done(run)
    run.until(lambda: done(run) > before or waiting(run) == 0)
    seconds = time.monotonic() - returned
    run.until(lambda: waiting(run) == 0)
    return round(seconds, 2)


if __name__ == "__main__":
    main()
