"""Processes of the operating system: who is alive, how one is started and ended for good, its files, its freed memory."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from domain.errors import ConfigError, MoodtapeError, Unavailable

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
    log: Path | None,
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    tied: signal.Signals | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to ``log``, or where ours goes.

    ``tied`` is the signal it gets when the starting thread dies (Linux), so that nothing outlives a killed parent.
    """
    for pid in tuple(_children):
        _reap(pid)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid = user or (None, None)
    with log.open("ab") if log is not None else nullcontext() as out:
        child = subprocess.Popen(  # noqa: S603 - the caller's own program, without a shell
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out is not None else None,
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


def explain(error: OSError, place: Path) -> MoodtapeError:
    """The sentence for a file system that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"The disk that holds {place} is full; free some room, or choose another --data-dir.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(f"{place} cannot be written ({error.strerror}); choose another directory by --data-dir.")
    return ConfigError(f"{place} cannot be used ({error.strerror}); choose another directory by --data-dir.")


def make_directory(path: Path, mode: int) -> Path:
    """Make a directory with this mode; an existing one keeps its own.

    Raises:
        ConfigError, Unavailable: it cannot be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            path.chmod(mode)
    except OSError as error:
        raise explain(error, path) from None
    return path


def write_json(path: Path, body: Any) -> None:
    """Replace a file atomically, readable by its owner only.

    Raises:
        ConfigError, Unavailable: the disk is full or refuses.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            json.dump(body, file, indent=1)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise explain(error, path.parent) from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none, or a torn one."""
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def tail(path: Path, size: int = 4000, since: int = 0) -> str:
    """The last characters of a log, none before the byte ``since`` (unless the log was emptied meanwhile)."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            end = file.tell()
            file.seek(max(end - size, since if since <= end else 0, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def reachable(path: Path) -> bool:
    """Whether any user may walk to ``path`` and enter it."""
    path = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents) if place.is_dir())


def trim_log(path: Path, limit: int) -> None:
    """Keep a log that is open for appending below ``limit`` bytes: its end moves to ``.1``, the file starts anew."""
    try:
        if path.stat().st_size <= limit:
            return
        path.with_name(path.name + ".1").write_bytes(tail(path, limit // 2).encode())
        os.truncate(path, 0)
    except OSError:
        return


ARENA_MAX = -8
"""``M_ARENA_MAX`` of glibc's malloc.h."""


def share_one_heap() -> bool:
    """Let all threads allocate from one heap, where the C library can be asked to; to be called before threads start.

    By default each thread gets a heap of its own. Both threads that run batches then leave holes in theirs, and what is
    kept at rest wanders by 20 MB. The lock of one heap costs nothing here: the threads take turns at the interpreter and
    the models anyway, and small blocks come from caches without locks.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(choose(ARENA_MAX, 1)) if choose is not None else False


def give_back() -> bool:
    """Let the C library return freed pages to the system, where it can; whether it had any.

    Batches of ever other sizes leave holes between what is kept: without this a worker creeps up by megabytes an hour.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False
