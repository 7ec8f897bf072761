"""The database for asynchronous callers: one query, one transaction, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

from db.engine import transaction

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """Runs the functions of ``db.queries``: ``await store(inbox.reserve, update_id)``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The query's result, committed.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """

        def work() -> T:
            with transaction(self.engine) as connection:
                return query(connection, *args, **kwargs)

        return await asyncio.to_thread(work)
