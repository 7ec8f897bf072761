"""A worker process with a scorer that answers by rule: ``python -m tests.workers.fake_worker [seconds per post]``."""

from __future__ import annotations

import sys

from sqlalchemy import Engine

from models.manifest import Manifest
from runtime.logs import configure
from runtime.supervised import run_processes
from tests.fakes.scoring import TRAINED, FakeScorer
from workers.service import Loaded, serve
from workers.settings import WorkerSettings


def load(engine: Engine, settings: WorkerSettings) -> Loaded:
    """The fake scorer in the place of the models."""
    scorer = FakeScorer("fake", seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
    return Loaded(scorer, Manifest("fake", TRAINED, {}, {}), "cpu", lambda: None)


if __name__ == "__main__":
    configure("workers")
    settings = WorkerSettings()
    if settings.worker_processes > 1:
        again = (sys.executable, "-m", "tests.workers.fake_worker", *sys.argv[1:])
        sys.exit(run_processes(settings.worker_processes, again))
    sys.exit(serve(settings, load))
