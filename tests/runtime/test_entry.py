"""A service can be stopped from its first line on, and says in one sentence what it cannot work with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain.errors import ConfigError
from runtime.entry import told

ROOT = Path(__file__).parents[2]
SERVICES = ("web", "bot", "streaming", "workers")


def handles_sigterm(pid: int) -> bool:
    """Whether the process has a handler of its own for SIGTERM."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_for_handler(pid: int) -> None:
    end = time.monotonic() + 20
    while not handles_sigterm(pid):
        assert time.monotonic() < end, "SIGTERM is not handled"
        time.sleep(0.002)


@pytest.mark.parametrize("service", SERVICES)
def test_a_starting_service_ends_when_told(service: str, tmp_path: Path) -> None:
    """SIGTERM as soon as Python runs our first line ends the process with 0, long before it could serve."""
    env = {**os.environ, "MOODTAPE_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://u@127.0.0.1:9/none"}
    with subprocess.Popen([sys.executable, "-m", service], cwd=ROOT, env=env, stderr=subprocess.PIPE) as process:
        try:
            wait_for_handler(process.pid)
            process.terminate()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def test_the_first_process_of_a_container_ends_when_told() -> None:
    """As PID 1, for which the kernel ignores every signal without a handler, a starting service ends too."""
    unshare = shutil.which("unshare")
    command = [unshare or "unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "web"]
    if not unshare or subprocess.run([*command[:4], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us make a process namespace")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as parent:
        try:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
            end = time.monotonic() + 20
            while not children.read_text().split():
                assert time.monotonic() < end
            child = int(children.read_text())
            wait_for_handler(child)
            os.kill(child, signal.SIGTERM)
            assert parent.wait(timeout=10) == 0
        finally:
            parent.kill()


def test_errors_become_a_sentence_or_a_logged_defect(capsys: pytest.CaptureFixture[str]) -> None:
    """A deliberate error ends with its own status and words, any other with 70 and no traceback in the sentence."""
    error = ConfigError("The key is too short.")
    with pytest.raises(SystemExit) as left, told("web"):
        raise error
    assert left.value.code == 2
    assert capsys.readouterr().err == f"moodtape: The key is too short. (id {error.id})\n"
    with pytest.raises(SystemExit) as left, told("web"):
        raise ZeroDivisionError
    assert left.value.code == 70
    with told("web"):
        pass
