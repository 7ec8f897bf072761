"""Whether the door can answer: the database, a worker, a feed that moves; and the figures for Prometheus."""

from __future__ import annotations

import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Connection, Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.engine import transaction
from db.queries import streams
from db.queries.revisions import scorers
from db.queries.verdicts import feed_moved_at, migrated
from domain.answer import Json
from domain.clock import Clock
from domain.errors import MoodtapeError
from web.settings import WebSettings

BUCKETS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 4.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: name → None when well, else the sentence that says what is wrong and what to do; ``feed``: what plays."""

    checks: dict[str, str | None]
    feed: Json | None = None

    @property
    def ready(self) -> bool:
        """Whether everything is well."""
        return all(reason is None for reason in self.checks.values())

    def json(self) -> Json:
        """``{"ready", "checks": {name: "ok" or the reason}, "feed"}``."""
        checks = {name: reason or "ok" for name, reason in self.checks.items()}
        return {"ready": self.ready, "checks": checks, "feed": self.feed}


def look(engine: Engine, settings: WebSettings, clock: Clock) -> Health:
    """Ask the database for everything; takes at most its deadline."""
    try:
        with transaction(engine) as connection:
            if not migrated(connection):
                return Health({"database": "The tables are missing; run `moodtape up`, or the migrations."})
            playing = streams.feed(connection)
            moving = _moving(connection, playing, settings.feed_silence, clock)
            return Health({"database": None, "worker": _worker(connection), "feed": moving}, playing)
    except MoodtapeError as error:
        return Health({"database": error.message})


def _worker(connection: Connection) -> str | None:
    return None if scorers(connection) else "No worker has reported itself for 15 s; see `moodtape status`."


def _moving(connection: Connection, playing: Json | None, patience: float, clock: Clock) -> str | None:
    """A feed is asked for only where one is noted to play; a replay comes to its end and then rightly stands still."""
    if playing is None:
        return None
    moved = feed_moved_at(connection)
    if moved is None:
        return "The feed has delivered nothing yet."
    silence = (clock.now() - moved).total_seconds()
    if silence > patience and playing.get("kind") != "replay":
        return f"The feed has stood still for {silence:.0f} s; see `moodtape status`."
    return None


class Figures:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "moodtape_http_requests", "Answered requests", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "moodtape_http_seconds", "Seconds to answer", ("route",), buckets=BUCKETS, registry=self.registry
        )
        self.waiting = Gauge("moodtape_http_waiting", "Callers who wait for a verdict", registry=self.registry)
        self.listeners = Gauge("moodtape_live_listeners", "Pages that follow the live feed", registry=self.registry)
        self.dropped = Counter(
            "moodtape_live_dropped", "Events that slow pages did not get to see", registry=self.registry
        )


class Measured:
    """Counts requests by route (never by path: paths are made by strangers) and how long they take."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self.app = app
        self.figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.figures.requests.labels(route, scope["method"], str(status)).inc()
            if route != "/v1/live":
                self.figures.seconds.labels(route).observe(time.perf_counter() - start)
