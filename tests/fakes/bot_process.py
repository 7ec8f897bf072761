"""A bot process that starts at once: forked from a server that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path


def start(environment: dict[str, str], log: Path) -> BaseProcess:
    """`python -m bot` with these variables, its standard error added to ``log``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bot.__main__"])
    child = context.Process(target=_main, args=(environment, str(log)))
    child.start()
    return child


def _main(environment: dict[str, str], log: str) -> None:
    from bot.__main__ import main

    os.environ.update(environment)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.exit(main())
