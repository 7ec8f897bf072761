"""``python -m workers``: the scoring process, or one per GPU under a small parent that loads no model code."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.entry import begin

    begin()

import gc
import os
import sys

from sqlalchemy import Engine

from runtime.entry import told
from runtime.logs import configure
from runtime.processes import share_one_heap
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
    status = 0
    with told("workers"):
        settings = WorkerSettings()
        count = count_processes(settings.worker_processes)
        status = run_processes(count) if count > 1 else _score(settings)
    return status  # noqa: RET504  the block may end the process instead


def _score(settings: WorkerSettings) -> int:
    """One scoring process, until SIGTERM."""
    for name, value in LIBRARIES.items():
        os.environ.setdefault(name, value)
    share_one_heap()
    gc.disable()  # a fifth of the start: importing torch and transformers makes millions of objects that all stay
    from workers.loader import load
    from workers.service import Loaded, serve

    def load_and_keep(engine: Engine, chosen: WorkerSettings) -> Loaded:
        loaded = load(engine, chosen)
        gc.freeze()
        gc.enable()
        return loaded

    return serve(settings, load_and_keep)


if __name__ == "__main__":
    sys.exit(main())
