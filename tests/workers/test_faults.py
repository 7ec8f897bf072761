"""What a real worker process survives: its own death, Redis gone or emptied, PostgreSQL ending its connections."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import Engine, text

from benchmarks.queue_stack import Witness
from db.engine import transaction
from db.queries.posts import insert_posts
from domain.errors import MoodtapeError
from domain.types import Post
from moodtape.servers import Redis
from runtime.health import beat_of
from workers.client.queue import Priority, ScoringClient
from workers.settings import WorkerSettings

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
FAKETIME = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")
clock = pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed (Debian: faketime)")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """``start(seconds_per_post, **environment)`` runs a worker process with a fake scorer."""
    running: list[subprocess.Popen[bytes]] = []

    def run(seconds: float = 0.0, **environment: str) -> subprocess.Popen[bytes]:
        known = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "MOODTAPE_DATA_DIR": str(tmp_path)}
        known |= {"MOODTAPE_QUEUE": tmp_path.name, "MOODTAPE_RECONCILE_SECONDS": "0.5", **environment}
        command = [sys.executable, "-m", "tests.workers.fake_worker", str(seconds)]
        with (tmp_path / "worker.log").open("ab") as log:
            running.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **known}, stdout=log, stderr=log))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def client(engine: Engine, redis_url: str, tmp_path: Path) -> Iterator[ScoringClient]:
    """A door's client on the same queue."""
    client = ScoringClient(engine, WorkerSettings(redis_url=redis_url, queue=tmp_path.name))
    client._champion = (float("inf"), "fake")
    yield client
    client.close()


@pytest.fixture
def witness(engine: Engine) -> Witness:
    """Sees every writing of a verdict, also one over another."""
    return Witness(engine)


def posts(engine: Engine, *texts: str, prefix: str = "t") -> list[str]:
    found = [Post(f"{prefix}:{n}", "t", words, "en", datetime.now(UTC)) for n, words in enumerate(texts)]
    with transaction(engine) as connection:
        insert_posts(connection, found)
    return [post.id for post in found]


def count(engine: Engine, query: str) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text(query)).scalar_one())


def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


def metric(port: int, name: str) -> float:
    """A metric of a worker; 0 once it has ended."""
    try:
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    except httpx.HTTPError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_worker_answers_within_its_bell_and_leaves_on_sigterm(
    start: Start, client: ScoringClient, engine: Engine, tmp_path: Path
) -> None:
    """Ready, answering, counted among the scorers; after SIGTERM it exits with 0 and is off the list."""
    worker = start()
    until(beat_of("workers", tmp_path).exists)
    client.submit(posts(engine, "to the moon"), priority=Priority.PEOPLE)
    assert client.wait("t:0", deadline=10)["emotions"]["label"] == "joy"
    assert count(engine, "select count(*) from scorers") == 1
    worker.terminate()
    assert worker.wait(timeout=15) == 0
    assert count(engine, "select count(*) from scorers") == 0
    assert not beat_of("workers", tmp_path).exists()


def test_killed_in_mid_batch_again_and_again_every_job_ends_with_one_verdict(
    start: Start, client: ScoringClient, engine: Engine, witness: Witness
) -> None:
    """kill -9 of the model process while it holds a batch: nothing lost, nothing doubled, no post blamed."""
    ids = posts(engine, *(f"post {n}" for n in range(60)))
    client.submit(ids, priority=Priority.LIVE)
    for _ in range(3):
        worker = start(0.02)
        until(lambda: count(engine, "select count(*) from batches where started_at > now() - interval '0.3 s'"))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert count(engine, "select count(*) from verdicts") < 60
    start()
    until(lambda: count(engine, "select count(*) from jobs where state = 'done'") == 60)
    assert count(engine, "select count(*) from verdicts") == 60
    assert witness.writings() == {"written": 60, "doubled": 0}
    assert count(engine, "select count(*) from batches") == 0


def test_a_poisonous_post_is_found_and_failed_and_the_others_are_answered(
    start: Start, client: ScoringClient, engine: Engine
) -> None:
    """A post that ends the process each time is soon alone in its batch and then given up."""
    ids = posts(engine, "a", "b", "KILL", "c")
    client.submit(ids, priority=Priority.LIVE)
    count(engine, "with all_ as (update jobs set attempts = 3 where post_id = 't:2' returning 1) select 1")
    for _ in range(2):
        assert start(MOODTAPE_RECONCILE_SECONDS="0.1").wait(timeout=30) == -signal.SIGKILL
    start()
    with pytest.raises(MoodtapeError, match="ended_worker"):
        client.wait("t:2", deadline=20)
    until(lambda: count(engine, "select count(*) from verdicts") == 3)


def test_an_emptied_redis_loses_nothing(
    start: Start, client: ScoringClient, engine: Engine, redis_url: str, tmp_path: Path
) -> None:
    """Doorbells are gone, jobs are not: the reconciler rings again."""
    client.submit(posts(engine, *(f"post {n}" for n in range(5))), priority=Priority.LIVE)
    with redis.Redis.from_url(redis_url) as server:
        server.delete(tmp_path.name)
    start()
    until(lambda: count(engine, "select count(*) from verdicts") == 5)
    assert count(engine, "select count(*) from jobs where state <> 'done'") == 0


def test_without_redis_people_are_still_answered_and_later_by_the_bell_again(
    start: Start, engine: Engine, servers_dir: Path, tmp_path: Path
) -> None:
    """Redis dies under a running worker and comes back: answers go on all the time, no restart by hand."""
    folder = servers_dir / tmp_path.name[-8:]
    folder.mkdir()
    server = Redis(folder, tied=True)
    url = server.start()
    worker = start(REDIS_URL=url)
    client = ScoringClient(engine, WorkerSettings(redis_url=url, queue=tmp_path.name))
    client._champion = (float("inf"), "fake")
    until(beat_of("workers", tmp_path).exists)
    first, second, third = posts(engine, "a", "b", "c")
    client.submit([first], priority=Priority.PEOPLE)
    client.wait(first, deadline=10)
    server.stop()
    client.submit([second], priority=Priority.PEOPLE)
    client.wait(second, deadline=10)
    server.start()
    client.submit([third], priority=Priority.PEOPLE)
    client.wait(third, deadline=10)
    assert worker.poll() is None
    client.close()
    server.stop()


def test_a_worker_survives_postgres_ending_its_connections(
    start: Start, client: ScoringClient, engine: Engine, tmp_path: Path, witness: Witness
) -> None:
    """Every connection is cut in the middle of a batch; the same process goes on and each post has one verdict."""
    worker = start(0.02)
    until(beat_of("workers", tmp_path).exists)
    client.submit(posts(engine, *(f"post {n}" for n in range(30))), priority=Priority.LIVE)
    until(lambda: count(engine, "select count(*) from batches"))
    count(
        engine,
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()",
    )
    until(lambda: count(engine, "select count(*) from verdicts") == 30)
    assert worker.poll() is None
    assert count(engine, "select count(*) from jobs where state <> 'done'") == 0
    assert witness.writings() == {"written": 30, "doubled": 0}
    assert count(engine, "select max(attempts) from jobs") <= 1


def test_a_batch_longer_than_the_visibility_time_is_scored_once(
    start: Start, client: ScoringClient, engine: Engine, witness: Witness
) -> None:
    """Redis rings a second worker for the same doorbell meanwhile; it finds the jobs held, does nothing and counts it."""
    client.submit(posts(engine, *(f"post {n}" for n in range(12))), priority=Priority.LIVE)
    ports = [free_port() for _ in range(2)]
    for port in ports:
        start(
            0.3,
            MOODTAPE_VISIBILITY="1",
            MOODTAPE_RECONCILE_SECONDS="60",
            MOODTAPE_WORKER_METRICS_PORT=str(port),
        )
    until(lambda: count(engine, "select count(*) from jobs where state = 'done'") == 12)
    assert count(engine, "select count(*) from verdicts") == 12
    assert count(engine, "select count(distinct scored_at) from verdicts") == 1, "all in one batch"
    assert count(engine, "select max(attempts) from jobs") == 0
    until(lambda: sum(metric(port, "moodtape_duplicate_rings_total") for port in ports) >= 1)
    assert witness.writings() == {"written": 12, "doubled": 0}


@clock
def test_a_worker_whose_clock_jumps_two_hours_doubles_nothing(
    start: Start, client: ScoringClient, engine: Engine, tmp_path: Path, witness: Witness
) -> None:
    """In mid-batch, beside a worker with the right time: every post is scored once, both go on, and both are counted."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    moved = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(offset)}
    workers = [
        start(0.02, MOODTAPE_SERVICE="right"),
        start(0.02, MOODTAPE_SERVICE="moved", FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1", **moved),
    ]
    until(lambda: all((tmp_path / "run" / f"{name}.ready").exists() for name in ("right", "moved")))
    client.submit(posts(engine, *(f"post {n}" for n in range(150))), priority=Priority.LIVE)
    until(lambda: count(engine, "select count(*) from batches"))
    offset.write_text("+2h")
    until(lambda: count(engine, "select count(*) from jobs where state = 'done'") == 150)
    assert count(engine, "select count(*) from verdicts") == 150
    assert witness.writings() == {"written": 150, "doubled": 0}
    assert count(engine, "select max(attempts) from jobs") == 0
    assert count(engine, "select count(*) from scorers where beat_at > now() - interval '10 s'") == 2
    client.submit(posts(engine, "to the moon", prefix="later"), priority=Priority.PEOPLE)
    client.wait("later:0", deadline=10)
    assert [worker.poll() for worker in workers] == [None, None]


@clock
def test_a_door_whose_clock_runs_two_hours_ahead_gets_its_answer_once(
    start: Start, database_url: str, redis_url: str, engine: Engine, tmp_path: Path, witness: Witness
) -> None:
    """Neither its job nor its wait expires, and asking again within its minute finds the same answer."""
    start()
    until(beat_of("workers", tmp_path).exists)
    known = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "MOODTAPE_QUEUE": tmp_path.name}
    ahead = (datetime.now(UTC) + timedelta(hours=2)).replace(
        second=5
    )  # far from the minute's end, which makes two posts
    known |= {"FAKETIME": f"@{ahead:%Y-%m-%d %H:%M:%S}", "TZ": "UTC"}
    known |= {"LD_PRELOAD": FAKETIME, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [sys.executable, "-m", "tests.workers.fake_door", "to the moon"]
    door = subprocess.run(command, cwd=ROOT, env={**os.environ, **known}, capture_output=True, text=True, check=False)
    assert door.stdout.split() == ["joy", "joy"], door.stderr
    assert count(engine, "select count(*) from posts where posted_at > now() + interval '1 h'") == 1
    assert witness.writings() == {"written": 1, "doubled": 0}
