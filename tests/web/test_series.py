"""The series at the API: gaps are said, and new windows come as events, each once."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from domain.answer import stamp
from web.series import gaps, series_events

NOON = datetime.fromisoformat("2024-05-06T12:00:00+00:00")


def row(quarter: int, revision: int = 0) -> dict[str, Any]:
    """A window so many quarters after noon."""
    return {"opened_at": stamp(NOON + timedelta(minutes=15 * quarter)), "revision": revision, "posts": 1.0}


def test_gaps_are_joined() -> None:
    """Neighbouring windows without a row are one gap; a window that has not closed is none."""
    found = gaps([row(0), row(3)], NOON, NOON + timedelta(minutes=70), "15m")
    assert found == [{"from": "2024-05-06T12:15:00Z", "to": "2024-05-06T12:45:00Z"}]
    assert gaps([row(0)], NOON, NOON + timedelta(minutes=20), "15m") == []


async def test_each_window_and_each_revision_comes_once() -> None:
    """What was sent is not sent again; a later revision is."""
    looks = [[row(0)], [row(0), row(1)], [row(0, 1), row(1)]]
    events: list[dict[str, Any]] = []

    async def read(after: datetime) -> list[dict[str, Any]]:
        return looks.pop(0)

    async def wait(seconds: float) -> None:
        return None

    async for line in series_events(read, NOON, wait):
        if line.startswith("event: window"):
            events.append(json.loads(line.split("data: ")[1]))
        if len(events) == 3:
            break
    assert [(e["opened_at"][11:16], e["revision"]) for e in events] == [("12:00", 0), ("12:15", 0), ("12:00", 1)]
