"""How far streams and sources have been read *and stored*: written in the transaction of the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from db.copy import insert_rows
from domain.answer import stamp

Partition = tuple[str, int]
"""topic, partition number."""


@dataclass(frozen=True, slots=True)
class Move:
    """One partition's step: records from ``expected`` to before ``next`` are in this transaction."""

    topic: str
    partition: int
    epoch: str
    expected: int
    next: int


def claim(connection: Connection, group: str, epochs: Mapping[Partition, str]) -> dict[Partition, int]:
    """Where to go on reading each partition; a log of another ``epoch`` (a broker that lost its memory) starts at 0."""
    rows = sorted((topic, number, epoch) for (topic, number), epoch in epochs.items())
    if not rows:
        return {}
    claimed = connection.execute(
        text(
            """
            insert into stream_offsets as o (consumer_group, topic, partition, next_offset, epoch)
            select :group, t, p, 0, e
            from unnest(cast(:topics as text[]), cast(:numbers as int[]), cast(:epochs as text[])) as n(t, p, e)
            on conflict (consumer_group, topic, partition) do update set
                next_offset = case when o.epoch = excluded.epoch then o.next_offset else 0 end,
                epoch = excluded.epoch
            returning topic, partition, next_offset
            """
        ),
        {
            "group": group,
            "topics": [r[0] for r in rows],
            "numbers": [r[1] for r in rows],
            "epochs": [r[2] for r in rows],
        },
    )
    return {(topic, number): offset for topic, number, offset in claimed}


def advance(connection: Connection, group: str, moves: Sequence[Move]) -> bool:
    """Move the offsets; False when another consumer has moved one of them meanwhile (then the caller must roll back)."""
    moved = connection.execute(
        text(
            """
            update stream_offsets o set next_offset = n.next, moved_at = now()
            from unnest(cast(:topics as text[]), cast(:numbers as int[]), cast(:epochs as text[]),
                        cast(:expected as bigint[]), cast(:next as bigint[])) as n(topic, partition, epoch, expected, next)
            where o.consumer_group = :group and o.topic = n.topic and o.partition = n.partition
              and o.epoch = n.epoch and o.next_offset = n.expected
            """
        ),
        {
            "group": group,
            "topics": [m.topic for m in moves],
            "numbers": [m.partition for m in moves],
            "epochs": [m.epoch for m in moves],
            "expected": [m.expected for m in moves],
            "next": [m.next for m in moves],
        },
    )
    return moved.rowcount == len(moves)


def stored(connection: Connection, group: str) -> dict[Partition, tuple[str, int]]:
    """Epoch and next offset of each partition of a group."""
    rows = connection.execute(
        text("select topic, partition, epoch, next_offset from stream_offsets where consumer_group = :group"),
        {"group": group},
    )
    return {(topic, number): (epoch, offset) for topic, number, epoch, offset in rows}


def open_streams(connection: Connection, starts: Mapping[str, int]) -> dict[str, int]:
    """Stored position of each stream of a source; a stream that is new begins at the position given."""
    names = sorted(starts)
    connection.execute(
        text(
            """
            insert into source_cursors (source, cursor)
            select s, jsonb_build_object('position', p)
            from unnest(cast(:names as text[]), cast(:starts as bigint[])) as n(s, p)
            on conflict do nothing
            """
        ),
        {"names": names, "starts": [starts[n] for n in names]},
    )
    return positions(connection, names)


def positions(connection: Connection, names: Iterable[str], lock: bool = False) -> dict[str, int]:
    """Stored position of each known stream; with ``lock`` the rows are held until the transaction ends."""
    query = (
        "select source, (cursor->>'position')::bigint from source_cursors where source = any(:names) order by source"
    )
    rows = connection.execute(text(query + (" for update" if lock else "")), {"names": sorted(names)})
    return {row[0]: row[1] for row in rows}


def move_streams(connection: Connection, spans: Sequence[tuple[str, int, int]]) -> dict[str, int]:
    """Advance the streams by the spans (stream, after, upto) in order; returns the new positions of those that moved.

    A span counts only when it joins what is stored: a hole, left by a broker that lost a message, keeps the stream where
    it is, so that its source reads again from there.
    """
    known = positions(connection, {stream for stream, _, _ in spans}, lock=True)
    moved: dict[str, int] = {}
    for stream, after, upto in spans:
        at = moved.get(stream, known.get(stream))
        if at is not None and after <= at < upto:
            moved[stream] = upto
    names = sorted(moved)
    if names:
        connection.execute(
            text(
                """
                update source_cursors s set cursor = jsonb_build_object('position', n.p), moved_at = now()
                from unnest(cast(:names as text[]), cast(:positions as bigint[])) as n(source, p)
                where s.source = n.source
                """
            ),
            {"names": names, "positions": [moved[n] for n in names]},
        )
    return moved


FEED = "feed"
"""The row of ``source_cursors`` that says which feed plays."""


def note_feed(connection: Connection, kind: str, since: datetime) -> None:
    """Write down which feed plays now: ``synthetic``, ``replay`` or ``live``."""
    connection.execute(
        text(
            "insert into source_cursors as s (source, cursor) values (:feed, cast(:noted as jsonb)) "
            "on conflict (source) do update set cursor = excluded.cursor, moved_at = now()"
        ),
        {"feed": FEED, "noted": json.dumps({"kind": kind, "since": stamp(since)})},
    )


def feed(connection: Connection) -> dict[str, Any] | None:
    """``{"kind", "since"}`` of the feed that was started last; None where none ever was."""
    query = text("select cursor from source_cursors where source = :feed")
    noted: dict[str, Any] | None = connection.execute(query, {"feed": FEED}).scalar()
    return noted


@dataclass(frozen=True, slots=True)
class DeadLetter:
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


def keep(connection: Connection, dead_letters: Sequence[DeadLetter]) -> int:
    """Store the letters that are not there yet; returns how many were new."""
    rows = [(x.topic, x.partition, x.offset, x.epoch, x.key, x.payload, x.reason) for x in dead_letters]
    return len(insert_rows(connection, "dead_letters", _COLUMNS, rows, returning="id")) if rows else 0


def find(
    connection: Connection, ids: Sequence[int] | None = None, *, limit: int = 100, all_: bool = False
) -> list[DeadLetter]:
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
    return [DeadLetter(*row) for row in rows]


def newest(connection: Connection) -> int:
    """The highest id, 0 where there is no letter."""
    return int(connection.execute(text("select coalesce(max(id), 0) from dead_letters")).scalar() or 0)


def take(
    connection: Connection, step: str, ids: Sequence[int] | None, limit: int, *, span: tuple[int, int]
) -> list[DeadLetter]:
    """Letters whose ``step`` (``produced_at`` or ``replayed_at``) is still to come, oldest first; it is noted as done now.

    ``span``: those with an id after the first number, up to the second.

    The rows are locked until the transaction ends; the caller does the step before that, or rolls back. Rows held
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
    return sorted((DeadLetter(*row) for row in rows), key=lambda dead_letter: dead_letter.id)
