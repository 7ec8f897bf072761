"""How a process of ours begins and ends: stoppable from its first line, and whatever stops it is said in one sentence."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import EX_SOFTWARE, MoodtapeError


def begin() -> None:
    """Let SIGTERM and SIGINT end this process at once, until its service handles them.

    Called before the long imports. The first process of a container has no default handlers: what it does not handle
    itself is lost, and the container would be killed only when its time to stop is over.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


@contextmanager
def told(service: str) -> Iterator[None]:
    """End the process for an error of the block: a deliberate one tells its sentence, a defect is logged and exits with 70."""
    try:
        yield
    except MoodtapeError as error:
        sys.stderr.write(f"moodtape: {error.message} (id {error.id})\n")
        sys.exit(error.exit_code)
    except Exception:
        import structlog  # here, for `begin` is wanted before anything that takes time

        structlog.get_logger().exception(f"a defect ended the service {service}")
        sys.exit(EX_SOFTWARE)
