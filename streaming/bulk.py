"""Candles and posts in bulk: checked like live ones and written straight into Postgres, in the command's own process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, Engine

from answer.catalogue import texts
from answer.words import explain
from db.engine import of_the_data, transaction
from db.queries.candles import Upserted, upsert_candles
from db.queries.outcomes import open_windows
from db.queries.posts import insert_posts
from db.queries.streams import move_streams
from domain.candles import CandleColumns
from domain.clock import Clock
from domain.errors import Busy, InputError, Unavailable
from domain.types import Post
from models.language import language
from streaming.clusters import Clusters
from streaming.files.formats import Loaded
from streaming.files.tables import PostTable
from streaming.replay import post_of
from streaming.sink import Scoring
from streaming.validate import candle_reasons, market_key, to_post
from workers.client.queue import Priority

ROWS = 100_000
"""Candles written in one transaction."""
POSTS = 5_000
"""Posts written in one transaction."""
PATIENCE = 120.0
"""Seconds that a transaction of so many rows may take."""
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between attempts while the database is away, or the scoring queue has no room."""


Done = TypeVar("Done")


class _Undo(Exception):
    """Ends the transaction of a dry run."""


@dataclass(slots=True)
class Report:
    """What became of the rows of one file, or of one market of a back-fill; ``stored`` counts ``corrected`` ones too."""

    file: str
    layout: str = ""
    why: str = ""
    rows: int = 0
    stored: int = 0
    corrected: int = 0
    unchanged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    markets: list[str] = field(default_factory=list)
    series: list[str] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    volume: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""

    @classmethod
    def of(cls, loaded: Loaded) -> Report:
        """A report of a file before its rows are stored."""
        return cls(
            loaded.path.name, loaded.layout, loaded.why, loaded.rows,
            refused=Counter(loaded.refused), left_out=Counter(loaded.left_out), notes=list(loaded.notes),
        )  # fmt: skip

    def seen(self, first: float, last: float) -> None:
        """Rows from ``first`` to ``last`` (epoch seconds) are good."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def as_json(self) -> dict[str, Any]:
        """The shape of ``moodtape import --json``; times in ISO 8601."""
        if self.error:
            return {"file": self.file, "error": self.error}
        return {
            "file": self.file, "layout": self.layout, "why": self.why, "markets": self.markets, "series": self.series,
            "rows": self.rows, "stored": self.stored, "corrected": self.corrected, "unchanged": self.unchanged,
            "refused": {k: v for k, v in self.refused.items() if v}, "left_out": {k: v for k, v in self.left_out.items() if v},
            "first": _iso(self.first), "last": _iso(self.last), "volume": round(self.volume, 8), "notes": self.notes,
        }  # fmt: skip


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


class Bulk:
    """Writes files' rows. Without an ``engine`` it only checks them; with ``dry_run`` every transaction is undone.

    ``stopped`` is asked between two transactions; ``tick`` is told how many rows are done.
    """

    def __init__(
        self,
        engine: Engine | None,
        clock: Clock,
        *,
        dry_run: bool = False,
        scoring: Scoring | None = None,
        stopped: Callable[[], bool] = lambda: False,
        tick: Callable[[int], object] = lambda done: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._dry_run = dry_run
        self._scoring = scoring
        self._stopped = stopped
        self._tick = tick
        self._clusters = Clusters()
        self._done = 0

    def candles(self, table: CandleColumns, report: Report, span: tuple[str, int, int] | None = None) -> None:
        """Store the candles of one market; ``span``: of the stream whose cursor moves with them, in the same transaction."""
        try:
            key = market_key(*table.key)
        except ValueError as error:
            report.refused[str(error)] += len(table)
            return
        table = CandleColumns((key,), table.market, table.at, table.bars, table.final)
        for start in range(0, len(table), ROWS):
            if self._stopped():
                return
            part = table.take(slice(start, start + ROWS))
            wrong = candle_reasons(part.at, part.bars, self._clock.now().timestamp())
            report.refused.update(map(grouped, wrong.values()))
            if wrong:
                part = part.take(np.setdiff1d(np.arange(len(part)), list(wrong)))
            self._store_candles(part, report, span)
            self._count(len(part) + len(wrong))

    def posts(self, table: PostTable, report: Report) -> None:
        """Store the posts of one source."""
        for start in range(0, len(table.at), POSTS):
            if self._stopped():
                return
            good: list[Post] = []
            rows = range(start, min(start + POSTS, len(table.at)))
            for row in rows:
                try:
                    message = post_of(table, row, score=self._scoring is not None)
                    good.append(to_post(message, self._clock.now().timestamp(), language))
                except ValueError as error:
                    report.refused[grouped(str(error))] += 1
            self._store_posts(good, report)
            self._count(len(rows))

    def _count(self, rows: int) -> None:
        self._done += rows
        self._tick(self._done)

    def _store_candles(self, part: CandleColumns, report: Report, span: tuple[str, int, int] | None) -> None:
        def write(connection: Connection) -> Upserted:
            done = upsert_candles(connection, part)
            if span is not None:
                move_streams(connection, [span])
            return done

        try:
            done = self._write(write, Upserted(len(part), 0, 0))
        except Exception as error:
            if not of_the_data(error):
                raise
            if len(part) == 1:
                report.refused[f"the database refuses it: {_first_line(error)}"] += 1
                return
            for half in (slice(None, len(part) // 2), slice(len(part) // 2, None)):
                self._store_candles(part.take(half), report, span)
            return
        report.stored += done.inserted + done.corrected
        report.corrected += done.corrected
        report.unchanged += done.unchanged
        if len(part):
            key = part.key
            report.markets = list(dict.fromkeys([*report.markets, key.symbol]))
            report.series = list(dict.fromkeys([*report.series, " ".join(key)]))
            report.seen(float(part.at.min()), float(part.at.max()))
            report.volume += float(part.bars[:, 4].sum())

    def _store_posts(self, good: Sequence[Post], report: Report) -> None:
        if not good:
            return
        clusters = self._clusters.assign(good)

        def write(connection: Connection) -> list[str]:
            new = insert_posts(connection, good, clusters)
            self._score(connection, new)
            return new

        try:
            new = self._write(write, [post.id for post in good])
        except Exception as error:
            if not of_the_data(error):
                raise
            if len(good) == 1:
                report.refused[f"the database refuses it: {_first_line(error)}"] += 1
                return
            self._store_posts(good[: len(good) // 2], report)
            self._store_posts(good[len(good) // 2 :], report)
            return
        if self._scoring is not None and new and not self._dry_run:
            self._scoring.ring(Priority.LIVE)
        report.stored += len(new)
        report.unchanged += len(good) - len(new)
        moments = [post.posted_at.timestamp() for post in good]
        report.seen(min(moments), max(moments))
        report.markets = list(dict.fromkeys([*report.markets, *(s for post in good for s in post.symbols)]))

    def _score(self, connection: Connection, new: Sequence[str]) -> None:
        if self._scoring is not None and new and not self._dry_run:
            self._scoring.refuse_if_busy(connection, Priority.LIVE)
            self._scoring.enqueue(connection, new, priority=Priority.LIVE)
            open_windows(connection, new)

    def _write(self, act: Callable[[Connection], Done], unwritten: Done) -> Done:
        """One transaction, undone in a dry run; ``unwritten`` without a database. A full queue is waited for.

        Raises:
            Unavailable: the database stays away.
        """
        waits = iter(WAITS)
        while self._engine is not None:
            try:
                return self._once(self._engine, act)
            except Busy:
                if self._stopped():
                    raise
                self._clock.sleep(WAITS[0])
            except Unavailable:
                wait = next(waits, None)
                if wait is None or self._stopped():
                    raise
                self._clock.sleep(wait)
        return unwritten

    def _once(self, engine: Engine, act: Callable[[Connection], Done]) -> Done:
        done: list[Done] = []
        try:
            with transaction(engine, PATIENCE) as connection:
                done.append(act(connection))
                if self._dry_run:
                    raise _Undo
        except _Undo:
            pass
        return done[0]


_VALUES = re.compile(r"(?<=time )[\d:,. -]+(?=is )")


def grouped(reason: str) -> str:
    """A reason without the row's own time, so that equal faults are counted together."""
    return _VALUES.sub("", reason)


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).partition("\n")[0][:200]


def load_all(
    loads: Sequence[tuple[str, Callable[[], Loaded]]], bulk: Bulk, stopped: Callable[[], bool]
) -> list[Report]:
    """Read and store files one after the other, the posts of all after all candles: they are scored against them."""
    reports, waiting = [], []
    for name, load in loads:
        if stopped():
            break
        try:
            loaded = load()
        except InputError as error:
            reports.append(Report(name, error=explain(error, texts().speaker("en"))))
            continue
        report = Report.of(loaded)
        reports.append(report)
        for table in loaded.candles:
            bulk.candles(table, report)
        waiting += [(posts, report) for posts in loaded.posts]
    for posts, report in waiting:
        bulk.posts(posts, report)
    return reports
