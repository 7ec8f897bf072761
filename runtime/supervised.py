"""One supervised process: started, watched, started again with back-off, ended with all its descendants."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from domain.errors import EX_SOFTWARE, EX_USAGE
from runtime import processes
from runtime.health import Detail, last_beat, last_detail

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
CALM = 60.0
TRIES_OF_A_BROKEN_ONE = 5


class Health(StrEnum):
    """What a probe sees: ``UNREADY`` answers but cannot serve now, ``SILENT`` does not answer at all."""

    READY = "ready"
    UNREADY = "unready"
    SILENT = "silent"


class Phase(StrEnum):
    """Where a service stands; ``REFUSED`` and ``BROKEN`` are not started again."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    REFUSED = "refused"
    BROKEN = "broken"
    STOPPED = "stopped"


Probe = Callable[[datetime], Health]


@dataclass(frozen=True, slots=True)
class Spec:
    """How a service is started and asked; ``optional`` ones do not count for the stack's readiness."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    probe: Probe
    optional: bool = False
    address: str | None = None
    port: int | None = None
    grace: float = 120.0
    silence: float = 20.0
    beat: Path | None = None
    longest_pause: float = LONGEST_PAUSE
    tries: int = TRIES_OF_A_BROKEN_ONE
    """How often it may end with 70 before it counts as broken."""


def heartbeat_probe(path: Path, stale: float = 15.0) -> Probe:
    """Healthy while the file's beat is younger than ``stale`` seconds and than the process."""

    def probe(spawned: datetime) -> Health:
        beat = last_beat(path)
        fresh = beat is not None and beat >= spawned and datetime.now(UTC) - beat < timedelta(seconds=stale)
        return Health.READY if fresh else Health.SILENT

    return probe


def http_probe(host: str, port: int, path: str = "/ready") -> Probe:
    """200 is ready; another status is alive but unready."""

    def probe(_spawned: datetime) -> Health:
        connection = http.client.HTTPConnection(host, port, timeout=2.0)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return Health.SILENT
        finally:
            connection.close()
        return Health.READY if status == http.HTTPStatus.OK else Health.UNREADY

    return probe


@dataclass(slots=True)
class Service:
    """The life of one service; ``tick`` moves it on and returns a sentence when something worth telling happened."""

    spec: Spec
    log: Path | None
    """Where its output goes; None for where ours goes."""
    phase: Phase = Phase.WAITING
    failures: int = 0
    restarts: int = 0
    reason: str = ""
    detail: Detail = field(default_factory=dict)
    _child: subprocess.Popen[bytes] | None = None
    _born: str | None = None
    _spawned: float = 0.0
    _spawned_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _next: float = 0.0
    _probed: float = 0.0
    _well: float = 0.0
    _offset: int = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def given_up(self) -> bool:
        return self.phase in (Phase.REFUSED, Phase.BROKEN)

    def describe(self) -> dict[str, Any]:
        """What `moodtape status` shows of it."""
        return {
            "name": self.spec.name,
            "pid": self.pid,
            "born": self._born,
            "ready": self.phase is Phase.READY,
            "state": self.phase.value,
            "address": self.spec.address,
            "port": self.spec.port,
            "restarts": self.restarts,
            "optional": self.spec.optional,
            "reason": self.reason or None,
            "detail": dict(self.detail),
            "log": str(self.log or ""),
        }

    def tick(self, now: float) -> str | None:
        """Start it when it is time, notice its death, ask how it does."""
        if self.given_up or self.phase is Phase.STOPPED:
            return None
        if self._child is None:
            if now >= self._next:
                self._spawn(now)
            return None
        code = self._child.poll()
        if code is not None:
            return self._died(code, now)
        return self._ask(now) if now - self._probed >= (0.1 if self.phase is Phase.STARTING else 1.0) else None

    def _spawn(self, now: float) -> None:
        self._offset = self.log.stat().st_size if self.log is not None and self.log.exists() else 0
        self._spawned, self._spawned_at, self._well = now, datetime.now(UTC), 0.0
        self._child = processes.start(self.spec.argv, log=self.log, env=self.spec.env, tied=signal.SIGTERM)
        self._born = processes.birth(self._child.pid)
        self.phase = Phase.STARTING

    def _ask(self, now: float) -> str | None:
        self._probed = now
        health = self.spec.probe(self._spawned_at)
        self.detail = last_detail(self.spec.beat) if self.spec.beat and health is Health.READY else {}
        before = self.phase
        if health is Health.SILENT:
            patience = self.spec.silence if self._well else self.spec.grace
            if now - max(self._well, self._spawned) > patience:
                return self._replace(now)
            return None
        self._well = now
        self.phase = Phase.READY if health is Health.READY else Phase.UNREADY
        if self.phase is Phase.READY and now - self._spawned > CALM:
            self.failures = 0
        if self.phase is before:
            return None
        return f"{self.spec.name} is {'ready' if self.phase is Phase.READY else 'up, but not ready'}"

    def _replace(self, now: float) -> str:
        self.end(patience=5.0)
        self._pause(now)
        return f"{self.spec.name} did not answer and was ended; it starts again in {self._next - now:.1f} s"

    def _died(self, code: int, now: float) -> str:
        words = self.last_words()
        if self._child is not None:
            processes.end_group(self._child.pid)
        self._child = self._born = None
        self.reason = words
        if code == EX_USAGE:
            self.phase = Phase.REFUSED
            return f"{self.spec.name} refuses its settings and is not started again: {words}"
        self._pause(now)
        if code == EX_SOFTWARE and self.failures >= self.spec.tries:
            self.phase = Phase.BROKEN
            where = f" (log: {self.log})" if self.log else ""
            return f"{self.spec.name} failed {self.failures} times and is not started again: {words}{where}"
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return f"{self.spec.name} {how}; it starts again in {self._next - now:.1f} s"

    def _pause(self, now: float) -> None:
        self.phase = Phase.WAITING
        self._next = now + min(self.spec.longest_pause, FIRST_PAUSE * 2**self.failures)
        self.failures += 1
        self.restarts += 1

    def last_words(self) -> str:
        """The last line the process wrote since its start; the event of a JSON line."""
        if self.log is None:
            return "see what it said above"
        text = processes.tail(self.log, since=self._offset)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            return "it said nothing"
        try:
            body = json.loads(lines[-1])
            return str(body.get("error") or body.get("event") or lines[-1])[:300]
        except (ValueError, AttributeError):
            return lines[-1][:300]

    def ask_to_end(self) -> None:
        """Ask it to drain and end; `end` waits for it."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def end(self, patience: float) -> None:
        """End it and every process of its group."""
        if self._child is None:
            return
        self.ask_to_end()
        try:
            self._child.wait(timeout=max(0.0, patience))
        except subprocess.TimeoutExpired:
            processes.end_group(self._child.pid)
            self._child.wait(timeout=5.0)
        processes.end_group(self._child.pid)
        self._child = self._born = None
        self.phase = Phase.STOPPED

    def again(self) -> None:
        """Start anew at the next tick, for example with another environment."""
        self.end(patience=10.0)
        self.phase, self._next = Phase.WAITING, time.monotonic()


log = structlog.get_logger()

WORKER_PAUSE = 4.0
"""Longest pause before a scoring process starts again: one death may cost ten seconds, loading the models included."""

WORKER_GRACE = 30.0
"""Seconds that scoring processes get to finish their batch when told to stop."""


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


def run_processes(count: int, command: tuple[str, ...] = (sys.executable, "-m", "workers")) -> int:
    """Keep ``count`` scoring processes running until SIGTERM; returns the exit status.

    A process that finds its weights broken (70) ends them all, because the others would find the same; so do settings
    that every process refuses (2).
    """
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    services = [Service(_worker(number, command), None) for number in range(count)]
    status = 0
    while not stop.wait(0.1) and not status:
        for service in services:
            if said := service.tick(time.monotonic()):
                log.info(said)
        if any(service.phase is Phase.BROKEN for service in services):
            status = EX_SOFTWARE
        elif all(service.phase is Phase.REFUSED for service in services):
            status = EX_USAGE
    for service in services:
        service.ask_to_end()
    end = time.monotonic() + WORKER_GRACE
    for service in services:
        service.end(end - time.monotonic())
    return status


def _worker(number: int, command: tuple[str, ...]) -> Spec:
    """One scoring process, with its GPU where there are several."""
    name, devices = os.environ.get("MOODTAPE_SERVICE", "workers"), gpus()
    own = name if number == 0 else f"{name}.{number}"
    env = {**os.environ, "MOODTAPE_WORKER_PROCESSES": "1", "MOODTAPE_SERVICE": own}
    if devices:
        env["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return Spec(own, command, env, lambda spawned: Health.READY, longest_pause=WORKER_PAUSE, tries=1)
