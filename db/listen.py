"""One listener per process for news of verdicts, shared by everybody who waits."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.engine import raw
from db.queries.verdicts import CHANNEL

log = structlog.get_logger()

PAUSE = 1.0
"""Seconds between attempts to listen again after the connection was lost."""


class Ears:
    """Wakes those who wait for a post. News may be missed while PostgreSQL is away: look yourself now and then."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = defaultdict(set)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def on(self, post_id: str) -> Iterator[threading.Event]:
        """An event that is set at each news of the post."""
        event = threading.Event()
        with self._lock:
            self._waiting[post_id].add(event)
            self._start()
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[post_id].discard(event)
                if not self._waiting[post_id]:
                    del self._waiting[post_id]

    def close(self) -> None:
        """Stop listening."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=3.0)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="verdict-ears", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (psycopg.Error, SQLAlchemyError) as error:
                log.warning("listening for verdicts was interrupted", error=type(error).__name__)
                self._stopping.wait(PAUSE)

    def _follow(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wire = raw(connection)
            connection.detach()
            wire.execute(f"listen {CHANNEL}")
            self._wake(None)
            while not self._stopping.is_set():
                for notice in wire.notifies(timeout=0.5, stop_after=1):
                    self._wake(notice.payload)

    def _wake(self, post_id: str | None) -> None:
        with self._lock:
            groups = list(self._waiting.values()) if post_id is None else [self._waiting.get(post_id, set())]
            for event in [event for group in groups for event in group]:
                event.set()
