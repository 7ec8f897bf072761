"""Logs never hold a secret, whichever library wrote the line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from runtime.logs import configure, redact

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def _restored() -> Iterator[None]:
    """Put the logging of the test run back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"GET https://api.telegram.org/bot{TOKEN}/getMe", "GET https://api.telegram.org/bot***/getMe"),
        ("postgresql://me:s3cr3t@db/x", "postgresql://me:***@db/x"),
        ("redis://:s3cr3t@r/0", "redis://:***@r/0"),
        ("X-API-Key: abc", "X-API-Key: ***"),
        ("token price rose 5 %", "token price rose 5 %"),
    ],
)
def test_redact(text: str, clean: str) -> None:
    """Tokens, passwords in URLs and named secrets go; ordinary words stay."""
    assert redact(text) == clean


@pytest.mark.usefixtures("_restored")
def test_every_logger_goes_through_the_redaction(capsys: pytest.CaptureFixture[str]) -> None:
    """structlog, the standard library and tracebacks all come out as JSON lines without the token."""
    configure("bot")
    structlog.get_logger().info("sent", url=f"https://x/bot{TOKEN}/y")
    logging.getLogger("aiohttp").error("failed https://x/bot%s/y", TOKEN)
    try:
        raise ValueError(f"bad bot{TOKEN}")
    except ValueError:
        structlog.get_logger().exception("boom")
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert TOKEN not in "".join(lines)
    assert {json.loads(line)["service"] for line in lines} == {"bot"}
