"""The one connection of a process that hears of new verdicts, shared by everybody who waits for some."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.engine import raw
from db.queries.verdicts import CHANNEL

log = structlog.get_logger()

RECONNECT_SECONDS = 1.0


class VerdictListener:
    """LISTEN on a thread of its own, begun with the first who waits or subscribes.

    News may be missed while PostgreSQL is away, so a waiter must look at the tables now and then.

    Example:
        >>> with listener.waiting("x:1") as news:  # doctest: +SKIP
        ...     news.wait(1.0)  # True as soon as there is news of the post
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = defaultdict(set)
        self._subscribers: list[Callable[[str], None]] = []
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.connected = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called: nobody should wait any more."""
        return self._closed.is_set()

    @contextmanager
    def waiting(self, post_id: str) -> Iterator[threading.Event]:
        """An event that is set at each news of the post, after a lost connection, and when the listener is closed."""
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

    def subscribe(self, hear: Callable[[str], None]) -> None:
        """Call ``hear`` with the id of each post that has news, on the listener's thread; it must not block."""
        with self._lock:
            self._subscribers.append(hear)
            self._start()

    def unsubscribe(self, hear: Callable[[str], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._subscribers.remove(hear)

    def close(self) -> None:
        """Stop listening, and wake everybody who waits."""
        self._closed.set()
        self._wake_all()
        if self._thread is not None:
            self._thread.join(timeout=3.0)

    def _start(self) -> None:
        if self._thread is None and not self.closed:
            self._thread = threading.Thread(target=self._run, name="verdict-listener", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self.closed:
            try:
                self._listen()
            except (psycopg.Error, SQLAlchemyError) as error:
                self.connected.clear()
                log.warning("listening for verdicts was interrupted", error=type(error).__name__)
                self._closed.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wire = raw(connection)
            connection.detach()
            wire.execute(f"listen {CHANNEL}")
            self.connected.set()
            self._wake_all()
            while not self.closed:
                for notice in wire.notifies(timeout=0.5, stop_after=1):
                    self._tell(notice.payload)

    def _tell(self, post_id: str) -> None:
        with self._lock:
            for event in self._waiting.get(post_id, ()):
                event.set()
            subscribers = list(self._subscribers)
        for hear in subscribers:
            hear(post_id)

    def _wake_all(self) -> None:
        with self._lock:
            for events in self._waiting.values():
                for event in events:
                    event.set()
