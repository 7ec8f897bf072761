"""What the queue survives, at size: kill -9 of scoring processes, workers, Redis and PostgreSQL, slow tasks, a wrong clock.

Strikes fall while a batch is in the air under load; every post must end with exactly one verdict, written once. Seconds to
recover run from the kill (for PostgreSQL: from its return) until every job that the victim held then is done; a worker is
started again at once, as a supervisor does. Only strikes that a batch died of count; ``strikes_missed`` came too late.
Redis holds no batch: posts put on the queue while it is away are timed, from then until they are done, its own start
included, in turn with an idle worker (which only the bell or the reconciler wakes) and with one under load.
``ours`` is the median, ``peer`` the ten seconds that are allowed.

    python -m benchmarks.faults_queue --victim VICTIM [--kills 50] [--by-rule] [--json]

Victims: ``model`` (one of two scoring processes; their parent starts it again), ``worker`` (parent and all), ``redis``
(with its file), ``redis-noaof`` (everything it held is lost), ``postgres``, ``visibility`` (batches of several visibility
times, two workers: duplicate deliveries are counted), ``clock`` (one of two workers jumps two hours ahead, back, and ten
minutes back; needs Debian's faketime). ``--by-rule`` answers by rule in the place of the packaged models; ``visibility``
and ``clock`` always do.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import psutil
import redis

from benchmarks._queue_strikes import LATE, Found, catch, deadly, enqueue, settle, strike, wait_still, waiting
from benchmarks.queue_stack import BY_RULE, REAL, SLOWLY, Stack, stack
from benchmarks.report import demand, report
from models.manifest import load_manifest

ALLOWED = 10.0
MUST_BE_ZERO = ("lost", "doubled", "jobs_not_done", "workers_ended", "strikes_short", "never_rung_twice")
"""With any of these the benchmark ends with status 1."""

FAKETIME = "*/faketime/libfaketime.so.1"


def main() -> None:
    """Strike and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", choices=VICTIMS, default="model")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--by-rule", action="store_true", help="verdicts by rule in the place of the models")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    slow = given.victim in ("visibility", "clock")
    by_rule = given.by_rule or slow
    kills = 1 if slow else given.kills
    with stack((SLOWLY if slow else BY_RULE) if by_rule else REAL) as run:
        seconds, more = VICTIMS[given.victim](run, "fake" if by_rule else load_manifest().revision, kills)
        settle(run, lambda: waiting(run) == 0, seconds=900)
        figures = ended(run) | more
    report(
        ours=statistics.median(seconds),
        peer=ALLOWED,
        unit=f"seconds to recover from a strike at {given.victim}, median (lower is better)",
        slowest=max(seconds),
        strikes=len(seconds),
        scorer="by rule" if by_rule else "packaged models",
        **figures,
        packages=("celery", "kombu", "redis", "psycopg"),
    )
    demand(**{name: int(figures.get(name, 0)) for name in MUST_BE_ZERO})


def ended(run: Stack) -> dict[str, float]:
    """How the posts ended: each must have one verdict, written once."""
    posts = int(run.scalar("select count(*) from posts"))
    return {
        "posts": posts,
        "verdicts": int(run.scalar("select count(*) from verdicts")),
        "lost": posts - int(run.scalar("select count(distinct post_id) from verdicts")),
        **run.writings(),
        "jobs_not_done": int(run.scalar("select count(*) from jobs where state <> 'done'")),
        "most_deaths_of_a_post": int(run.scalar("select max(attempts) from jobs")),
    }


def kill_models(run: Stack, revision: str, kills: int) -> Found:
    """One of two scoring processes under one parent, in turn, when it holds a batch."""
    worker = psutil.Process(run.start_worker(MOODTAPE_WORKER_PROCESSES="2", MOODTAPE_THREADS="1").pid)

    def once() -> tuple[float, int]:
        run.until(lambda: len(alive(worker)) == 2 and all(serves(run, child.pid) for child in alive(worker)))
        oldest = min(alive(worker), key=lambda child: child.create_time())
        return strike(run, revision, oldest.kill, oldest)

    return deadly(kills, once)


def alive(worker: psutil.Process) -> list[psutil.Process]:
    """Scoring processes under a parent."""
    return [child for child in worker.children() if child.status() != psutil.STATUS_ZOMBIE]


def serves(run: Stack, pid: int) -> bool:
    """Whether a process has its models loaded and has reported lately."""
    query = "select count(*) from scorers where name like :name and beat_at > now() - interval '5 s'"
    return bool(run.scalar(query, name=f"%:{pid}"))


def kill_workers(run: Stack, revision: str, kills: int) -> Found:
    """The worker with everything in it; a new one is started at once."""
    worker = run.start_worker()

    def blow() -> None:
        nonlocal worker
        run.kill(worker)
        worker = run.start_worker()

    return deadly(kills, lambda: strike(run, revision, blow))


def kill_postgres(run: Stack, revision: str, kills: int) -> Found:
    """Kill -9 of the whole server under a worker that must outlive it; seconds from the server's return."""
    worker = run.start_worker()
    away = 0.0

    def blow() -> None:
        nonlocal away
        begun = time.monotonic()
        os.kill(run.postgres.pid or 0, signal.SIGKILL)
        run.postgres.start()
        away = time.monotonic() - begun

    def once() -> tuple[float, int]:
        seconds, died = strike(run, revision, blow)
        return seconds - away, died

    seconds, more = deadly(kills, once)
    return seconds, {**more, "workers_ended": int(worker.poll() is not None)}


def kill_redis(run: Stack, revision: str, kills: int, emptied: bool) -> Found:
    """Under a worker that must outlive it; ``emptied``: what Redis held is lost. Idle and under load in turn."""
    worker = run.start_worker()
    run.until(lambda: run.scalar("select count(*) from scorers"))
    idle, loaded = [], []
    for n in range(kills):
        if n % 2:
            catch(run, revision)
            loaded.append(without_redis(run, revision, emptied))
        else:
            settle(run, lambda: waiting(run) == 0)
            idle.append(without_redis(run, revision, emptied))
    more = {"median_when_idle": statistics.median(idle), "workers_ended": int(worker.poll() is not None)}
    return idle + loaded, more | ({"median_under_load": statistics.median(loaded)} if loaded else {})


def without_redis(run: Stack, revision: str, emptied: bool) -> float:
    """Kill -9 Redis, put posts on the queue while it is away, start it; seconds until those posts are done."""
    os.kill(run.redis.pid or 0, signal.SIGKILL)
    before = waiting(run)
    late = enqueue(run, LATE, revision)
    begun = time.monotonic()
    run.redis.start()
    if emptied:
        with redis.Redis.from_url(run.environment["REDIS_URL"]) as server:
            server.flushall()
    back = time.monotonic() - begun
    settle(run, lambda: not wait_still(run, late))
    seconds = time.monotonic() - begun
    told = f"Redis back after {back:.1f} s; {LATE} jobs behind {before} others done after {seconds:.1f} s"
    print(told, file=sys.stderr, flush=True)
    return seconds


def outlast_visibility(run: Stack, revision: str, kills: int) -> Found:
    """Two workers, batches of about five seconds, doorbells that ring again after one."""
    ports = [free_port() for _ in range(2)]
    for port in ports:
        run.start_worker(MOODTAPE_VISIBILITY="1", MOODTAPE_BATCH_SECONDS="5", MOODTAPE_WORKER_METRICS_PORT=str(port))
    seconds, _ = strike(run, revision, lambda: None)
    settle(run, lambda: waiting(run) == 0)
    counted = sum(duplicates(port) for port in ports)
    return [seconds], {"duplicates_counted": counted, "never_rung_twice": int(counted == 0)}


def jump_the_clock(run: Stack, revision: str, kills: int) -> Found:
    """One of two workers jumps two hours ahead while both have a batch in the air, and comes back."""
    library = next(Path("/usr/lib").glob(FAKETIME), None)
    if library is None:
        raise SystemExit("libfaketime is not installed (Debian: apt-get install faketime).")
    offset = run.folder / "offset"
    offset.write_text("+0")
    moved = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    moved |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ports = [free_port() for _ in range(2)]
    right = run.start_worker(MOODTAPE_SERVICE="right", MOODTAPE_WORKER_METRICS_PORT=str(ports[0]))
    wrong = run.start_worker(MOODTAPE_SERVICE="wrong", MOODTAPE_WORKER_METRICS_PORT=str(ports[1]), **moved)
    run.until(lambda: run.scalar("select count(*) from scorers") == 2)
    seconds = [strike(run, revision, partial(set_clock, offset, jump))[0] for jump in ("+2h", "+0", "-10m")]
    settle(run, lambda: waiting(run) == 0)
    counted = sum(duplicates(port) for port in ports)
    return seconds, {"duplicates_counted": counted, "workers_ended": sum(w.poll() is not None for w in (right, wrong))}


def set_clock(offset: Path, jump: str) -> None:
    """Move the clock of whoever reads this file through libfaketime."""
    offset.write_text(jump)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


def duplicates(port: int) -> int:
    """Doorbells that a worker says were delivered to it again."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    return int(sum(float(line.split()[1]) for line in lines if line.startswith("moodtape_duplicate_rings_total ")))


VICTIMS: dict[str, Callable[[Stack, str, int], Found]] = {
    "model": kill_models,
    "worker": kill_workers,
    "redis": partial(kill_redis, emptied=False),
    "redis-noaof": partial(kill_redis, emptied=True),
    "postgres": kill_postgres,
    "visibility": outlast_visibility,
    "clock": jump_the_clock,
}


if __name__ == "__main__":
    main()
