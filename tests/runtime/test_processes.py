"""Several scoring processes under one parent, and what a door's process must not load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import supervised

ROOT = Path(__file__).parents[2]

CHILD = """
import os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
(place / f"{os.environ['MOODTAPE_SERVICE']}.{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
if (place / "broken").exists():
    sys.exit(70)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(60)
"""

PARENT = """
import sys
from runtime.supervised import run_processes
sys.exit(run_processes(2, (sys.executable, "-c", sys.argv[1], sys.argv[2])))
"""


def parent(place: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(place)], cwd=ROOT, env={**os.environ, **environment}
    )


def children(place: Path) -> dict[str, Path]:
    return {path.name: path for path in place.iterdir() if path.name.startswith("workers")}


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_process_is_started_again_and_all_stop_together(tmp_path: Path) -> None:
    """One process per GPU, each with its own; a dead one comes back; SIGTERM leaves none."""
    main = parent(tmp_path, CUDA_VISIBLE_DEVICES="4,7")
    until(lambda: len(children(tmp_path)) == 2)
    until(lambda: {path.read_text() for path in children(tmp_path).values()} == {"4", "7"})
    first = min(children(tmp_path))
    os.kill(int(first.rpartition(".")[2]), signal.SIGKILL)
    until(lambda: len(children(tmp_path)) == 3)
    main.send_signal(signal.SIGTERM)
    assert main.wait(timeout=20) == 0
    until(lambda: all(gone(int(name.rpartition(".")[2])) for name in children(tmp_path)))


def test_broken_weights_end_all_processes(tmp_path: Path) -> None:
    """Exit 70 is not tried again: the others would find the same."""
    (tmp_path / "broken").touch()
    assert parent(tmp_path).wait(timeout=20) == 70


def test_the_number_of_processes_is_as_asked_or_one_per_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without GPUs there is one process; CUDA_VISIBLE_DEVICES counts, an empty one means none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert supervised.count_processes(0) == 3
    assert supervised.count_processes(2) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert supervised.count_processes(0) == 1


@pytest.mark.parametrize(
    "module", ["workers.client.queue", "workers.client.analyze", "workers.cli", "runtime.supervised"]
)
def test_a_door_loads_no_model_framework(module: str) -> None:
    """What doors and the parent of the scoring processes import brings no torch along, and opens nothing."""
    code = f"import sys, {module}; print([n for n in ('torch', 'transformers', 'timm') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
