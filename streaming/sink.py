"""The last step: one transaction per batch with the rows, the offsets, the sources' cursors and the scoring jobs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Connection, Engine

from db.engine import PATIENCE, of_the_data, transaction
from db.queries import streams
from db.queries.candles import Upserted, upsert_candles
from db.queries.outcomes import open_windows
from db.queries.posts import insert_posts, keep_engagement
from db.queries.streams import DeadLetter
from domain.clock import Clock, SystemClock
from domain.errors import Busy, Unavailable
from domain.types import Post
from streaming import steps
from streaming.broker import Partition
from streaming.messages import POSTS
from streaming.steps import Batch, Decoded, Full, halves, merge
from workers.client.queue import Priority

log = structlog.get_logger()

FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""Seconds between attempts while the database is away."""


BUSY_WAIT = 1.0
"""Seconds after which posts that the scoring queue had no room for are offered to it again."""

LONGEST_ANSWER = 60.0
"""Seconds to which the wait for an answer grows, so that a slow database is not taken for one that is away."""

LONGEST_WRITE = PATIENCE
"""Seconds after which a running transaction counts as hanging."""


class Fenced(Exception):
    """Another consumer has moved the offsets meanwhile; this batch was not stored."""


class Scoring(Protocol):
    """What the sink needs of the scoring queue (:class:`workers.client.queue.ScoringClient` fits)."""

    def enqueue(
        self, connection: Connection, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None
    ) -> int: ...
    def refuse_if_busy(self, connection: Connection, priority: Priority) -> None: ...
    def ring(self, priority: Priority) -> object: ...


def no_room(engine: Engine, scoring: Scoring | None) -> bool:
    """Whether the scoring queue takes no live posts now. Raises :class:`Unavailable`."""
    if scoring is None:
        return False
    try:
        with transaction(engine, PATIENCE) as connection:
            scoring.refuse_if_busy(connection, Priority.LIVE)
    except Busy:
        return True
    return False


@dataclass(frozen=True, slots=True)
class Stored:
    """What one transaction did."""

    candles: Upserted
    posts: int
    dead_letters: Sequence[DeadLetter]


class Writer:
    """Stores each batch in one transaction: rows, offsets, the sources' cursors and the jobs of the scoring queue.

    ``cluster``: gives new posts the id of the near-duplicate group they belong to; ``scoring``: queue of the new posts.
    """

    def __init__(
        self,
        engine: Engine,
        group: str,
        scoring: Scoring | None = None,
        cluster: Callable[[Sequence[Post]], dict[str, str]] | None = None,
    ) -> None:
        self._engine = engine
        self._group = group
        self._scoring = scoring
        self._cluster = cluster
        self._answer_seconds = PATIENCE

    def write(self, batch: Batch) -> Stored:
        """Everything of the batch or nothing.

        Raises:
            Fenced: the offsets are not where this consumer left them.
            Busy: the scoring queue has no room for its posts.
            Unavailable: the database is away; asking again is safe.
        """
        clusters = self._cluster(batch.posts) if self._cluster and batch.posts else None
        try:
            with steps.BATCH_SECONDS.time(), transaction(self._engine, self._answer_seconds) as connection:
                done, wanted = self._store(connection, batch, clusters)
        except Busy:
            raise
        except Unavailable:
            self._answer_seconds = min(2 * self._answer_seconds, LONGEST_ANSWER)
            raise
        self._answer_seconds = max(PATIENCE, self._answer_seconds / 2)
        if self._scoring and wanted:
            self._scoring.ring(Priority.LIVE)
        return done

    def _store(
        self, connection: Connection, batch: Batch, clusters: dict[str, str] | None
    ) -> tuple[Stored, Sequence[str]]:
        """What was done, and the posts that were handed to the scoring queue."""
        if not streams.advance(connection, self._group, batch.moves):
            if self._committed_before(connection, batch):
                return Stored(Upserted(0, 0, 0), 0, ()), ()
            raise Fenced
        if self._scoring and batch.scored:
            self._scoring.refuse_if_busy(connection, Priority.LIVE)
        candles = upsert_candles(connection, batch.candles)
        new = insert_posts(connection, batch.posts, clusters)
        keep_engagement(connection, batch.posts, SystemClock().now())
        wanted = [post_id for post_id in new if post_id in batch.scored]
        if self._scoring and wanted:
            self._scoring.enqueue(connection, wanted, priority=Priority.LIVE)
            open_windows(connection, wanted)
        streams.keep(connection, batch.dead_letters)
        streams.move_streams(connection, batch.spans)
        return Stored(candles, len(new), batch.dead_letters), wanted

    def _committed_before(self, connection: Connection, batch: Batch) -> bool:
        """Whether an earlier attempt, whose answer was lost with its connection, had been committed after all."""
        stored = streams.stored(connection, self._group)
        return all(stored.get((m.topic, m.partition)) == (m.epoch, m.next) for m in batch.moves)


def _count(batch: Batch, done: Stored) -> None:
    written = done.candles.inserted + done.candles.corrected
    steps.ROWS.labels("candle").inc(written)
    steps.ROWS.labels("post").inc(done.posts)
    steps.DUPLICATES.labels("candle").inc(len(batch.candles.at) - written)
    steps.DUPLICATES.labels("post").inc(len(batch.posts) - done.posts)


@dataclass
class Sink:
    """Writes one batch at a time on ``executor``, while the consumer goes on polling; a second one is refused meanwhile.

    Example:
        >>> sink = Sink(Writer(engine, "sink"), clock, ThreadPoolExecutor(1), counts.stored)  # doctest: +SKIP
        >>> gather = Gather(sink, clock, rows=20_000, seconds=0.2)  # doctest: +SKIP
        >>> decode = Decode(gather, clock, Limits(), detect)  # doctest: +SKIP

    Posts that the scoring queue has no room for are held, and those that come after them too, while all else is
    written. Their offsets are not committed, so nothing is lost when the consumer ends.

    A batch with values that the database refuses is halved until the record at fault stands alone: a dead letter.
    """

    writer: Writer
    clock: Clock
    executor: Executor
    stored: Callable[[Batch, Stored], None] = lambda batch, done: None
    """Told of every transaction."""
    stored_at: float = -math.inf
    """Monotonic time of the newest transaction."""
    away_since: float | None = None
    """Monotonic time since when the database has not answered."""

    busy: bool = False
    """Whether the scoring queue is full: no more posts should be read."""

    _started: float = 0.0
    _held: list[Decoded] = field(default_factory=list)
    _offer_at: float = 0.0
    _batch: Batch | None = None
    _parts: Sequence[Decoded] = ()
    _rest: deque[Sequence[Decoded]] = field(default_factory=deque)
    """What is left of a batch that was taken apart."""
    _future: Future[Stored] | None = None
    _retry_at: float = 0.0
    _wait: float = field(default=FIRST_WAIT)

    @property
    def well(self) -> bool:
        """Whether the database answers, and within a bearable time."""
        hangs = self._future is not None and self.clock.monotonic() - self._started > LONGEST_WRITE
        return self.away_since is None and not hangs

    def submit(self, item: Sequence[Decoded]) -> None:
        self.poll()
        if self._batch is not None:
            raise Full
        if self.busy:
            posts, item = _posts_and_rest(item)
            self._held += posts
        self._write(item)

    def poll(self) -> None:
        if self._future is None:
            if self._batch is not None and self.clock.monotonic() >= self._retry_at:
                self._start()
            elif self._batch is None and self.busy and self.clock.monotonic() >= self._offer_at:
                self._offer_again()
            return
        if not self._future.done():
            return
        future, self._future = self._future, None
        self._settle(future)

    def flush(self) -> bool:
        self.poll()
        return self._batch is None

    def drop(self, partitions: Iterable[Partition] | None = None) -> None:
        """A write under way goes on: the offsets' guard decides. One that waits for the database is given up."""
        gone = None if partitions is None else set(partitions)
        self._held = [] if gone is None else [part for part in self._held if part.partition not in gone]
        self._rest.clear()
        if self._future is None:
            self._batch = None

    def _write(self, parts: Sequence[Decoded]) -> None:
        if parts:
            self._parts, self._batch = parts, merge(parts)
            self._start()

    def _hold(self) -> None:
        """Keep the posts of the batch that was refused and of what is left with it, and write all else."""
        if not self.busy:
            log.warning("the scoring queue is full; the posts wait")
        self.busy, self._offer_at = True, self.clock.monotonic() + BUSY_WAIT
        split = [_posts_and_rest(parts) for parts in (self._parts, *self._rest)]
        self._held += [post for posts, _ in split for post in posts]
        self._rest = deque(others for _, others in split if others)
        self._batch = None
        self._go_on()

    def _offer_again(self) -> None:
        """Only with nothing held any more are posts taken as they come, for they must be written in order."""
        held, self._held = self._held, []
        if not held:
            self.busy = False
            log.info("the scoring queue has room again")
        self._write(held)

    def _go_on(self) -> None:
        """Write what is left of a batch that was taken apart."""
        if self._rest:
            self._write(self._rest.popleft())

    def _start(self) -> None:
        assert self._batch is not None
        self._started = self.clock.monotonic()
        self._future = self.executor.submit(self.writer.write, self._batch)

    def _settle(self, future: Future[Stored]) -> None:
        batch = self._batch
        assert batch is not None
        try:
            done = future.result()
        except Busy:
            self._hold()
            return
        except Unavailable as error:
            if self.away_since is None:
                self.away_since = self.clock.monotonic()
                log.warning("the database is away; the streams wait", error=error.message)
            self._retry_at = self.clock.monotonic() + self._wait
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            return
        except BaseException as error:
            self._batch = None
            if of_the_data(error) and (parts := halves(self._parts, _reason(error))):
                self._rest.extendleft(reversed(parts))
                self._go_on()
                return
            self._rest.clear()
            steps.FENCED.inc(isinstance(error, Fenced))
            raise
        self._batch, self._wait, self.away_since, self.stored_at = None, FIRST_WAIT, None, self.clock.monotonic()
        _count(batch, done)
        self.stored(batch, done)
        self._go_on()


def _posts_and_rest(parts: Sequence[Decoded]) -> tuple[list[Decoded], list[Decoded]]:
    posts = [part for part in parts if part.partition.topic == POSTS]
    return posts, [part for part in parts if part.partition.topic != POSTS]


def _reason(error: BaseException) -> str:
    """The database's first line about a value that it refused."""
    return f"the database refuses it: {str(getattr(error, 'orig', error)).partition(chr(10))[0][:200]}"
