"""Time as a dependency: everything that asks for *now* takes a :class:`Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from domain.errors import InputError, NoCandles
from domain.reasons import Reason
from domain.text import clean


class Clock(Protocol):
    """Where *now* comes from; UTC always."""

    def now(self) -> datetime:
        """The present instant, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; shipped for tests and for replays."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._elapsed += seconds


def parse_time(text: str) -> datetime:
    """A time as people and programs write it: ISO 8601, UTC where it names no zone, or epoch seconds.

    Raises:
        InputError: the text is no time. NoCandles: it lies outside the calendar.
    """
    text = text.strip()
    try:
        if text.isdigit() and len(text) >= 9:
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise NoCandles(Reason("time_too_early", {"at": clean(text[:40])})) from None
    except (ValueError, OSError):
        raise InputError(Reason("not_a_time", {"text": clean(text[:40])})) from None
