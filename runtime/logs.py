"""Logs of every service: one line an event on standard error, secrets blacked out, warnings of libraries included."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRETS = (
    (re.compile(r"(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}"), "***"),  # a Telegram token, also inside a URL
    (re.compile(r"(?<=://)([^\s:/@]*):[^\s@]+@"), r"\1:***@"),  # user:password@host
    (
        re.compile(r"(?i)\b(authorization|x-api-key|api[_-]?key|token|secret|password)(\s*[=:]\s*)[^\s,;}\"']+"),
        r"\1\2***",
    ),
)


def redact(text: str) -> str:
    """The text with tokens, passwords in URLs and named secrets replaced by ``***``."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _redact_event(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(service: str, level: str = "INFO") -> None:
    """Send structlog and the standard library's logging through one formatter: plain on a terminal, JSON otherwise.

    Call once, in the entry of a process; ``service`` is bound to every line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    terminal = sys.stderr.isatty()
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redact_event, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("kafka", "aiogram.event", "httpx", "uvicorn.access", "celery.redirected"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.contextvars.bind_contextvars(service=service)
