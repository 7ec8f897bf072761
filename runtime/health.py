"""A small file that says "I am well", by which the supervisor (or a container's health check) knows a process works."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from domain.errors import ConfigError

EVERY = 2.0

Detail = Mapping[str, str | int | float | None]
"""What a service tells of itself: name and figure, or word."""

ALIVE = timedelta(seconds=15)
"""A service that has not beaten for this long is not well."""


def default_data_dir() -> Path:
    """Where files are kept without MOODTAPE_DATA_DIR: ``~/.local/share/moodtape``, or ``/var/lib/moodtape`` for root."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/moodtape")
    return Path.home() / ".local" / "share" / "moodtape"


class Heartbeat:
    """Writes ``$MOODTAPE_DATA_DIR/run/<service>.ready``; without a data directory it does nothing.

    ``MOODTAPE_SERVICE``, set by the supervisor, tells several processes of one kind apart; without it the machine's name
    does, which in a container is the container's own: those of a scaled service share a data directory.
    """

    def __init__(self, service: str, data_dir: Path | None = None) -> None:
        folder = data_dir or (Path(found) if (found := os.environ.get("MOODTAPE_DATA_DIR")) else None)
        self.path = beat_of(service, folder) if folder else None
        self.since = datetime.now(UTC)
        self._last = 0.0

    def beat(self, detail: Detail | None = None) -> None:
        """Say "well" now, and how; calls within one second of the last one cost nothing. A full disk is not fatal."""
        now = time.monotonic()
        if self.path is None or now - self._last < 1.0:
            return
        self._last = now
        moved_at = datetime.now(UTC).isoformat()
        body = {"pid": os.getpid(), "since": self.since.isoformat(), "moved_at": moved_at, "detail": detail or {}}
        fresh = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(body))
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)

    def clear(self) -> None:
        """Say "not ready any more"."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def beating(
        self, healthy: Callable[[], bool] = lambda: True, detail: Callable[[], Detail] = dict
    ) -> Iterator[None]:
        """Beat from a thread while the block runs, as long as ``healthy()`` says so; ``detail()`` is what status shows."""
        stop = threading.Event()

        def work() -> None:
            while True:
                if healthy():
                    self.beat(detail())
                if stop.wait(EVERY):
                    return

        thread = threading.Thread(target=work, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=EVERY)
            self.clear()


def beat_of(service: str, folder: Path) -> Path:
    """Where a service of this process's kind and machine writes its beat, below a data directory."""
    name = os.environ.get("MOODTAPE_SERVICE") or f"{service}@{socket.gethostname()}"
    return folder / "run" / f"{name}.ready"


def last_beat(path: Path) -> datetime | None:
    """When a service last said it was well; None if it never did."""
    try:
        return datetime.fromisoformat(json.loads(path.read_text())["moved_at"])
    except (OSError, ValueError, KeyError):
        return None


def last_detail(path: Path) -> Detail:
    """What a service last told of itself; empty if it never did."""
    try:
        return dict(json.loads(path.read_text())["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main(services: list[str]) -> int:
    """Exit status 0 when every named service has beaten lately, else 1: a container's health check."""
    folder = Path(os.environ.get("MOODTAPE_DATA_DIR") or default_data_dir())
    beats = [last_beat(beat_of(service, folder)) for service in services]
    now = datetime.now(UTC)
    return 0 if services and all(beat is not None and now - beat < ALIVE for beat in beats) else 1


HOST = "127.0.0.1"


class _Quiet(WSGIRequestHandler):
    """Says nothing of every scrape."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep silent."""


def application(
    ready: Callable[[], bool], troubles: Callable[[], list[str]] = list
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The WSGI application."""
    metrics = make_wsgi_app()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = metrics(environ, start)
            return page
        if path == "/live":
            status, body = "200 OK", b"alive\n"
        elif path == "/ready":
            status, body = ("200 OK", b"ready\n") if ready() else ("503 Service Unavailable", b"standing still\n")
            body += "".join(f"{trouble}\n" for trouble in troubles()).encode()
        else:
            status, body = "404 Not Found", b"only /metrics, /live and /ready\n"
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


@contextmanager
def serving(
    port: int, ready: Callable[[], bool], host: str = HOST, troubles: Callable[[], list[str]] = list
) -> Iterator[WSGIServer | None]:
    """Serve from a thread while the block runs; port 0 in the settings means not at all.

    Raises:
        ConfigError: the port is taken.
    """
    if not port:
        yield None
        return
    try:
        server = make_server(host, port, application(ready, troubles), handler_class=_Quiet)
    except OSError:
        raise ConfigError(f"Port {port} of MOODTAPE_STREAM_METRICS_PORT is taken; choose another.") from None
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
