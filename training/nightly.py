"""``python -m training.nightly``: Celery's beat with its worker; once a night the walk-forward runs in a process of its own.

The service loads no models: what a run needs of memory goes with its process, which is polite to everything else. Its task
is acknowledged before it runs, because Redis gives back what is held for longer than a minute; a night that dies is made up
by the next one. Several services share the nights: a run begins only where no other runs, and none ended lately.
"""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.entry import begin

    begin()

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from celery.beat import EmbeddedService
from celery.schedules import crontab
from sqlalchemy import Engine, text

from db.engine import make_engine, transaction
from db.queries.earned import latest_fold
from domain.errors import MoodtapeError
from runtime import processes
from runtime.entry import told
from runtime.health import Detail, Heartbeat, default_data_dir
from runtime.logs import configure
from workers.client.queue import make_app

log = structlog.get_logger()

QUEUE = "nightly"
TASK = "training.nightly"
HOUR, MINUTE = 2, 15
APART = timedelta(hours=12)
"""After a walk-forward none is begun by the clock for so long."""
LOCK = 0x6E696768
"""Advisory lock of a run."""
POLITE = 10
LOOK = 60.0
"""Seconds for which what status shows of the newest walk-forward is remembered."""


class Child:
    """The process of a run; one at a time, ended with the service."""

    def __init__(self, argv: tuple[str, ...] = (sys.executable, "-m", "training.nightly", "--once")) -> None:
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Start it and wait; returns its exit status."""
        self._process = processes.start(self._argv, log=None, tied=signal.SIGTERM)
        status = self._process.wait()
        log.info("the night's process has ended", status=status)
        return status

    def end(self) -> None:
        """Ask it to end, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def make_nightly(run: Callable[[], object], schedule: Any = None) -> Celery:
    """The Celery application with its beat: the task of the night, on a queue of its own so that no scorer waits for it."""
    app = make_app()
    app.conf.update(task_acks_late=False, task_reject_on_worker_lost=False, timezone="UTC")

    def nightly() -> None:
        run()

    app.task(name=TASK, ignore_result=True)(nightly)
    at = schedule or crontab(hour=HOUR, minute=MINUTE)
    app.conf.beat_schedule = {"nightly": {"task": TASK, "schedule": at, "options": {"queue": QUEUE}}}
    return app


def serve(child: Child | None = None, schedule: Any = None) -> int:
    """Run beat and its worker until told to stop; returns the exit status.

    The schedule's state lies in the data directory: a night missed while the machine was off is made up when it is on again.
    """
    folder = Path(os.environ.get("MOODTAPE_DATA_DIR") or default_data_dir()) / "run"
    folder.mkdir(parents=True, exist_ok=True)
    child, engine = child or Child(), make_engine()
    app = make_nightly(child.run, schedule)
    signals.setup_logging.connect(_logging_is_set_up)
    ending = lambda **_: child.end()  # noqa: E731  celery holds receivers weakly
    signals.worker_shutting_down.connect(ending)
    beat = EmbeddedService(app, thread=True, schedule_filename=str(folder / "nightly-beat"))
    worker: Any = app.Worker(
        pool="solo", concurrency=1, queues=[QUEUE], without_mingle=True, without_gossip=True, without_heartbeat=True,
        hostname=f"nightly-{os.getpid()}@moodtape", quiet=True,
    )  # fmt: skip
    beat.start()
    try:
        with Heartbeat("training.nightly").beating(detail=Seen(engine)):
            worker.start()
    finally:
        beat.stop()
        child.end()
        engine.dispose()
    return int(worker.exitcode or 0)


def _logging_is_set_up(**_: Any) -> None:
    """Celery asks who sets up logging; the process entry did."""


class Seen:
    """What status shows: when the newest walk-forward was made, its alarms, and when the next one is due."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._detail: Detail = {}
        self._until = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> Detail:
        with self._lock:
            if time.monotonic() >= self._until:
                self._until = time.monotonic() + LOOK
                self._detail = self._look()
        return self._detail

    def _look(self) -> Detail:
        try:
            with transaction(self._engine) as connection:
                fold = latest_fold(connection)
        except MoodtapeError:
            return self._detail
        due = f"{HOUR:02}:{MINUTE:02} UTC"
        if fold is None or fold.made_at is None:
            return {"last": "never", "due": due}
        alarms = ", ".join(sorted(fold.alarms)) or "none"
        return {"last": fold.made_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"), "alarms": alarms, "due": due}


def night(engine: Engine, now: datetime, once: Callable[[Engine, datetime], dict[str, Any]]) -> dict[str, Any] | None:
    """One run, unless another is under way or a walk-forward was made lately; None then."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as held:
        if not held.execute(text("select pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar():
            return None
        try:
            fold = latest_fold(held)
            if fold is not None and fold.made_at is not None and now - fold.made_at < APART:
                return None
            return once(engine, now)
        finally:
            held.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK})


def _run() -> int:
    from training.trajectories.nightly import once

    os.nice(POLITE)
    engine = make_engine()
    try:
        if night(engine, datetime.now(UTC), once) is None:
            log.info("this night's walk-forward is there already, or under way")
    finally:
        engine.dispose()
    return 0


def main(arguments: list[str]) -> int:
    """The service, or with ``--once`` a single run."""
    configure("nightly")
    status = 0
    with told("nightly"):
        status = _run() if arguments == ["--once"] else serve()
    return status  # noqa: RET504  the block may end the process instead


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
