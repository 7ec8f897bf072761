"""What is done once a minute beside the streams: partitions, holes, predictions whose time has come, joined windows."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine

from db.engine import transaction
from db.partitions import maintain
from db.queries.gaps import note_gaps
from db.queries.outcomes import settle
from db.queries.windows import correct, give_up
from domain.errors import Unavailable
from streaming import metrics
from streaming.steps import Batch

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
        if len(batch.candles.at):
            self._remember(float(batch.candles.at.min()))

    def keep(self, now: datetime) -> None:
        """One round; a database that is away is waited for until the next."""
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
        metrics.GAPS.inc(new)
        metrics.OUTCOMES.inc(scored)
        found = {"gaps": new, "gaps_filled": filled, "predictions_scored": scored}
        found |= {"windows_corrected": corrected, "windows_given_up": given_up}
        if any(found.values()):
            log.info("housekeeping", **found)

    def _look(self, now: datetime) -> tuple[int, int]:
        """Record holes and note filled ones, a day at a time; a look that fails is owed to the next round."""
        with self._lock:
            oldest, self._oldest = self._oldest, math.inf
        since = now - (MEMORY if self._looked else FIRST_LOOK)
        if oldest < since.timestamp():
            since = max(now - LONGEST_LOOK, datetime.fromtimestamp(max(oldest, 0.0), UTC))
        new = filled = 0
        try:
            with transaction(self._engine, SECONDS) as connection:
                while since <= now:
                    found = note_gaps(connection, since, since + SLICE)
                    new, filled, since = new + found[0], filled + found[1], since + SLICE
        except Unavailable:
            self._remember(oldest)
            raise
        self._looked = True
        return new, filled

    def _remember(self, at: float) -> None:
        with self._lock:
            self._oldest = min(self._oldest, at)
