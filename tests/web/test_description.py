"""The OpenAPI description against the door: Schemathesis finds no call that is answered otherwise than described."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import revisions
from tests.fakes.answers import REVISION, store_candles, working
from tests.web.conftest import NOON

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "5")
"""Made-up calls of each route; a person who wants to be surer sets more."""


@contextmanager
def beating(engine: Engine) -> Iterator[None]:
    """The worker says that it lives, as a real one does every few seconds."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(3):
            with transaction(engine) as connection:
                revisions.beat(connection, "fake-1", REVISION, "cpu", 100.0)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def address(engine: Engine, database_url: str) -> Iterator[str]:
    """A door as a process, with a market and a worker behind it."""
    store_candles(engine, "BTC/USDT", NOON, 300)
    with transaction(engine) as connection:
        revisions.register(connection, REVISION, {})
    quiet = {"REDIS_URL": "redis://127.0.0.1:1/0", "MOODTAPE_WEB_DEADLINE": "5"}
    process = subprocess.Popen(
        [sys.executable, "-m", "web", "--port", "0"],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url, **quiet}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        opened = next(line for line in process.stderr if "is open" in line)
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        with working(engine), beating(engine):
            port = int(opened.split('"port": ')[1].split(",")[0])
            yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        reader.join()
        process.stderr.close()


def test_every_call_is_answered_as_described(address: str) -> None:
    """All phases and checks; the live stream is left out, because it never ends."""
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "--config-file", str(Path(__file__).with_name("schemathesis.toml")), "run", f"{address}/openapi.json",
        "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES, "--seed", "1",
        "--exclude-path", "/v1/live", "--no-color", "--suppress-health-check", "all", "--request-timeout", "30",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
