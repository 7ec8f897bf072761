"""`python -m bot`: the Telegram door, until it is told to stop."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.entry import begin

    begin()

import asyncio
import logging
import sys

import structlog

from bot.app import run
from bot.settings import BotSettings
from db.engine import make_engine
from runtime.entry import told
from runtime.logs import configure
from workers.client.queue import ScoringClient

log = structlog.get_logger()


class _Hidden(logging.Formatter):
    """Another formatter's lines without the token, wherever a library has put it: a URL, a traceback, an argument."""

    def __init__(self, inner: logging.Formatter, token: str) -> None:
        super().__init__()
        self._inner, self._token = inner, token

    def format(self, record: logging.LogRecord) -> str:
        line = self._inner.format(record)
        return line.replace(self._token, "***") if self._token else line


def hide(token: str) -> None:
    """Take the token out of everything that is logged from now on."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Hidden(handler.formatter or logging.Formatter(), token))


def main() -> int:
    """Run the bot; returns the exit status."""
    configure("bot")
    with told("bot"):
        settings = BotSettings()
        hide(settings.token.get_secret_value())
        engine = make_engine()
        queue = ScoringClient(engine)
        try:
            asyncio.run(run(settings, engine, queue))
        finally:
            queue.close()
            engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
