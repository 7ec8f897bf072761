"""``python -m web`` as a process: refusals, an answer over a real socket, a clean end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "web", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_refuses_to_be_open_to_others_without_a_key() -> None:
    """Exit 2 and one sentence."""
    process = start("--host", "0.0.0.0")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "set MOODTAPE_API_KEY" in said
    assert "Traceback" not in said


def test_a_taken_port_is_told(taken: int) -> None:
    """Exit 2, the port, and what to do."""
    process = start("--port", str(taken))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"port {taken}" in said
    assert "choose another with --port" in said


def test_it_serves_and_ends_cleanly_with_a_stream_open(database_url: str) -> None:
    """The page, a live stream over a real socket, and exit 0 on SIGTERM without waiting for the stream."""
    process = start("--port", "0", DATABASE_URL=database_url, REDIS_URL="redis://127.0.0.1:1/0")
    try:
        assert process.stderr is not None
        opened = next(line for line in process.stderr if "is open" in line)
        port = int(opened.split('"port": ')[1].split(",")[0])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=5)) as client:
            assert "moodtape" in client.get("/", timeout=30).text
            with client.stream("GET", "/v1/live", timeout=30) as live:
                assert next(live.iter_text()).startswith("retry")
                process.terminate()
                assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()
