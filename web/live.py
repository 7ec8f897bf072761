"""The live feed: news of verdicts, fanned out to pages through bounded queues."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db.engine import transaction
from db.listen import VerdictListener
from db.queries.verdicts import verdicts_of
from domain.answer import Json
from domain.errors import Busy, MoodtapeError
from web.views import listed

log = structlog.get_logger()

ROOM = 64
"""Events kept for a page that reads slowly; the oldest are dropped, and the page is told how many."""

GATHER = 0.3
"""Seconds over which news is gathered into one query."""

NEWEST = 12
"""Most verdicts that are read per gathering; a burst shows its newest."""

BREATH = 15.0
"""Seconds after which a silent stream says that it is alive."""


class Listener:
    """One page's queue."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Json] = asyncio.Queue(ROOM)
        self.dropped = 0

    def put(self, event: Json) -> None:
        """Add an event; a full queue loses its oldest."""
        if self.events.full():
            self.events.get_nowait()
            self.dropped += 1
        self.events.put_nowait(event)


class Hub:
    """Hands the news of verdicts to the pages that follow them, a few at a time; lives on one event loop."""

    def __init__(
        self, engine: Engine, listener: VerdictListener, max_listeners: int, dropped: Callable[[], None] = lambda: None
    ) -> None:
        self._engine = engine
        self._source = listener
        self._max = max_listeners
        self._count_dropped = dropped
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._post_ids: dict[str, None] = {}
        """Posts with news that was not read yet, the newest last."""
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begin to follow; call from the event loop that serves the pages."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        self._source.subscribe(self._hear)

    async def stop(self) -> None:
        """Stop following, and end every stream."""
        self.end_streams()
        self._source.unsubscribe(self._hear)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def end_streams(self) -> None:
        """Let every page go, so that open streams do not hold up a stop."""
        for listener in list(self._listeners):
            listener.put({"event": "end"})

    def end_streams_soon(self) -> None:
        """The same, from a signal handler or another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end_streams)

    @property
    def listeners(self) -> int:
        """How many pages follow now."""
        return len(self._listeners)

    def refuse_if_full(self) -> None:
        """Keep the number of streams bounded.

        Raises:
            Busy: too many pages follow already.
        """
        if len(self._listeners) >= self._max:
            raise Busy("Too many pages follow the live feed; close one, or come back later.", retry_after=30)

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """A queue of news while the block runs."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def publish(self, events: list[Json]) -> None:
        """Hand events to every listener; on the event loop only."""
        for listener in self._listeners:
            before = listener.dropped
            for event in events:
                listener.put({"event": "verdict", "data": event})
            for _ in range(listener.dropped - before):
                self._count_dropped()

    def _hear(self, post_id: str) -> None:
        """Called on the listener's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, post_id)

    def _note(self, post_id: str) -> None:
        if self._listeners:
            self._post_ids.pop(post_id, None)
            self._post_ids[post_id] = None
            self._news.set()

    async def _run(self) -> None:
        """Gather news for a moment, read the newest, hand them on."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER)
            newest, self._post_ids = list(reversed(self._post_ids))[:NEWEST], {}
            self._news.clear()
            try:
                self.publish(await asyncio.to_thread(self._read, newest))
            except (psycopg.Error, SQLAlchemyError, MoodtapeError) as error:
                log.warning("the live feed was interrupted", error=type(error).__name__)

    def _read(self, post_ids: list[str]) -> list[Json]:
        with transaction(self._engine) as connection:
            return [listed(row) for row in verdicts_of(connection, post_ids)]


async def stream(hub: Hub) -> AsyncIterator[str]:
    """Server-sent events until the page goes away or the hub stops."""
    with hub.listener() as listener:
        yield "retry: 2000\n: hello\n\n"
        missed = 0
        while True:
            try:
                event = await asyncio.wait_for(listener.events.get(), BREATH)
            except TimeoutError:
                yield ": alive\n\n"
                continue
            if event["event"] == "end":
                return
            if listener.dropped > missed:
                yield f"event: missed\ndata: {listener.dropped - missed}\n\n"
                missed = listener.dropped
            yield _sse(event["event"], event["data"])


def _sse(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
