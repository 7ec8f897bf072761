"""What is done once a minute beside the streams: partitions, holes, predictions whose time has come, joined windows."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.migrate import maintain
from db.queries import streams
from db.queries.market_history import note_gaps
from db.queries.outcomes import correct, give_up
from db.queries.streams import DeadLetter
from domain.errors import Unavailable
from streaming import steps
from streaming.broker import Broker
from streaming.messages import DEAD_LETTERS, FORMER, TOPICS
from streaming.steps import Batch
from workers.closing import settle

log = structlog.get_logger()

SECONDS = 60.0
"""Between two rounds, and the longest wait for one answer of the database in them."""
MEMORY = timedelta(hours=6)
"""How far back every round looks for holes and for those that were filled, and corrected candles change joined windows."""
FIRST_LOOK = timedelta(days=7)
"""How far back the first round looks for holes: candles may have been stored and not looked at before the last end."""
LONGEST_LOOK = timedelta(days=31)
SLICE = timedelta(days=1)


class Housekeeping:
    """The rounds of one process; it looks for holes as far back as candles were stored since the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._looked = False
        self._oldest = math.inf
        """Opening time of the oldest candle stored since the last look, epoch seconds."""

    def stored(self, batch: Batch) -> None:
        """Remember what was stored; safe to call from any thread."""
        if len(batch.candles):
            self._remember(float(batch.candles.at.min()))

    def keep(self, now: datetime) -> None:
        """One round; if the database is away, the next round makes up for it."""
        try:
            with transaction(self._engine, SECONDS) as connection:
                maintain(connection, now)
            new, filled = self._look(now)
            with transaction(self._engine, SECONDS) as connection:
                scored = settle(connection, now)
            with transaction(self._engine, SECONDS) as connection:
                corrected, given_up = correct(connection, now - MEMORY), give_up(connection, now)
        except Unavailable as error:
            log.warning("housekeeping waits for the database", error=error.message)
            return
        steps.GAPS.inc(new)
        steps.OUTCOMES.inc(scored)
        figures = {"gaps": new, "gaps_filled": filled, "predictions_scored": scored}
        figures |= {"windows_corrected": corrected, "windows_given_up": given_up}
        if any(figures.values()):
            log.info("housekeeping", **figures)

    def _look(self, now: datetime) -> tuple[int, int]:
        """Record holes and note filled ones, a day at a time; a failed look is repeated in the next round."""
        with self._lock:
            oldest, self._oldest = self._oldest, math.inf
        since = now - (MEMORY if self._looked else FIRST_LOOK)
        if oldest < since.timestamp():
            since = max(now - LONGEST_LOOK, datetime.fromtimestamp(max(oldest, 0.0), UTC))
        new = filled = 0
        try:
            with transaction(self._engine, SECONDS) as connection:
                while since <= now:
                    noted = note_gaps(connection, since, since + SLICE)
                    new, filled, since = new + noted[0], filled + noted[1], since + SLICE
        except Unavailable:
            self._remember(oldest)
            raise
        self._looked = True
        return new, filled

    def _remember(self, at: float) -> None:
        with self._lock:
            self._oldest = min(self._oldest, at)


AT_ONCE = 200
FLUSH_SECONDS = 10.0
HELD_SECONDS = 20.0
"""Seconds that the transaction may wait while it locks a portion's rows for the broker: half of what locks may last."""


def produce_due(engine: Engine, broker: Broker) -> int:
    """Send the dead letters that are stored and not on the topic yet; returns how many.

    A message carries the original bytes as its value, the original key, and reason, topic, partition, offset and id as
    headers. A crash between sending and noting it sends one twice; its id tells.

    Raises:
        BrokerDown: not everything was acknowledged; asking again is safe.
        Unavailable: the database is away.
    """
    return _send(engine, broker, None, again=False)


def replay(engine: Engine, broker: Broker, ids: Sequence[int] | None) -> int:
    """Send dead letters (these, or all) to their own topics once more, as they were; those replayed before are passed over.

    Returns how many were sent.

    Raises:
        BrokerDown: not everything was acknowledged; asking again sends the rest.
    """
    return _send(engine, broker, ids, again=True)


def _send(engine: Engine, broker: Broker, ids: Sequence[int] | None, *, again: bool) -> int:
    """In portions, each noted in the transaction that holds its rows; what is refused meanwhile waits for the next call."""
    sent, after = 0, 0
    with transaction(engine, PATIENCE) as connection:
        last = streams.newest(connection)
    while True:
        with transaction(engine, HELD_SECONDS) as connection:
            step = "replayed_at" if again else "produced_at"
            dead_letters = streams.take(connection, step, ids, AT_ONCE, span=(after, last))
            if dead_letters:
                broker.ensure(TOPICS)
                producer = broker.producer()
                try:
                    for dead_letter in dead_letters:
                        topic = FORMER.get(dead_letter.topic, dead_letter.topic) if again else DEAD_LETTERS
                        producer.send(
                            topic, dead_letter.key or b"", dead_letter.payload, _headers(dead_letter, again=again)
                        )
                    producer.flush(FLUSH_SECONDS)
                finally:
                    producer.close()
        sent += len(dead_letters)
        if len(dead_letters) < AT_ONCE:
            return sent
        after = dead_letters[-1].id


def _headers(dead_letter: DeadLetter, *, again: bool) -> list[tuple[str, bytes]]:
    if again:
        return [("replayed", str(dead_letter.id).encode())]
    names = ("reason", "topic", "partition", "offset", "id")
    return [(name, str(getattr(dead_letter, name)).encode()) for name in names]
