"""Times and cuts as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from domain import symbols as names
from domain.errors import InputError
from streaming.tables import Cut


def moment(text: str | None) -> datetime | None:
    """An ISO time, UTC when it names no zone.

    Raises:
        InputError: not a time.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"“{text[:40]}” is not a time; write it like 2021-01-14T13:00.") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def cut_of(since: str | None, until: str | None, symbols: str) -> Cut:
    """The cut that the options describe."""
    wanted = frozenset(names.normalize(s) for s in symbols.split(",") if s.strip())
    return Cut(moment(since), moment(until), wanted)
