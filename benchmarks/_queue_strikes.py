"""Blows at the scoring queue: load, the moment when a batch is in the air, and how long its jobs take to be done after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psutil

from benchmarks.encode import made_up
from benchmarks.queue_stack import Held, Stack
from db.engine import transaction
from db.queries import jobs

Found = tuple[list[float], dict[str, float]]
"""Seconds to recover from each strike, and what else was seen."""

LOAD = 240
"""Posts that wait at least when a blow falls."""

LATE = 24
"""Posts put on the queue while Redis is away."""


def enqueue(run: Stack, count: int, revision: str) -> list[int]:
    """Put new posts on the queue as live ones, without a bell; their jobs."""
    ids = run.store(made_up(count), f"t{run.scalar('select count(*) from posts')}")
    with transaction(run.engine) as connection:
        jobs.enqueue(connection, ids, revision, priority=1)
    return list(run.scalar("select array_agg(id) from jobs where post_id = any(:ids)", ids=ids))


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


def catch(run: Stack, revision: str, victim: psutil.Process | None = None) -> list[Held]:
    """Batches in the air (of one process, or of anybody) as soon as there are any; under load."""
    found: list[Held] = []

    def caught() -> bool:
        if waiting(run) < LOAD:
            enqueue(run, LOAD, revision)
        found[:] = run.held()
        if found and victim is not None:
            ports = {wire.laddr.port for wire in victim.net_connections(kind="tcp")}
            found[:] = [batch for batch in found if batch.port in ports]
        return bool(found)

    run.until(caught)
    return found


def strike(
    run: Stack, revision: str, blow: Callable[[], None], victim: psutil.Process | None = None
) -> tuple[float, int]:
    """Strike while a batch is in the air, wait until all its jobs are done: (seconds from the blow, batches dead of it)."""
    struck = catch(run, revision, victim)
    held = [job for batch in struck for job in batch.jobs]
    begun = time.monotonic()
    blow()
    settle(run, lambda: not wait_still(run, held))
    seconds = time.monotonic() - begun
    died = sum(run.died(batch) for batch in struck)
    told = f"{len(held)} jobs in {len(struck)} batches struck, {died} batches died, done after {seconds:.1f} s"
    print(told, file=sys.stderr, flush=True)
    return seconds, died


def deadly(kills: int, once: Callable[[], tuple[float, int]]) -> Found:
    """Strike until so many blows have each been the death of a batch."""
    struck: list[tuple[float, int]] = []
    while sum(died > 0 for _, died in struck) < kills and len(struck) < 2 * kills + 3:
        struck.append(once())
    seconds = [taken for taken, died in struck if died]
    if not seconds:
        raise SystemExit(f"None of {len(struck)} strikes was the death of a batch.")
    died = sum(died for _, died in struck)
    missed = len(struck) - len(seconds)
    return seconds, {"batches_died": died, "strikes_missed": missed, "strikes_short": kills - len(seconds)}
