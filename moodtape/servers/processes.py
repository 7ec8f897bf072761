"""Processes of the operating system: who is alive, who was born when, how one is started and ended for good."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_children: dict[int, subprocess.Popen[bytes]] = {}


def birth(pid: int) -> str | None:
    """What tells a process from a later one with the same number: boot and start tick. None if it is dead or a zombie."""
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            dead, tick = fields[0] in "ZX", f"{_boot()}:{fields[19]}"
        else:
            process = psutil.Process(pid)
            dead, tick = process.status() == psutil.STATUS_ZOMBIE, f"{process.create_time():.2f}"
    except (OSError, psutil.Error):
        return None
    if dead:
        _reap(pid)
    return None if dead else tick


def same(pid: int | None, born: str | None) -> bool:
    """Whether the process that was recorded as (pid, born) still lives; a recycled number is another process."""
    return pid is not None and born is not None and birth(pid) == born


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        _children.pop(pid, None)


@lru_cache(maxsize=1)
def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip()[:8] if path.exists() else ""


def start(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    tied: signal.Signals | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to ``log``.

    ``tied`` is the signal it gets when the starting thread dies (Linux), so that nothing outlives a killed parent.
    """
    for pid in tuple(_children):
        _reap(pid)
    log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid = user or (None, None)
    with log.open("ab") as out:
        child = subprocess.Popen(  # noqa: S603 - the caller's own program, without a shell
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd="/" if user else None,
            user=uid,
            group=gid,
            extra_groups=[] if user else None,
            start_new_session=True,
            preexec_fn=_tie(tied) if tied else None,  # noqa: PLW1509 - one system call between fork and exec
        )
    _children[child.pid] = child
    return child


def _tie(number: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return ask


def adopt_orphans() -> None:
    """Let grandchildren whose parent dies become ours, so that a stop finds every one (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(pid: int, born: str, first: signal.Signals, patience: float) -> bool:
    """Send ``first``, wait up to ``patience`` seconds, then kill; True if the process went by itself."""
    _send(pid, born, first)
    if wait_gone(pid, born, patience):
        return True
    _send(pid, born, signal.SIGKILL)
    wait_gone(pid, born, 5.0)
    return False


def wait_gone(pid: int, born: str, patience: float) -> bool:
    """Wait until the process is no more; a child of ours is reaped on the way."""
    deadline = time.monotonic() + patience
    while same(pid, born):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    if child := _children.pop(pid, None):
        child.wait(timeout=5.0)
    return True


def end_group(group: int) -> None:
    """Kill what is left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def marked(name: str, value: str) -> list[psutil.Process]:
    """Live processes whose environment holds ``name=value``, ourselves and our parents left out."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        try:
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def end_all(processes: Sequence[psutil.Process], patience: float) -> None:
    """Ask processes to end, then kill those that did not."""
    for process in processes:
        _quietly(process.terminate)
    _, left = psutil.wait_procs(processes, timeout=patience)
    for process in left:
        _quietly(process.kill)
    psutil.wait_procs(left, timeout=5.0)


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.Error:
        return


def _send(pid: int, born: str, number: signal.Signals) -> None:
    if same(pid, born):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
