"""What the queue survives, at size: kill -9 of scoring processes, workers, Redis and PostgreSQL, slow tasks, a wrong clock.

Strikes fall while a batch is in the air under load; every post must end with exactly one verdict. Seconds to recover run
from the kill (for servers: from their return) until every job that was in the air then has its verdict; a worker is
started again at once, as a supervisor does. ``ours`` is the median, ``peer`` the ten seconds that are allowed.

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

from benchmarks.encode import made_up
from benchmarks.queue_stack import BY_RULE, REAL, SLOWLY, Stack, stack
from benchmarks.report import demand, report
from db.engine import transaction
from db.queries import jobs
from models.manifest import load_manifest

ALLOWED = 10.0
Found = tuple[list[float], dict[str, float]]
"""Seconds to recover from each strike, and what else was seen."""

LOAD = 240
"""Posts that wait at least when a blow falls."""

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


def enqueue(run: Stack, count: int, revision: str) -> None:
    """Put new posts on the queue as live ones, without a bell."""
    ids = run.store(made_up(count), f"t{run.scalar('select count(*) from posts')}")
    with transaction(run.engine) as connection:
        jobs.enqueue(connection, ids, revision, priority=1)


def waiting(run: Stack) -> int:
    """Jobs that wait."""
    return int(run.scalar("select count(*) from jobs where state = 'waiting'"))


def wait_still(run: Stack, job_ids: list[int]) -> int:
    """How many of these jobs wait."""
    return int(run.scalar("select count(*) from jobs where id = any(:ids) and state = 'waiting'", ids=job_ids))


def settle(run: Stack, true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something; what never comes is left to the figures, with the end of the workers' log for whoever looks."""
    try:
        run.until(true, seconds)
    except TimeoutError as error:
        print(f"not within {seconds:.0f} s: {error}", file=sys.stderr, flush=True)


def in_the_air(run: Stack) -> list[int]:
    """Jobs of the batches being scored now."""
    query = "select array_agg(j) from batches, unnest(job_ids) j where started_at > now() - interval '2 s'"
    return list(run.scalar(query) or [])


def strike(run: Stack, revision: str, blow: Callable[[], None]) -> float:
    """Under load, strike while a batch is in the air, and wait until every job it held is done; seconds from the blow."""
    if waiting(run) < LOAD:
        enqueue(run, LOAD, revision)
    run.until(lambda: in_the_air(run))
    struck = in_the_air(run)
    begun = time.monotonic()
    blow()
    settle(run, lambda: not wait_still(run, struck))
    seconds = time.monotonic() - begun
    print(f"{len(struck)} jobs struck, done after {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def kill_models(run: Stack, revision: str, kills: int) -> Found:
    """One of two scoring processes under one parent, in turn."""
    worker = psutil.Process(run.start_worker(MOODTAPE_WORKER_PROCESSES="2", MOODTAPE_THREADS="1").pid)
    seconds = []
    for _ in range(kills):
        run.until(lambda: len(alive(worker)) == 2 and all(serves(run, child.pid) for child in alive(worker)))
        oldest = min(alive(worker), key=lambda child: child.create_time())
        seconds.append(strike(run, revision, oldest.kill))
    return seconds, {}


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

    return [strike(run, revision, blow) for _ in range(kills)], {}


def kill_server(run: Stack, revision: str, kills: int, blow: Callable[[Stack], None]) -> Found:
    """A server under a worker that must outlive it; seconds from the server's return."""
    worker = run.start_worker()
    seconds = []
    for _ in range(kills):
        away: list[float] = []

        def timed(away: list[float] = away) -> None:
            begun = time.monotonic()
            blow(run)
            away.append(time.monotonic() - begun)

        seconds.append(strike(run, revision, timed) - away[0])
    return seconds, {"workers_ended": int(worker.poll() is not None)}


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


def outlast_visibility(run: Stack, revision: str, kills: int) -> Found:
    """Two workers, batches of about five seconds, doorbells that ring again after one."""
    ports = [free_port() for _ in range(2)]
    for port in ports:
        run.start_worker(MOODTAPE_VISIBILITY="1", MOODTAPE_BATCH_SECONDS="5", MOODTAPE_WORKER_METRICS_PORT=str(port))
    seconds = [strike(run, revision, lambda: None)]
    settle(run, lambda: waiting(run) == 0)
    counted = sum(duplicates(port) for port in ports)
    return seconds, {"duplicates_counted": counted, "never_rung_twice": int(counted == 0)}


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
    seconds = [strike(run, revision, partial(set_clock, offset, jump)) for jump in ("+2h", "+0", "-10m")]
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
    "redis": lambda run, revision, kills: kill_server(run, revision, kills, kill_redis),
    "redis-noaof": lambda run, revision, kills: kill_server(run, revision, kills, kill_and_empty_redis),
    "postgres": lambda run, revision, kills: kill_server(run, revision, kills, kill_postgres),
    "visibility": outlast_visibility,
    "clock": jump_the_clock,
}


if __name__ == "__main__":
    main()
