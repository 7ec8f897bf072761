"""The series of a market for the API: stored windows, gaps said, and new windows as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from db.queries.series import minute, moment, published, spans
from domain.answer import Json, stamp
from domain.clock import parse_time
from domain.errors import InputError
from domain.series import QUARTER, WIDTHS

MOST = 20_000
"""Windows in one answer."""

LOOK = 5.0
"""Seconds between two looks for new windows."""


def series_rows(
    connection: Connection, symbol: str, start: datetime, end: datetime, interval: str = "15m"
) -> list[Json]:
    """Windows that lie in [start, end), oldest first: of 15 minutes those published, else from candles and posts.

    Raises:
        InputError: the span holds too many windows.
    """
    width = WIDTHS[interval]
    if (end - start).total_seconds() / 60 > MOST * width:
        raise InputError(f"That is more than {MOST} windows; ask for a shorter time or a longer interval.")
    known = {p.opened_at: p for p in published(connection, symbol, start, end)} if width == QUARTER else {}
    rows = [{"opened_at": stamp(at), "revision": p.revision, "reason": p.reason, **p.values} for at, p in known.items()]
    if len(known) < minute(end) // width + minute(start) // -width:
        made = spans(connection, [symbol], start, end, width).get(symbol)
        rows += [
            {"opened_at": stamp(at), "revision": 0, "reason": "", **values}
            for at, values in (made.rows() if made else {}).items()
            if at not in known
        ]
    return sorted(rows, key=lambda row: str(row["opened_at"]))


def gaps(rows: Sequence[Json], start: datetime, end: datetime, interval: str) -> list[dict[str, str]]:
    """Stretches of closed windows for which there is no row: ``[{"from", "to"}]``."""
    width = WIDTHS[interval]
    have = {minute(parse_time(row["opened_at"])) // width for row in rows}
    missing = [n for n in range(-(-minute(start) // width), minute(end) // width) if n not in have]
    out: list[dict[str, str]] = []
    for i, number in enumerate(missing):
        if i and missing[i - 1] == number - 1:
            out[-1]["to"] = stamp(moment((number + 1) * width))
        else:
            out.append({"from": stamp(moment(number * width)), "to": stamp(moment((number + 1) * width))})
    return out


async def series_events(
    read: Callable[[datetime], Awaitable[list[Json]]], since: datetime, wait: Callable[[float], Any] = asyncio.sleep
) -> AsyncIterator[str]:
    """Server-sent events ``window``, each window once and again with every further revision of it."""
    sent: dict[str, int] = {}
    after = since
    while True:
        for row in await read(after):
            if sent.get(row["opened_at"], -1) < row["revision"]:
                sent[row["opened_at"]] = row["revision"]
                yield f"event: window\ndata: {json.dumps(row)}\n\n"
        if sent:
            newest = parse_time(max(sent))
            after = max(since, newest - timedelta(hours=2))
            sent = {at: revision for at, revision in sent.items() if parse_time(at) >= after}
        yield ": waiting\n\n"
        await wait(LOOK)
