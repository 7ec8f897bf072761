"""Memory that a scoring process frees goes back, and threads share one heap so that it can."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime import processes

ROOT = Path(__file__).parents[2]

ELSEWHERE = """
import ctypes, re, sys, threading
from pathlib import Path
from runtime import processes

if sys.argv[1] == "shared":
    assert processes.share_one_heap()
libc, found = ctypes.CDLL(None), []
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=lambda: found.append(libc.malloc(8000))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
[low, high] = re.search(r"^(\\w+)-(\\w+) .*\\[heap\\]$", Path("/proc/self/maps").read_text(), re.M).groups()
print(sum(not int(low, 16) <= place < int(high, 16) for place in found))
"""


def allocated_elsewhere(heap: str) -> int:
    command = [sys.executable, "-c", ELSEWHERE, heap]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_freed_memory_goes_back_where_the_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc is asked to trim; a C library without that is left alone."""
    asked: list[int] = []

    def trim(keep: int) -> int:
        asked.append(keep)
        return 1

    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(malloc_trim=trim))
    assert processes.give_back()
    assert asked == [0]
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace())
    assert not processes.give_back()
    assert not processes.share_one_heap()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_threads_share_one_heap() -> None:
    """What threads allocate lies in the process's heap; without being asked, glibc gives them others."""
    assert allocated_elsewhere("shared") == 0
    assert allocated_elsewhere("own") > 0
