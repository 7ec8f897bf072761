"""pgvector's half vectors on a psycopg connection, in binary."""

from __future__ import annotations

from functools import cache
from typing import Any

from pgvector import HalfVector
from psycopg import Connection, ProgrammingError
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

NAME = "halfvec"


def know_halfvec(wire: Connection[Any]) -> None:
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
