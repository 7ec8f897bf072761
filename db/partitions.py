"""Monthly partitions of the candles: made before they are needed, dropped when they are too old."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

TABLE = "candles"
AHEAD = 2
"""Months made in advance."""

_NAME = re.compile(r"^candles_y(\d{4})m(\d{2})$")


def month_of(moment: datetime) -> datetime:
    """First instant of the moment's month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """First instant of the month after."""
    return month_of(month + timedelta(days=32))


def partition_name(month: datetime) -> str:
    """``candles_y2026m11``."""
    return f"candles_y{month.year:04d}m{month.month:02d}"


def existing(connection: Connection) -> dict[str, datetime]:
    """Attached partitions by name, with the month they hold."""
    names = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'candles'::regclass"
        )
    ).scalars()
    return {n: datetime(int(m[1]), int(m[2]), 1, tzinfo=UTC) for n in names if (m := _NAME.match(n))}


def ensure_months(connection: Connection, moments: Iterable[datetime]) -> list[str]:
    """Create the partitions that these moments need; returns the names of new ones. Safe against a second creator."""
    wanted = {month_of(m) for m in moments}
    missing = sorted(wanted - set(existing(connection).values()))
    if not missing:
        return []
    connection.execute(text("select pg_advisory_xact_lock(hashtext('moodtape.partitions'))"))
    missing = sorted(wanted - set(existing(connection).values()))
    for month in missing:
        _create(connection, month)
    return [partition_name(m) for m in missing]


def _create(connection: Connection, month: datetime) -> None:
    """Made apart and then attached: ATTACH takes a lighter lock on the parent than CREATE … PARTITION OF."""
    name, start, end = partition_name(month), month.isoformat(), next_month(month).isoformat()
    connection.execute(
        text(f"create table if not exists {name} (like candles including defaults including constraints)")
    )
    connection.execute(text(f"alter table candles attach partition {name} for values from ('{start}') to ('{end}')"))


def maintain(connection: Connection, now: datetime, keep: timedelta | None = None) -> tuple[list[str], list[str]]:
    """Make this month and the next ones; with ``keep`` detach and drop the months that ended before ``now - keep``.

    Returns the names made and the names dropped.
    """
    months = [month_of(now)]
    for _ in range(AHEAD):
        months.append(next_month(months[-1]))
    made = ensure_months(connection, months)
    dropped = []
    if keep is not None:
        for name, month in sorted(existing(connection).items()):
            if next_month(month) <= now - keep:
                connection.execute(text(f"alter table candles detach partition {name}"))
                connection.execute(text(f"drop table {name}"))
                dropped.append(name)
    return made, dropped
