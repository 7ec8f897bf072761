"""A scoring process: checks the weights, loads the models once, then answers the bell until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from types import FrameType
from typing import Any

import structlog
from celery import Celery, Task, signals
from celery.worker import state as celery_state
from prometheus_client import REGISTRY, start_http_server
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.engine import make_engine, transaction
from db.queries import revisions
from domain.answer import Json, stamp
from domain.clock import parse_time
from domain.errors import EX_TEMPFAIL, ConfigError, MoodtapeError, Unavailable
from domain.reasons import Reason
from models.manifest import Manifest
from runtime.health import Heartbeat
from workers.bands import Bands
from workers.client.queue import EXPLAIN, SCORE, ScoringClient, error_text, make_app
from workers.metrics import Metrics
from workers.reconciler import Reconciler
from workers.runner import BatchScorer, Done, Runner
from workers.settings import WorkerSettings

BATCH_PATIENCE = 30.0
"""Seconds that a stopping process waits for a batch to end."""


def run_safely(runner: Runner, on_defect: Callable[[], None], by_bell: bool = True) -> Done:
    """One batch; what goes wrong leaves its jobs waiting, and the process alive unless the models themselves broke."""
    try:
        return runner.run_once(by_bell)
    except MoodtapeError as error:
        log.warning("a batch could not be scored now", error=error.message)
    except SQLAlchemyError:
        log.exception("a batch could not be written")
    except Exception:
        log.exception("the models broke; this process ends and is started anew")
        on_defect()
    return Done(0)


class SecondRunner:
    """Helps a runner while more waits than its current batch."""

    def __init__(self, runner: Runner, on_defect: Callable[[], None]) -> None:
        self._runner = runner
        self._on_defect = on_defect
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="second-runner", daemon=True)

    def start(self) -> None:
        """Wait for work from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch under way and stop."""
        self._stopping.set()
        self._runner.more.set()
        self._thread.join(BATCH_PATIENCE)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._runner.more.wait()
            self._runner.more.clear()
            if not self._stopping.is_set():
                run_safely(self._runner, self._on_defect, by_bell=False)


log = structlog.get_logger()

DATABASE_SECONDS = 60.0
"""Seconds that a starting worker waits for PostgreSQL."""


Explain = Callable[[str, datetime], Json]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scorer ready to serve.

    ``refresh`` takes newly completed windows into its library; ``padding`` is the share of token positions computed so
    far that were padding, ``gpu_memory`` the bytes held on the device. ``explain``: a market and a moment to the chart's
    explanation.
    """

    scorer: BatchScorer
    manifest: Manifest
    device: str
    refresh: Callable[[], object]
    padding: Callable[[], float] = lambda: 0.0
    gpu_memory: Callable[[], float] = lambda: 0.0
    bands: Bands | None = None
    library_end: Callable[[], int] = lambda: 0
    explain: Explain | None = None
    keep_up: Callable[[], object] = lambda: None


Loader = Callable[[Engine, WorkerSettings], Loaded]


def serve(settings: WorkerSettings, load: Loader) -> int:
    """Run until SIGTERM; returns the exit status.

    Raises:
        WeightsError: a weights file is missing or altered.
        ConfigError: PostgreSQL refuses the log-in, or the database has another schema.
    """
    signal.signal(signal.SIGTERM, _leave)
    engine = make_engine()
    loaded = load(engine, settings)
    register(engine, loaded.manifest, shadow=settings.artifacts is not None)
    metrics = _metrics(loaded, settings)
    app = make_app(settings)
    client = ScoringClient(engine, settings, app=app)
    runner = Runner(
        engine, loaded.scorer, settings, metrics, client.ring, bands=loaded.bands, library_end=loaded.library_end
    )
    reconciler = _reconciler(engine, runner, settings, metrics, client, loaded)
    answer_the_bell(app, runner, metrics)
    if loaded.explain is not None:
        answer_questions(app, runner, loaded.explain, client)
    second = SecondRunner(runner, on_defect=_end_process)
    second.start()
    reconciler.start()
    log.info("ready to score", revision=loaded.scorer.revision, device=loaded.device)
    about = {"revision": loaded.scorer.revision, "device": loaded.device}
    try:
        with Heartbeat("workers").beating(lambda: reconciler.healthy, lambda: about):
            return _consume(app)
    finally:
        second.stop()
        reconciler.stop()
        client.close()
        engine.dispose()


def _metrics(loaded: Loaded, settings: WorkerSettings) -> Metrics:
    """The process's figures, published where a port is set."""
    metrics = Metrics(REGISTRY)
    metrics.padding.set_function(loaded.padding)
    metrics.gpu_memory.set_function(loaded.gpu_memory)
    if settings.worker_metrics_port:
        start_http_server(settings.worker_metrics_port, addr=settings.metrics_host)
    return metrics


def _reconciler(
    engine: Engine, runner: Runner, settings: WorkerSettings, metrics: Metrics, client: ScoringClient, loaded: Loaded
) -> Reconciler:
    return Reconciler(
        engine,
        runner,
        settings,
        metrics,
        ring=client.ring,
        refresh=loaded.refresh,
        keep_up=loaded.keep_up,
        device=loaded.device,
        on_defect=_end_process,
    )


def register(engine: Engine, manifest: Manifest, shadow: bool) -> str:
    """Make these weights known in the database; returns their standing, ``champion``, ``shadow`` or ``retired``."""
    body = {**asdict(manifest), "trained_until": stamp(manifest.trained_until)}
    with transaction(engine) as connection:
        return revisions.register(connection, manifest.revision, body, shadow)


def wait_for_database(engine: Engine, first: Callable[[], object], patience: float = DATABASE_SECONDS) -> None:
    """Do ``first`` as soon as PostgreSQL answers and has its tables.

    Raises:
        Unavailable: it does not within ``patience`` seconds.
        ConfigError: the log-in is refused, or the tables are still not there.
    """
    end = time.monotonic() + patience
    while True:
        try:
            first()
            return
        except Unavailable:
            if time.monotonic() > end:
                raise
        except SQLAlchemyError as error:
            if time.monotonic() > end:
                log.error("the database has no tables", error=str(error).splitlines()[0])
                raise ConfigError("The database lacks our tables; run `moodtape migrate` first.") from None
        time.sleep(0.5)


def answer_the_bell(app: Celery, runner: Runner, metrics: Metrics) -> None:
    """Register the task that scores the next batch. What goes wrong leaves the jobs waiting and the process alive.

    A ring that Redis delivers again (its batch took longer than the visibility time, or its worker died) is counted; it
    finds the jobs held or done, so it scores nothing twice.
    """

    def score(task: Task) -> None:
        if (task.request.delivery_info or {}).get("redelivered"):
            metrics.duplicate_rings.inc()
        run_safely(runner, on_defect=_end_process)

    app.task(name=SCORE, ignore_result=True, bind=True)(score)


def answer_questions(app: Celery, runner: Runner, explain: Explain, client: ScoringClient) -> None:
    """Register the task that explains a chart, between batches; what goes wrong is told to who asked."""

    def answer(name: str, symbol: str, at: str) -> None:
        replies: list[Json] = []
        try:
            runner.between_batches(lambda: replies.append(explain(symbol, parse_time(at))))
        except MoodtapeError as error:
            replies.append({"error": error_text(error)})
        except Exception:
            log.exception("a chart could not be explained", symbol=symbol, at=at)
            replies.append({"error": error_text(MoodtapeError(Reason("chart_broken")))})
        client.reply(name, replies[0])

    app.task(name=EXPLAIN, ignore_result=True)(answer)


def _end_process() -> None:
    """End with "try again": broken weights at load are another matter (70), for which no sibling is started anew."""
    celery_state.should_stop = EX_TEMPFAIL


def _consume(app: Celery) -> int:
    signals.setup_logging.connect(_logging_is_set_up)
    for chatty in ("celery.worker.strategy", "celery.app.trace"):  # two lines for each ring
        logging.getLogger(chatty).setLevel(logging.WARNING)
    worker: Any = app.Worker(
        pool="solo",
        concurrency=1,
        hostname=f"moodtape-{os.getpid()}@{socket.gethostname()}",
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _logging_is_set_up(**_: Any) -> None:
    """Celery asks who sets up logging; the process entry did."""


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)
