"""The consumer's loop: assignment, seek to the stored offset, back-pressure, a broker that lost its log, a stuck stream."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.queries import streams
from domain.clock import Clock
from domain.errors import Unavailable
from streaming import steps
from streaming.broker import Broker, BrokerDown, Chunk, Consumer, Partition
from streaming.decode import Assigned, Decode
from streaming.messages import POSTS, READ, TOPICS
from streaming.sink import Fenced, Sink
from streaming.steps import Full

log = structlog.get_logger()

POLL_RECORDS = 5_000
STUCK_SECONDS = 60.0
"""After this many seconds without progress, with messages unread, the process ends; the supervisor starts another."""
REJOIN_SECONDS = 20.0
"""After this many seconds without progress, the consumer leaves and joins its group again."""
LOOK_SECONDS = 1.0
JOIN_SECONDS, LONGEST_JOIN = 9.0, 300.0
"""Seconds to wait for partitions before joining the group again; doubled each time, since there may be none to give."""


class Rejoin(Exception):
    """The consumer is to be made anew."""


class EpochWatch:
    """Knows the identity of each topic's log, and makes topics that are missing."""

    def __init__(self, broker: Broker, topics: Mapping[str, int] = TOPICS) -> None:
        self._broker = broker
        self._topics = topics
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.epochs: dict[str, str] = {}
        self.up = False

    def look(self) -> None:
        """Ask once; a broker that is away leaves what was known."""
        try:
            epochs = self._broker.epochs(self._topics)
            if len(epochs) < len(self._topics):
                self._broker.ensure(self._topics)
                epochs = self._broker.epochs(self._topics)
        except BrokerDown as error:
            if self.up:
                log.warning("the broker is away", error=str(error))
            self.up = False
            steps.BROKER_UP.set(0)
            return
        if not self.up:
            log.info("the broker answers")
        self.up, self.epochs = True, epochs
        steps.BROKER_UP.set(1)

    def start(self) -> None:
        """Look every second on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="epochs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; nothing is asked of the broker afterwards."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(LOOK_SECONDS)


class Runtime:
    """Reads the partitions that its group assigns and feeds the pipeline; :meth:`step` is one turn of the loop.

    It seeks to the offsets stored in the database, never to the broker's own. While the pipeline is full it pauses its
    partitions and goes on polling.
    """

    def __init__(
        self,
        engine: Engine,
        broker: Broker,
        watch: EpochWatch,
        decode: Decode,
        sink: Sink,
        group: str,
        clock: Clock,
        poll_seconds: float = 0.05,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._watch = watch
        self._decode = decode
        self._sink = sink
        self._group = group
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._consumer: Consumer | None = None
        self._epochs: dict[str, str] = {}
        self._at: dict[Partition, int] = {}
        """Next offset of each partition that is ours and has been sought."""
        self._unsought: set[Partition] = set()
        self._waiting: deque[Chunk] = deque()
        self._moved_at = clock.monotonic()
        self._checked_at = clock.monotonic()
        self._rejoined_at = -math.inf
        self._joined_at = clock.monotonic()
        self._patience = JOIN_SECONDS
        self.lag: int | None = None

    @property
    def ready(self) -> bool:
        """Whether positions move, or nothing is left to read."""
        recent = self._clock.monotonic() - self._last_move < REJOIN_SECONDS
        return bool(self._at) and self._watch.up and self._sink.well and (recent or self.lag == 0)

    @property
    def _last_move(self) -> float:
        return max(self._moved_at, self._sink.stored_at)

    def run(self, stop: Callable[[], bool]) -> None:
        """Turn until ``stop()``, then store what is held and leave the group.

        Raises:
            TooManyRefused: the dead-letter limit was reached.
            Unavailable: the stream stood still for a minute.
        """
        try:
            while not stop():
                self.step()
            self.drain()
        finally:
            self._leave()

    def step(self) -> None:
        """One turn."""
        try:
            self._decode.poll()
            self._turn()
        except Fenced:
            log.warning("another consumer moved the offsets; reading again from the stored ones")
            self._restart()
        except Rejoin:
            self._leave()
        except BrokerDown as error:
            log.warning("reading failed", error=str(error))
            self._leave()
            self._clock.sleep(self._poll_seconds)
        if self._decode.stopped is not None:
            self.drain()
            raise self._decode.stopped

    def drain(self, seconds: float = 10.0) -> None:
        """Store what is held; what cannot be stored in time is read again later."""
        end = self._clock.monotonic() + seconds
        try:
            while not self._decode.flush() and self._clock.monotonic() < end:
                self._clock.sleep(0.01)
        except Fenced:
            log.warning("another consumer has the partitions; what was held is its to store")

    def _turn(self) -> None:
        if self._watch.epochs != self._epochs:
            self._begin()
        if self._consumer is None:
            self._clock.sleep(self._poll_seconds)
            return
        consumer = self._consumer
        chunks = consumer.poll(self._poll_seconds, POLL_RECORDS)
        self._settle_changes(consumer)
        self._watch_joining()
        self._waiting.extend(c for c in chunks if c.partition in self._at)
        self._offer(consumer)
        self._watch_position(consumer)

    def _begin(self) -> None:
        """The broker is new to us, or has lost its log: start over with a new consumer."""
        if self._epochs:
            log.warning("the broker has a new log; its cursors tell the sources where to go on")
        self._leave()
        self._epochs = dict(self._watch.epochs)
        self._consumer = self._broker.consumer(self._group, READ)
        self._moved_at = self._joined_at = self._clock.monotonic()

    def _watch_joining(self) -> None:
        """A join can hang for ever when the broker was restarted in the middle of it: leave, and begin again."""
        if self._at or self._unsought:
            self._patience = JOIN_SECONDS
            self._joined_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._joined_at > self._patience:
            log.warning("the group gave us nothing; joining it anew", seconds=self._patience)
            self._patience = min(2 * self._patience, LONGEST_JOIN)
            raise Rejoin

    def _settle_changes(self, consumer: Consumer) -> None:
        given, taken = consumer.changes()
        if taken:
            self._forget(taken)
        self._unsought |= given
        if self._unsought:
            self._seek(consumer)

    def _seek(self, consumer: Consumer) -> None:
        epochs = {p: self._epochs[p.topic] for p in self._unsought if p.topic in self._epochs}
        try:
            with transaction(self._engine, PATIENCE) as connection:
                claimed = streams.claim(connection, self._group, {(p.topic, p.number): e for p, e in epochs.items()})
        except Unavailable as error:
            log.warning("the stored offsets cannot be read yet", error=error.message)
            return
        offsets = {Partition(*p): offset for p, offset in claimed.items()}
        self._at.update(offsets)
        consumer.seek(offsets)
        self._unsought.clear()
        log.info("partitions assigned", partitions=len(self._at))

    def _offer(self, consumer: Consumer) -> None:
        """Hand chunks to the pipeline; when it is full, pause everything and keep polling, when scoring is, the posts."""
        while self._waiting and self._decode.stopped is None:
            chunk = self._waiting[0]
            item = Assigned(chunk, self._epochs[chunk.partition.topic], self._at[chunk.partition])
            try:
                self._decode.submit(item)
            except Full:
                consumer.pause(self._at)
                return
            self._waiting.popleft()
            self._at[chunk.partition] = chunk.records[-1].offset + 1
        if self._at:
            consumer.pause(held := self._held())
            consumer.resume(self._at.keys() - held)

    def _held(self) -> set[Partition]:
        """Partitions that wait for the scoring queue."""
        return {p for p in self._at if p.topic == POSTS} if self._sink.busy else set()

    def _forget(self, partitions: set[Partition]) -> None:
        self._decode.drop(partitions)
        self._waiting = deque(c for c in self._waiting if c.partition not in partitions)
        self._unsought -= partitions
        for partition in partitions:
            self._at.pop(partition, None)

    def _restart(self) -> None:
        """Go back to the stored offsets of all our partitions."""
        self._unsought |= set(self._at)
        self._forget_all()
        if self._consumer is not None:
            self._consumer.pause(self._unsought)

    def _forget_all(self) -> None:
        self._decode.drop()
        self._waiting.clear()
        self._at.clear()

    def _leave(self) -> None:
        self._forget_all()
        self._unsought.clear()
        self._epochs = {}
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _watch_position(self, consumer: Consumer) -> None:
        now = self._clock.monotonic()
        if now - self._checked_at < 5.0 or not self._at:
            return
        self._checked_at = now
        try:
            ends = consumer.ends(self._at)
        except BrokerDown:
            return
        behind = {p: max(0, ends[p] - at) for p, at in self._at.items()}
        for topic in READ:
            steps.LAG.labels(topic).set(sum(n for p, n in behind.items() if p.topic == topic))
        self.lag = sum(behind.values())
        owed = self.lag - sum(behind[p] for p in self._held())
        if not owed or not self._sink.well:
            self._moved_at = now
        elif now - self._last_move > STUCK_SECONDS:
            raise Unavailable("The stream has stood still for a minute with messages unread; it starts again.")
        elif now - self._last_move > REJOIN_SECONDS and self._rejoined_at <= self._sink.stored_at:
            log.warning("the stream stands still; joining the group again", lag=self.lag)
            self._rejoined_at = now
            raise Rejoin
