"""The whole stack as a person starts it: ready, one answer by every way in, healed, killed, started again, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from moodtape.servers import Broker, Postgres, Redis
from moodtape.state import MARK, State, current, public
from runtime import processes

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

pytestmark = pytest.mark.stack


class Stack:
    """`moodtape up` on a data directory of its own, as a child process."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOODTAPE_", "TELEGRAM_"))}
        self.env = {**kept, "PYTHONPATH": str(ROOT), "MOODTAPE_DATA_DIR": str(folder)}
        self.output = folder.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> float:
        """Start and wait until ready; returns the seconds it took."""
        began = time.monotonic()
        with self.output.open("wb") as out:
            argv = [sys.executable, "-m", "moodtape", "up", "--no-bot"]
            self.process = subprocess.Popen(argv, env=self.env, stdout=out, stderr=out, cwd="/")
        until(lambda: self.status()["ready"], self._alive)
        return time.monotonic() - began

    def _alive(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "moodtape", *arguments]
        return subprocess.run(
            argv, env=self.env, cwd="/", check=False, capture_output=True, text=True, timeout=PATIENCE
        )

    def status(self) -> dict[str, Any]:
        """What `moodtape status --json` prints, without a process of its own for each of many looks."""
        return public(current(self.state))

    def pids(self) -> list[int]:
        seen = self.state.read()
        return [part["pid"] for part in (*seen["servers"], *seen["services"]) if part.get("pid")]


def until(condition: Callable[[], bool], act: Callable[[], object] = lambda: None) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        act()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack; nothing of it outlives the module."""
    stack = Stack(tmp_path_factory.mktemp("up") / "data")
    try:
        stack.up()
        yield stack
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()
        processes.end_all(processes.marked(MARK, stack.state.token), patience=5.0)
        for kind in (Redis, Broker):
            kind(stack.state.data_dir).stop()
        Postgres(stack.state.data_dir).remove()


def post(page: str, fields: dict[str, str]) -> dict[str, Any]:
    """POST /v1/analyze as a browser does."""
    edge = "edge-of-a-part"
    body = "".join(f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
    request = urllib.request.Request(
        f"{page}/v1/analyze",
        data=f"{body}--{edge}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.loads(answer.read()))


def test_the_stack_is_whole(stack: Stack) -> None:
    """Every server and service runs and is ready, the doctor finds nothing wrong, the feed is named on the page's API."""
    seen = json.loads(stack.run("status", "--json").stdout)
    assert {part["name"]: part["ready"] for part in seen["services"]} == {
        "postgres": True,
        "broker": True,
        "redis": True,
        "worker-1": True,
        "web": True,
        "streaming": True,
        "nightly": True,
    }
    assert all(isinstance(part["pid"], int) for part in seen["services"])
    details = {part["name"]: part["detail"] for part in seen["services"]}
    assert details["streaming"]["feed"] == "synthetic"
    assert set(details["worker-1"]) == {"revision", "device"}
    assert details["broker"]["memory_mb"] > 0
    assert {part["name"] for part in seen["services"] if part["port"]} == {"postgres", "broker", "redis", "web"}
    done = stack.run("doctor", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), done.stdout


def test_the_same_answer_by_command_line_and_http(stack: Stack, tmp_path: Path) -> None:
    """One caption gives one JSON by both doors, with probabilities that sum to one; the chart is a PNG."""
    caption = "Bitcoin just broke every record, I am so happy!"
    chart = tmp_path / "chart.png"
    for _ in range(3):  # a minute may turn between the two calls, and a post's id holds its minute
        done = stack.run("analyze", "--caption", caption, "--json", "--chart", str(chart))
        answer = json.loads(done.stdout)
        other = post(stack.status()["page"], {"caption": caption})
        if answer["post_id"] == other["post_id"]:
            break
    assert answer == other
    assert sum(answer["emotions"]["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
    assert chart.read_bytes().startswith(b"\x89PNG")
    words = stack.run("analyze", "--caption", caption)
    assert words.returncode == 0
    assert "Traceback" not in words.stdout + words.stderr


def test_a_second_up_is_refused(stack: Stack) -> None:
    """While one supervisor holds the directory another says so and leaves."""
    done = stack.run("up", "--no-bot")
    assert done.returncode == 75
    assert "moodtape already runs on" in done.stderr


def test_a_killed_worker_is_replaced(stack: Stack) -> None:
    """After kill -9 of the worker the stack gets ready again by itself."""
    before = next(s["pid"] for s in stack.status()["services"] if s["name"] == "worker-1")
    os.kill(before, signal.SIGKILL)

    def healed() -> bool:
        worker = next(s for s in stack.status()["services"] if s["name"] == "worker-1")
        return bool(worker["ready"] and worker["pid"] != before)

    until(healed)
    assert next(s["restarts"] for s in stack.status()["services"] if s["name"] == "worker-1") == 1


def test_killed_started_and_stopped(stack: Stack) -> None:
    """kill -9 of the supervisor loses no post and a second start is clean; SIGTERM then leaves no process."""
    database = stack.state.read()["addresses"]["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(database)

    def posts() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("select count(*) from posts")).scalar_one())

    before = posts()
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    assert stack.status()["running"] is False
    stack.up()
    assert posts() >= before > 0
    engine.dispose()
    pids = stack.pids()
    stack.process.terminate()
    assert stack.process.wait(timeout=60) == 0
    assert not [pid for pid in pids if processes.birth(pid)]
    assert not processes.marked(MARK, stack.state.token)
    assert stack.status()["running"] is False
