"""Several scoring processes on one machine, one per GPU: started, started again when they die, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from domain.errors import EX_SOFTWARE

log = structlog.get_logger()

STEADY = 60.0
"""Seconds after which a process that lived that long is started again at once."""

LONGEST_PAUSE = 4.0
"""With the start of a process, which loads the models, still within the ten seconds that one death may cost."""

GRACE = 30.0
"""Seconds that processes get to finish their batch when told to stop."""


def gpus() -> list[str]:
    """Names of the GPUs that a process may be given, without loading CUDA; empty without any."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    listed = Path("/proc/driver/nvidia/gpus")
    return [str(n) for n, _ in enumerate(sorted(listed.iterdir()))] if listed.is_dir() else []


def count_processes(asked: int) -> int:
    """How many processes to run here: as asked; for 0 one per GPU, or one."""
    return asked or max(1, len(gpus()))


@dataclass(slots=True)
class _Slot:
    number: int
    process: subprocess.Popen[bytes]
    started: float
    pause: float = 0.5
    again_at: float | None = None


def run_processes(count: int, command: tuple[str, ...] = (sys.executable, "-m", "workers")) -> int:
    """Keep ``count`` processes running until SIGTERM; returns the exit status.

    A process that finds its weights broken (70) ends them all, because its like would find the same.
    """
    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    devices = gpus()
    slots = [_Slot(n, _start(command, n, devices), time.monotonic()) for n in range(count)]
    status = 0
    while not stopping:
        time.sleep(0.1)
        for slot in slots:
            if _look_after(slot, lambda n: _start(command, n, devices)) == EX_SOFTWARE:
                status, stopping = EX_SOFTWARE, True
    _stop([slot.process for slot in slots])
    return status


def _start(command: tuple[str, ...], number: int, devices: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MOODTAPE_WORKER_PROCESSES": "1"}
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    service = environment.get("MOODTAPE_SERVICE", "workers")
    environment["MOODTAPE_SERVICE"] = service if number == 0 else f"{service}.{number}"
    return subprocess.Popen(command, env=environment)  # noqa: S603  our own command


def _look_after(slot: _Slot, start: Callable[[int], subprocess.Popen[bytes]]) -> int | None:
    """Start a dead process again, with a pause that doubles while it keeps dying; its exit status when it just died."""
    now = time.monotonic()
    if slot.again_at is not None:
        if now >= slot.again_at:
            slot.process, slot.started, slot.again_at = start(slot.number), now, None
        return None
    status = slot.process.poll()
    if status is None:
        return None
    slot.pause = 0.5 if now - slot.started > STEADY else min(2 * slot.pause, LONGEST_PAUSE)
    slot.again_at = now + slot.pause
    log.warning("a scoring process ended", process=slot.number, status=status, again_in=slot.pause)
    return status


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
