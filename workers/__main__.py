"""``python -m workers``: the scoring process, or one per GPU under a small parent that loads no model code."""

from __future__ import annotations

import gc
import os
import sys

import structlog
from sqlalchemy import Engine

from domain.errors import MoodtapeError
from runtime import memory
from runtime.logs import configure
from runtime.supervised import count_processes, run_processes
from workers.settings import WorkerSettings

LIBRARIES = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}
"""Read by torch's libraries when they load. OpenMP's threads would spin while they wait, which starves PostgreSQL on the
same cores; oneDNN would keep 0.6 MB for each of 1,024 batch sizes."""


def main() -> int:
    """Run until SIGTERM; returns the exit status (70: the weights are missing or altered)."""
    configure("workers")
    settings = WorkerSettings()
    count = count_processes(settings.processes)
    if count > 1:
        return run_processes(count)
    for name, value in LIBRARIES.items():
        os.environ.setdefault(name, value)
    memory.share_one_heap()
    gc.disable()  # a fifth of the start: importing torch and transformers makes millions of objects that all stay
    try:
        from workers.loader import load
        from workers.service import Loaded, serve

        def load_and_keep(engine: Engine, chosen: WorkerSettings) -> Loaded:
            loaded = load(engine, chosen)
            gc.freeze()
            gc.enable()
            return loaded

        return serve(settings, load_and_keep)
    except MoodtapeError as error:
        structlog.get_logger().error(error.message, id=error.id)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
