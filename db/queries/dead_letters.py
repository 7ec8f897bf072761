"""Messages that could not be stored: kept with their reason and their original bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from db.copy import insert_rows


@dataclass(frozen=True, slots=True)
class Letter:
    """One refused message; ``id`` is 0 until it is stored."""

    topic: str
    partition: int
    offset: int
    epoch: str
    key: bytes | None
    payload: bytes
    reason: str
    id: int = 0
    refused_at: datetime | None = None
    replayed_at: datetime | None = None


_COLUMNS = (
    ("topic", "text"),
    ("partition", "int4"),
    ("offset", "int8"),
    ("epoch", "text"),
    ("key", "bytea"),
    ("payload", "bytea"),
    ("reason", "text"),
)


def keep(connection: Connection, letters: Sequence[Letter]) -> int:
    """Store the letters that are not there yet; returns how many were new."""
    rows = [(x.topic, x.partition, x.offset, x.epoch, x.key, x.payload, x.reason) for x in letters]
    return len(insert_rows(connection, "dead_letters", _COLUMNS, rows, returning="id")) if rows else 0


def find(
    connection: Connection, ids: Sequence[int] | None = None, *, limit: int = 100, all_: bool = False
) -> list[Letter]:
    """Letters by id, or the newest ones; those replayed already only with ``all_`` or when asked for by id."""
    rows = connection.execute(
        text(
            """
            select topic, partition, "offset", epoch, key, payload, reason, id, refused_at, replayed_at from dead_letters
            where (cast(:ids as bigint[]) is null or id = any(:ids)) and (:every or replayed_at is null)
            order by id desc limit :limit
            """
        ),
        {"ids": list(ids) if ids is not None else None, "every": all_ or ids is not None, "limit": limit},
    )
    return [Letter(*row) for row in rows]


def newest(connection: Connection) -> int:
    """The highest id, 0 where there is no letter."""
    return int(connection.execute(text("select coalesce(max(id), 0) from dead_letters")).scalar() or 0)


def take(
    connection: Connection, step: str, ids: Sequence[int] | None, limit: int, *, span: tuple[int, int]
) -> list[Letter]:
    """Letters whose ``step`` (``produced_at`` or ``replayed_at``) is still to come, oldest first; it is noted as done now.

    ``span``: those with an id after the first number, up to the second.

    The rows are held until the transaction ends: whoever takes them does the step before that, or rolls back. Rows held
    by another process are passed over.
    """
    assert step in ("produced_at", "replayed_at")
    rows = connection.execute(
        text(
            f"""
            with due as (
                select id from dead_letters
                where {step} is null and id > :after and id <= :last
                  and (cast(:ids as bigint[]) is null or id = any(:ids))
                order by id limit :limit for update skip locked)
            update dead_letters d set {step} = now() from due where d.id = due.id
            returning topic, partition, "offset", epoch, key, payload, reason, d.id, refused_at, replayed_at
            """
        ),
        {"ids": list(ids) if ids is not None else None, "limit": limit, "after": span[0], "last": span[1]},
    )
    return sorted((Letter(*row) for row in rows), key=lambda letter: letter.id)
