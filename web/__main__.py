"""``python -m web``: the web door as a process of its own."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.entry import begin

    begin()

import signal
import socket
from types import FrameType
from typing import Annotated

import structlog
import typer
import uvicorn

from db.engine import make_engine
from domain.errors import ConfigError
from runtime.entry import told
from runtime.logs import configure
from web.app import create_app
from web.live import Hub
from web.settings import WebSettings
from workers.client.queue import ScoringClient

log = structlog.get_logger()

DRAIN = 5
"""Seconds that open requests get to end when the process is asked to stop."""


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; default MOODTAPE_WEB_PORT or 8000.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address; another than the loopback demands MOODTAPE_API_KEY.")
    ] = None,
) -> None:
    """Serve the HTTP API and the page until SIGTERM or Ctrl-C."""
    configure("web")
    with told("web"):
        settings = WebSettings()
        settings = settings.model_copy(update={k: v for k, v in (("web_port", port), ("host", host)) if v is not None})
        settings.check()
        _serve(settings, _listen(settings))


def _serve(settings: WebSettings, listening: socket.socket) -> None:
    engine = make_engine()
    client = ScoringClient(engine)
    app = create_app(engine, client, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN,
    )
    log.info("the web door is open", host=settings.host, port=listening.getsockname()[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        _Server(config, app.state.hub).run(sockets=[listening])
    finally:
        client.close()
        engine.dispose()


class _Server(uvicorn.Server):
    """Lets the live streams go at once when asked to stop; uvicorn alone would wait for them."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hub.end_streams_soon()
        super().handle_exit(sig, frame)


def _listen(settings: WebSettings) -> socket.socket:
    """A bound socket.

    Raises:
        ConfigError: the port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host.strip("[]"), settings.web_port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"The web door cannot listen on {settings.host} port {settings.web_port} ({error.strerror}); "
            "choose another with --port."
        ) from None
    return listening


if __name__ == "__main__":
    typer.run(serve)
