"""One process of the streams, composed: the feed's sources, the sink, or both; ends cleanly when told to."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.queries import streams
from domain.clock import Clock, SystemClock
from domain.errors import MoodtapeError, Unavailable
from models.language import language as detect
from streaming import housekeeping, steps
from streaming.broker import Broker, BrokerDown
from streaming.clusters import Clusters
from streaming.consumer import EpochWatch, Runtime
from streaming.decode import Decode, Limits
from streaming.feed import Feed, Source
from streaming.housekeeping import Housekeeping, produce_due
from streaming.settings import StreamingSettings
from streaming.sink import Scoring, Sink, Stored, Writer, no_room
from streaming.steps import Batch, Gather

log = structlog.get_logger()

BROKER_SECONDS = 30.0


@dataclass
class Counts:
    """What this process has sent and stored since it began."""

    candles: int = 0
    corrected: int = 0
    posts: int = 0
    duplicates: int = 0
    refused: int = 0
    newest: dict[tuple[str, str], int] = field(default_factory=dict)

    def stored(self, batch: Batch, done: Stored) -> None:
        """Add one transaction."""
        self.candles += done.candles.inserted
        self.corrected += done.candles.corrected
        self.posts += done.posts
        self.duplicates += done.candles.unchanged + len(batch.posts) - done.posts
        self.refused += len(done.dead_letters)
        for key, at in batch.candles.newest().items():
            name = (key.exchange, key.symbol)
            self.newest[name] = max(self.newest.get(name, 0), at)

    def show_ages(self, now: float) -> None:
        """Set the gauge of each market's candle age."""
        for (exchange, symbol), at in self.newest.items():
            steps.CANDLE_AGE.labels(exchange, symbol).set(now - at - 60)


class SinkThread:
    """The consuming half on a thread of its own."""

    def __init__(
        self,
        engine: Engine,
        broker: Broker,
        watch: EpochWatch,
        settings: StreamingSettings,
        scoring: Scoring | None,
        clock: Clock,
        house: Housekeeping,
    ) -> None:
        self.counts = Counts()
        self._house = house
        self.error: MoodtapeError | Exception | None = None
        self.started = False
        self._stop = threading.Event()
        self._clusters = Clusters()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sink")
        sink = Sink(
            Writer(engine, settings.stream_group, scoring, self._clusters.assign),
            clock,
            self._executor,
            self._stored,
        )
        gather = Gather(sink, clock, settings.stream_batch, settings.stream_linger)
        decode = Decode(gather, clock, Limits(settings.dead_letter_share, settings.dead_letter_row), detect)
        self.runtime = Runtime(engine, broker, watch, decode, sink, settings.stream_group, clock)
        self._thread = threading.Thread(target=self._run, name="consumer")

    def start(self) -> None:
        """Begin, once."""
        if not self.started:
            self.started = True
            self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Drain, leave the group, end."""
        self._stop.set()
        if self.started:
            self._thread.join()
        self._executor.shutdown()

    def _stored(self, batch: Batch, done: Stored) -> None:
        self.counts.stored(batch, done)
        self._house.stored(batch)

    def _run(self) -> None:
        try:
            self.runtime.run(self._stop.is_set)
        except Exception as error:
            self.error = error


class Service:
    """Feeds and sink of one process. ``kind`` is what status pages call the feed."""

    def __init__(
        self,
        engine: Engine,
        broker: Broker,
        settings: StreamingSettings,
        *,
        sources: Sequence[Source] = (),
        kind: str = "synthetic",
        sink: bool = True,
        scoring: Scoring | None = None,
        once: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._engine = engine
        self._broker = broker
        self._settings = settings
        self._kind = kind
        self._once = once
        self._watch = EpochWatch(broker)
        self._house = Housekeeping(engine)
        parts = (engine, broker, self._watch, settings, scoring, self._clock, self._house)
        self._sink = SinkThread(*parts) if sink else None
        full = partial(no_room, engine, scoring)
        self.feeds = [
            Feed(source, engine, broker, self._clock, settings.stream_window, lambda: self._watch.epochs, full)
            for source in sources
        ]
        self._stopping = asyncio.Event()
        self._started = self._clock.monotonic()

    @property
    def healthy(self) -> bool:
        """Whether positions and cursors move (or all is read and stored) and the broker answers."""
        moving = all(feed.well for feed in self.feeds)
        return moving and self._watch.up and (self._sink is None or (self._sink.alive and self._sink.runtime.ready))

    def detail(self) -> dict[str, str | int | None]:
        """What `moodtape status` shows; ``unread`` counts rows on their way to the database, None while it is not known."""
        lag = self._sink.runtime.lag if self._sink else None
        ahead = sum(feed.ahead for feed in self.feeds)
        unread = max(ahead, lag) if lag is not None else None
        return {
            "feed": self._kind, "unread": unread, "candles": self.counts.candles, "posts": self.counts.posts,
            "troubles": "; ".join(self.troubles) or None,
        }  # fmt: skip

    @property
    def troubles(self) -> list[str]:
        """Sources and markets that are refused at present and tried again slowly; all else goes on."""
        return [trouble for feed in self.feeds for trouble in feed.troubles]

    @property
    def complete(self) -> bool:
        """Whether every source has ended and all that it gave is stored."""
        return all(feed.finished for feed in self.feeds)

    @property
    def counts(self) -> Counts:
        return self._sink.counts if self._sink else Counts()

    def summary(self) -> dict[str, Any]:
        """What was sent and stored, for ``--once`` and the commands."""
        counts, seconds = self.counts, self._clock.monotonic() - self._started
        left_out: Counter[str] = Counter()
        for feed in self.feeds:
            left_out.update(getattr(feed.source, "left_out", {}))
        sent = sum(feed.sent for feed in self.feeds)
        return {
            "rows_sent": sent,
            "candles_stored": counts.candles,
            "posts_stored": counts.posts,
            "corrected": counts.corrected,
            "stored_already": counts.duplicates,
            "refused": counts.refused,
            "left_out": dict(left_out),
            "seconds": round(seconds, 2),
            "rows_per_second": round(sent / max(seconds, 0.001)),
        }

    def stop(self) -> None:
        """Finish what is under way and end; safe to call from a signal handler of the event loop."""
        self._stopping.set()
        for feed in self.feeds:
            feed.stop()

    async def run(self) -> None:
        """Until stopped, or with ``once`` until every source has ended and is stored.

        Raises:
            MoodtapeError: the sink gave up, or a source's settings are wrong.
        """
        await self._reach_broker()
        await asyncio.to_thread(self._keep_house)
        self._started = self._clock.monotonic()
        await asyncio.to_thread(self._note_feed)
        if self._sink and not self._once:
            self._sink.start()
        tasks = [asyncio.create_task(feed.run()) for feed in self.feeds]
        try:
            await self._oversee(tasks)
        finally:
            self.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._sink:
                await asyncio.to_thread(self._sink.stop)
                await asyncio.to_thread(self._send_letters)
            await asyncio.to_thread(self._watch.stop)
        if self._sink and self._sink.error:
            raise self._sink.error

    async def _reach_broker(self) -> None:
        end = self._clock.monotonic() + BROKER_SECONDS
        while not self._stopping.is_set():
            await asyncio.to_thread(self._watch.look)
            if self._watch.up:
                break
            if self._clock.monotonic() > end:
                raise Unavailable("The broker does not answer; check that it runs and that KAFKA_BOOTSTRAP names it.")
            await asyncio.sleep(0.3)
        self._watch.start()

    async def _oversee(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        maintained = self._clock.monotonic()
        refused = 0
        while not self._stopping.is_set():
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception():
                    task.result()
            refusals = [feed.refusal for feed in self.feeds if feed.refusal and not feed.sent]
            if refusals and len(refusals) == len(self.feeds):  # nobody could run with these settings
                raise refusals[0]
            if self._sink and any(feed.sent for feed in self.feeds):
                self._sink.start()  # of a run that ends nobody joins the group before there is something to store
            if self._sink and self._sink.started and not self._sink.alive:
                return
            if self._once and all(task.done() for task in tasks):
                return
            self.counts.show_ages(self._clock.now().timestamp())
            if self.counts.refused > refused:
                refused = self.counts.refused
                await asyncio.to_thread(self._send_letters)
            if self._sink and self._clock.monotonic() - maintained > housekeeping.SECONDS:
                await asyncio.to_thread(self._keep_house)
                await asyncio.to_thread(self._send_letters)
                maintained = self._clock.monotonic()
            await asyncio.sleep(0.2)

    def _send_letters(self) -> None:
        """Put new dead letters on their topic; what cannot be sent now is due again with the next housekeeping."""
        try:
            produce_due(self._engine, self._broker)
        except (BrokerDown, Unavailable) as error:
            log.warning("dead letters wait for their topic", error=str(error))

    def _keep_house(self) -> None:
        self._house.keep(self._clock.now())

    def _note_feed(self) -> None:
        """Tell the doors which feed plays; a run of a command says nothing."""
        if self.feeds and self._kind:
            with transaction(self._engine, PATIENCE) as connection:
                streams.note_feed(connection, self._kind, self._clock.now())
