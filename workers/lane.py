"""A second thread of batches: it claims, loads and writes while the models work on the batch of the first, and in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import MoodtapeError
from workers.runner import Done, Runner

log = structlog.get_logger()

PATIENCE = 30.0
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


class Lane:
    """Helps a runner while more waits than its current batch."""

    def __init__(self, runner: Runner, on_defect: Callable[[], None]) -> None:
        self._runner = runner
        self._on_defect = on_defect
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="second-lane", daemon=True)

    def start(self) -> None:
        """Wait for work from a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch under way and stop."""
        self._stopping.set()
        self._runner.more.set()
        self._thread.join(PATIENCE)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._runner.more.wait()
            self._runner.more.clear()
            if not self._stopping.is_set():
                run_safely(self._runner, self._on_defect, by_bell=False)
