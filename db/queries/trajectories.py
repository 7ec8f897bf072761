"""The trajectory library in PostgreSQL: seeded from the starter file, grown by completed windows, read by the workers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pgvector import HalfVector
from sqlalchemy import Connection, text

from db.copy import insert_rows, know_halfvec
from db.engine import raw
from domain.answer import Match
from domain.types import LibraryRows, from_micros

_COLUMNS = (
    ("post_id", "text"),
    ("source", "text"),
    ("symbol", "text"),
    ("posted_at", "timestamptz"),
    ("starts_at", "timestamptz"),
    ("revision", "text"),
    ("embedding", "halfvec"),
    ("change", "halfvec"),
    ("volatility", "float8"),
    ("shelved", "bool"),
)

LOCK = 0x6C696272
"""Advisory lock of seeding."""


class Starter(Protocol):
    """A starter library as :mod:`models.trajectories.library` has it; rows of another encoder do not fit its vectors."""

    @property
    def rows(self) -> LibraryRows: ...

    @property
    def encoder(self) -> str: ...


class StarterModule(Protocol):
    """The functions of :mod:`models.trajectories.library`, which this box may not import."""

    def load_library(self, artifacts: Path = ...) -> Starter:
        """The starter library."""
        ...

    def encoder_revision(self, artifacts: Path = ...) -> str:
        """The revision of the text encoder beside it."""
        ...


def seed(connection: Connection, library: StarterModule, artifacts: Path | None = None) -> int:
    """Store the starter rows of this encoder unless they are there; returns how many of them there are.

    Raises:
        WeightsError: the starter library is missing, altered, or of another encoder.
    """
    where = {} if artifacts is None else {"artifacts": artifacts}
    revision = library.encoder_revision(**where)
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
    present = connection.execute(
        text("select count(*) from trajectories where revision = :revision and post_id like 'starter:%'"),
        {"revision": revision},
    ).scalar_one()
    if present:
        return int(present)
    return insert_library(connection, library.load_library(**where).rows, revision)


def insert_library(
    connection: Connection, rows: LibraryRows, revision: str, shelved: Sequence[bool] | None = None
) -> int:
    """Store rows whose embeddings were made by the encoder ``revision``; those already there stay. Returns the new ones.

    ``shelved``: for each row whether searches are to see it; by default all.
    """
    know_halfvec(raw(connection))
    values = (
        (
            rows.post_ids[n],
            rows.sources[n],
            rows.symbols[n],
            from_micros(int(rows.posted_at[n])),
            from_micros(int(rows.starts_at[n])),
            revision,
            HalfVector(rows.embedding[n]),
            HalfVector(rows.change[n]),
            float(rows.volatility[n]),
            shelved is None or shelved[n],
        )
        for n in range(len(rows))
    )
    new = insert_rows(
        connection, "trajectories", _COLUMNS, values, conflict="(post_id, symbol, revision) do nothing", returning="id"
    )
    return len(new)


def load_library_rows(
    connection: Connection, revision: str, after: int = 0, without: Collection[int] = (), until: int = 2**62
) -> tuple[LibraryRows, list[int]]:
    """Shelved rows of an encoder with ids above ``after`` up to ``until`` but ``without`` some, by id, and their ids."""
    wire = raw(connection)
    know_halfvec(wire)
    with wire.cursor(binary=True) as cursor:
        cursor.execute(
            """
            select id, post_id, source, symbol, (extract(epoch from posted_at) * 1000000)::int8,
                   (extract(epoch from starts_at) * 1000000)::int8, embedding, change, volatility
            from trajectories where revision = %s and id > %s and id <= %s and id <> all(%s) and shelved order by id
            """,
            (revision, after, until, list(without)),
        )
        rows = cursor.fetchall()
    return _rows(rows), [int(row[0]) for row in rows]


def _rows(rows: list[Any]) -> LibraryRows:
    def column(n: int, dtype: Any, width: int) -> Any:
        if not rows:
            return np.zeros((0, width), dtype)
        return np.stack([row[n].to_numpy() for row in rows]).astype(dtype)

    return LibraryRows(
        post_ids=tuple(row[1] for row in rows),
        sources=tuple(row[2] for row in rows),
        symbols=tuple(row[3] for row in rows),
        posted_at=np.array([row[4] for row in rows], dtype=np.int64),
        starts_at=np.array([row[5] for row in rows], dtype=np.int64),
        embedding=column(6, np.float16, 384),
        change=column(7, np.float16, 256),
        volatility=np.array([row[8] for row in rows], dtype=np.float32),
    )


def near_shape(connection: Connection, change: Any, until: datetime, symbol: str | None, most: int) -> list[Match]:
    """Posts whose 256 minutes look most like ``change`` (float[256], percent): by cosine, which knows no scale.

    Only windows that had ended by ``until``; of windows of one symbol that overlap in a 256-minute bin the nearest one.
    ``symbol`` None searches all. Rows are those of the newest encoder, so that none stands twice.
    """
    know_halfvec(raw(connection))
    with raw(connection).cursor(binary=True) as cursor:
        cursor.execute(
            """
            with near as (
                select post_id, source, posted_at, symbol, 1 - (change <=> %(asked)s) as similarity, change,
                       (extract(epoch from starts_at)::int8 / 15360) as bin
                from trajectories
                where revision = (select revision from trajectories order by id desc limit 1) and shelved
                  and starts_at + interval '256 minutes' <= %(until)s and (%(symbol)s::text is null or symbol = %(symbol)s)
                  and vector_norm(change::vector) > 0
                order by change <=> %(asked)s limit %(pool)s
            )
            select post_id, source, posted_at, symbol, similarity, change from (
                select distinct on (symbol, bin) * from near order by symbol, bin, similarity desc
            ) as apart order by similarity desc limit %(most)s
            """,
            {"asked": HalfVector(change), "until": until, "symbol": symbol, "pool": 40 * most, "most": most},
        )
        found = cursor.fetchall()
    return [
        Match(post, source, at, market, float(cosine), steps.to_numpy().astype(np.float32))
        for post, source, at, market, cosine, steps in found
    ]


def vectors_of(connection: Connection, keys: Sequence[tuple[str, str]]) -> Any:
    """The vectors of the words of these rows by (post id, symbol), of the newest encoder: float32 (n, 384), in that order."""
    know_halfvec(raw(connection))
    with raw(connection).cursor(binary=True) as cursor:
        cursor.execute(
            """
            select post_id, symbol, embedding from trajectories
            where revision = (select revision from trajectories order by id desc limit 1) and post_id = any(%s)
            """,
            ([post for post, _ in keys],),
        )
        known = {(post, symbol): vector.to_numpy() for post, symbol, vector in cursor.fetchall()}
    found = [known[key] for key in keys if key in known]
    return np.stack(found).astype(np.float32) if found else np.zeros((0, 384), np.float32)
