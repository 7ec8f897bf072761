"""Bulk writes and reads: binary COPY into a temporary stage, then INSERT … ON CONFLICT (many times faster than values)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import Connection as Wire
from psycopg import ProgrammingError, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo
from sqlalchemy import Connection

from db.engine import raw


def stage(connection: Connection, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> int:
    """Fill the temporary table ``name`` with ``columns`` (name, PostgreSQL type) by binary COPY; returns the row count."""
    empty_stage(connection, name, columns)
    names = sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)
    count = 0
    with raw(connection).cursor() as cursor:
        statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(name), names)
        with cursor.copy(statement) as copy:
            copy.set_types([kind for _, kind in columns])
            for row in rows:
                copy.write_row(row)
                count += 1
    return count


def empty_stage(connection: Connection, name: str, columns: Sequence[tuple[str, str]]) -> None:
    """Make the temporary table ``name``, or empty it; it disappears at the end of the transaction."""
    fields = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(kind)) for c, kind in columns)
    table = sql.Identifier(name)
    with raw(connection).cursor() as cursor:
        cursor.execute(sql.SQL("create temporary table if not exists {} ({}) on commit drop").format(table, fields))
        cursor.execute(sql.SQL("truncate {}").format(table))


def insert_rows(
    connection: Connection,
    table: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    conflict: str = "do nothing",
    returning: str | None = None,
) -> list[Any]:
    """Stage the rows, insert them into ``table`` with ``on conflict <conflict>``, return the ``returning`` column's values.

    With ``do update`` the rows must be free of duplicates within themselves (PostgreSQL's CardinalityViolation).
    ``conflict`` and ``returning`` are SQL written by us, never user text.
    """
    name = f"stage_{table}"
    stage(connection, name, columns, rows)
    names = sql.SQL(", ").join(sql.Identifier(c) for c, _ in columns)
    query = sql.SQL("insert into {} ({}) select {} from {} on conflict {}").format(
        sql.Identifier(table), names, names, sql.Identifier(name), sql.SQL(conflict)
    )
    if returning:
        query += sql.SQL(" returning {}").format(sql.Identifier(returning))
    with raw(connection).cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()] if returning else []


_TYPES = {
    "int4": (">i4", 4),
    "int8": (">i8", 8),
    "float4": (">f4", 4),
    "float8": (">f8", 8),
    "timestamptz": (">i8", 8),
    "bool": ("u1", 1),
}
"""NumPy's type and the width in bytes of PostgreSQL's types in its binary COPY format (PostgreSQL manual, COPY)."""
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
_POSTGRES_EPOCH = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())


def _layout(columns: Sequence[tuple[str, str]]) -> np.dtype[np.void]:
    """One row of binary COPY: the number of fields, then each field's width and value."""
    fields = [("_fields", ">i2")]
    for name, kind in columns:
        fields += [(f"_size_{name}", ">i4"), (name, _TYPES[kind][0])]
    return np.dtype(fields)


def read_numbers(
    connection: Connection, query: str, parameters: Mapping[str, Any], columns: Sequence[tuple[str, str]]
) -> NDArray[Any]:
    """The rows of a query as one structured array, by binary COPY: every column numeric and never null.

    ``columns`` names each column with its PostgreSQL type, which the query must cast to. Values are bound by psycopg.
    """
    with raw(connection).cursor() as cursor:
        statement = sql.SQL("copy ({}) to stdout (format binary)").format(sql.SQL(query))
        with cursor.copy(statement, parameters) as copy:
            data = b"".join(bytes(block) for block in copy)
    rows = np.frombuffer(data[len(_HEADER) : -len(_TRAILER)], dtype=_layout(columns))
    return rows[[name for name, _ in columns]]


def write_numbers(
    connection: Connection, table: str, columns: Sequence[tuple[str, str]], values: Sequence[NDArray[Any]]
) -> None:
    """Copy arrays of one length into a table's ``columns`` (name, PostgreSQL type); times are epoch seconds."""
    rows = np.empty(len(values[0]), dtype=_layout(columns))
    rows["_fields"] = len(columns)
    for (name, kind), column in zip(columns, values, strict=True):
        rows[f"_size_{name}"] = _TYPES[kind][1]
        rows[name] = (column - _POSTGRES_EPOCH) * 1_000_000 if kind == "timestamptz" else column
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(table), names)
    with raw(connection).cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER + rows.tobytes() + _TRAILER)


NAME = "halfvec"


def know_halfvec(wire: Wire[Any]) -> None:
    """Teach a connection to read and write :class:`pgvector.HalfVector`, once.

    pgvector's own ``register_vector`` makes six new classes at each call, and psycopg keeps every class that it has been
    given: a worker that looks at its library every few seconds grew by 24 MB an hour.

    Raises:
        ProgrammingError: the database has no pgvector.
    """
    if wire.adapters.types.get(NAME) is not None:
        return
    info = TypeInfo.fetch(wire, NAME)
    if info is None:
        raise ProgrammingError(f"the database has no type {NAME}")
    info.register(wire)
    wire.adapters.register_loader(info.oid, _Reader)
    wire.adapters.register_dumper(HalfVector, _writer(info.oid))


class _Reader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> HalfVector:
        return HalfVector.from_binary(data)


class _Writer(Dumper):
    format = Format.BINARY

    def dump(self, obj: HalfVector) -> Buffer:
        return obj.to_binary()


@cache
def _writer(oid: int) -> type[_Writer]:
    """A class per number of the type, for COPY finds the writers of its columns by that, and keeps the class."""
    return type("HalfVectorWriter", (_Writer,), {"oid": oid})
