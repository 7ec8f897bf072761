"""A thread that makes sure nothing is forgotten: rings again, buries dead batches, feeds rescore runs, reports itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.engine import transaction
from db.queries import jobs, revisions
from db.queries.rescore import feed
from domain.clock import Clock, SystemClock
from domain.errors import MoodtapeError
from domain.reasons import Reason
from runtime import processes
from workers.client.queue import Priority, error_text
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

log = structlog.get_logger()

TICK = 0.5
DEAF = 1.5
"""Seconds after a ring by which a worker should have moved; else the batch is run from here, without Redis."""

SILENCE = 15.0
"""Seconds without a report after which a scoring process counts as gone."""

OVERDUE = 60.0
"""Seconds after which the library takes in new windows even between two batches of a busy worker."""


class Reconciler:
    """Works beside a :class:`Runner` in the same process; :meth:`tick` does one round."""

    def __init__(
        self,
        engine: Engine,
        runner: Runner,
        settings: WorkerSettings,
        metrics: Metrics,
        ring: Callable[[Priority], bool],
        refresh: Callable[[], object] = lambda: None,
        keep_up: Callable[[], object] = lambda: None,
        device: str = "cpu",
        on_defect: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._settings = settings
        self._metrics = metrics
        self._ring = ring
        self._refresh = refresh
        self._keep_up = keep_up
        self._device = device
        self._on_defect = on_defect
        self._clock = clock or SystemClock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._rang_at: float | None = None
        self._last: dict[str, float] = {}
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.healthy = False

    def start(self) -> None:
        """Tick from a thread until :meth:`stop`."""
        self._thread = threading.Thread(target=self._work, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop ticking and take this process off the list."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=30.0)
        try:
            with transaction(self._engine) as connection:
                revisions.leave(connection, self.name)
        except MoodtapeError as error:
            log.warning("could not sign off", error=error.message)

    def tick(self) -> None:
        """One round; what is not due is skipped.

        Raises:
            Unavailable: PostgreSQL is away; the next round tries again.
        """
        if self._due("report", 2.0):
            self._report()
        if self._due("expire_batches", 1.0):
            self._expire_batches()
        with transaction(self._engine) as connection:
            fed = feed(connection, self._runner.revision, self._settings.rescore_window)
        self._ring_again(now=fed > 0)
        if self._due("adopt", 10.0):
            self._adopt()
        if self._due("trim", 10.0):
            processes.give_back()
        if self._due("bands", 10.0):
            self._keep_up()
        if self._due("refresh", OVERDUE if self._runner.busy else 5.0):
            self._grow()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
                self.healthy = True
            except MoodtapeError as error:
                self.healthy = False
                log.warning("the reconciler will try again", error=error.message)
            except SQLAlchemyError:
                log.exception("the reconciler will try again")
            except Exception:
                self.healthy = False
                log.exception("the models broke; this process ends and is started anew")
                self._on_defect()
                return
            self._stopping.wait(TICK)

    def _report(self) -> None:
        with transaction(self._engine) as connection:
            revisions.beat(connection, self.name, self._runner.revision, self._device, self._runner.pace.rate)
            self._metrics.queue(jobs.backlog(connection, self._runner.revision), self._clock.now())

    def _adopt(self) -> None:
        """A champion takes over what was queued for weights that left; a shadow or retired worker keeps to its own."""
        with transaction(self._engine) as connection:
            if revisions.champion(connection) != self._runner.revision:
                return
            if count := jobs.adopt(connection, self._runner.revision, SILENCE):
                log.info("jobs of retired weights were adopted", jobs=count)

    def _grow(self) -> None:
        try:
            self._runner.between_batches(self._refresh)
        except ValueError:
            log.exception("the library could not grow; scoring goes on")

    def _expire_batches(self) -> None:
        with transaction(self._engine) as connection:
            counted, failed = jobs.expire_batches(connection, error_text(MoodtapeError(Reason("ended_worker"))))
        if counted:
            self._metrics.deaths.inc(counted)
            log.warning("a batch died", jobs=counted, failed=failed)
            self._ring_again(now=True)

    def _ring_again(self, now: bool = False) -> None:
        if self._runner.busy:
            return
        age = 0.0 if now else self._settings.reconcile_seconds
        with transaction(self._engine) as connection:
            priority = jobs.ring_due(connection, self._runner.revision, age)
        if priority is None:
            self._rang_at = None
            return
        if self._deaf() or not self._ring(Priority(priority)):
            log.info("scoring without the bell")
            self._runner.drain()
            self._rang_at = None
        elif self._rang_at is None:
            self._rang_at = self._clock.monotonic()

    def _deaf(self) -> bool:
        """Whether we rang a while ago and nobody in this process has moved since."""
        rang = self._rang_at
        return rang is not None and self._runner.moved_at < rang and self._clock.monotonic() - rang > DEAF

    def _due(self, what: str, every: float) -> bool:
        now = self._clock.monotonic()
        if now - self._last.get(what, float("-inf")) < every:
            return False
        self._last[what] = now
        return True
