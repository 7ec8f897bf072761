"""``/metrics``, ``/live`` and ``/ready`` of the streams on the loopback; ready means that positions move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from domain.errors import ConfigError

HOST = "127.0.0.1"


class _Quiet(WSGIRequestHandler):
    """Says nothing of every scrape."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep silent."""


def application(ready: Callable[[], bool]) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The WSGI application."""
    metrics = make_wsgi_app()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start)
            return found
        if path == "/live":
            status, body = "200 OK", b"alive\n"
        elif path == "/ready":
            status, body = ("200 OK", b"ready\n") if ready() else ("503 Service Unavailable", b"standing still\n")
        else:
            status, body = "404 Not Found", b"only /metrics, /live and /ready\n"
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


@contextmanager
def serving(port: int, ready: Callable[[], bool], host: str = HOST) -> Iterator[WSGIServer | None]:
    """Serve from a thread while the block runs; port 0 in the settings means not at all.

    Raises:
        ConfigError: the port is taken.
    """
    if not port:
        yield None
        return
    try:
        server = make_server(host, port, application(ready), handler_class=_Quiet)
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
