"""One run of ``import`` or ``backfill``: database, progress, interruption, the holes it leaves, and the report of it all."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, text

from db.engine import PATIENCE, make_engine, transaction
from db.queries.candles import market_ids
from db.queries.market_history import note_gaps, note_hole
from db.queries.streams import open_streams
from domain.candles import MarketKey
from domain.clock import SystemClock
from domain.errors import ConfigError, InputError, Unavailable
from domain.symbols import kind_of
from runtime.progress import progress
from streaming.bulk import Bulk, Report, load_all
from streaming.files.formats import Options, files_of, load
from workers.client.queue import ScoringClient

if TYPE_CHECKING:
    from streaming.market_data import Backfill  # ccxt costs a second that an import of files does not need

GAP_SECONDS = 300.0
"""Longest wait for the holes of years of candles."""
LOOK_SECONDS = 5.0
"""Longest wait for a database that a dry run only looks at."""


@dataclass(slots=True)
class Outcome:
    """What a run did. ``complete``: all that was asked for was there and is stored."""

    reports: list[Report] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    gaps: int = 0
    dry_run: bool = False
    interrupted: bool = False
    lacking: bool = False

    @property
    def complete(self) -> bool:
        return not (self.interrupted or self.lacking)

    def as_json(self) -> dict[str, Any]:
        """The shape that other programs read."""
        return {
            "files": [report.as_json() for report in self.reports], "passed_over": self.passed_over,
            "gaps_recorded": self.gaps, "dry_run": self.dry_run, "complete": self.complete,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people: a line a file, and what was refused or left out under it."""
        out = []
        for report in self.reports:
            if report.error:
                out.append(f"{report.file}: not read. {report.error}")
                continue
            verb = "would be stored" if self.dry_run else "stored"
            out.append(
                f"{report.file}: {report.layout} ({report.why}); {', '.join(report.series or report.markets) or 'no market'}; "
                f"{report.rows:,} rows, {report.stored:,} {verb}, {report.unchanged:,} unchanged"
            )
            out += [f"  refused {n:,}: {why}" for why, n in report.refused.items() if n]
            out += [f"  left out {n:,}: {why}" for why, n in report.left_out.items() if n]
            out += [f"  note: {note}" for note in report.notes]
        out += [f"{name}: passed over, not a kind of file that is read" for name in self.passed_over]
        return [*out, f"holes recorded: {self.gaps:,}", "complete" if self.complete else "not complete"]


def import_files(paths: Sequence[Path], options: Options, *, dry_run: bool, score: bool) -> Outcome:
    """Read and store files; a single one that is not understood is an error, among others it is a line of the report.

    Raises:
        InputError: there is nothing to read, or nothing of it is understood.
        Unavailable: the database stays away.
    """
    files, others = files_of(paths)
    outcome = Outcome(passed_over=[path.name for path in others], dry_run=dry_run)
    with _database(dry_run) as engine, _interruptible() as stopped, progress("import", 0) as tick:
        scoring = ScoringClient(engine) if score and engine is not None else None
        bulk = Bulk(engine, SystemClock(), dry_run=dry_run, scoring=scoring, stopped=stopped.is_set, tick=tick)
        loads = [(path.name, partial(load, path, options)) for path in files]
        outcome.reports = load_all(loads, bulk, stopped.is_set)
        outcome.interrupted = stopped.is_set()
        if outcome.reports and all(report.error for report in outcome.reports):
            raise InputError(" ".join(dict.fromkeys(report.error for report in outcome.reports[:3])))
        outcome.lacking = any(report.error for report in outcome.reports)
        spans = [(r.first, r.last) for r in outcome.reports if any(s.endswith(" 1m") for s in r.series)]
        known = [(first, last) for first, last in spans if first is not None and last is not None]
        if engine is not None and not dry_run and known:
            since, until = min(first for first, _ in known), max(last for _, last in known) + 60
            outcome.gaps = _gaps(engine, datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC))
    return outcome


def backfill(source: Backfill, *, dry_run: bool) -> Outcome:
    """Fetch and store candles of the past; holes within them and at both ends are recorded.

    Raises:
        InputError: the exchange knows none of the markets.
        Unavailable: the exchange or the database stays away; the same command goes on where this one stopped.
    """
    outcome = Outcome(dry_run=dry_run)
    with _database(dry_run) as engine, _interruptible() as stopped, progress(source.name, source.expected) as tick:
        bulk = Bulk(engine, SystemClock(), dry_run=dry_run, stopped=stopped.is_set, tick=tick)
        cursors = dict(source.streams())
        if engine is not None and not dry_run:
            with transaction(engine, PATIENCE) as connection:
                cursors = open_streams(connection, cursors)
        reports = {s: Report(symbol, "exchange", f"asked from {source.name}") for s, symbol in source.symbols.items()}
        asyncio.run(_fetch(source, cursors, bulk, reports, stopped))
        outcome.reports, outcome.interrupted = list(reports.values()), stopped.is_set()
        for stream, report in reports.items():
            report.error = source.failed.get(report.file, "")
            asked = source.asked(cursors[stream])
            if not report.error and report.rows < asked:
                outcome.lacking = True
                report.notes.append(f"the exchange gave {report.rows:,} of {asked:,} candles")
        if outcome.reports and all(report.error for report in outcome.reports):
            raise InputError(" ".join(report.error for report in outcome.reports))
        outcome.lacking |= any(report.error for report in outcome.reports)
        if engine is not None and not dry_run:
            outcome.gaps = _gaps(engine, source.since, source.until)
            outcome.gaps += sum(_end_gaps(engine, source, cursors[s], r) for s, r in reports.items())
    return outcome


async def _fetch(
    source: Backfill, cursors: dict[str, int], bulk: Bulk, reports: dict[str, Report], stopped: threading.Event
) -> None:
    async for stream, after, candles in source.columns(cursors):
        if stopped.is_set():
            return
        reports[stream].rows += len(candles)
        span = (stream, after, int(candles.at[-1]))
        await asyncio.to_thread(bulk.candles, candles, reports[stream], span)


def _gaps(engine: Engine, since: datetime, until: datetime) -> int:
    with transaction(engine, GAP_SECONDS) as connection:
        return note_gaps(connection, since, until)[0]


def _end_gaps(engine: Engine, source: Backfill, cursor: int, report: Report) -> int:
    """Record the holes before the first and behind the last candle of a market."""
    if report.error or source.timeframe != "1m" or report.first is None or report.last is None:
        return 0
    key = MarketKey(source.exchange, kind_of(report.file), report.file, source.timeframe)
    ends = ((cursor + 60.0, report.first), (report.last + 60.0, source.until.timestamp()))
    with transaction(engine, GAP_SECONDS) as connection:
        market = market_ids(connection, [key])[key]
        spans = [(datetime.fromtimestamp(a, UTC), datetime.fromtimestamp(b, UTC)) for a, b in ends if b > a]
        return sum(note_hole(connection, market, start, end) for start, end in spans)


@contextmanager
def _database(dry_run: bool) -> Iterator[Engine | None]:
    """The database; a dry run goes on without one, and then cannot tell what is stored already."""
    engine = _looked_at() if dry_run else make_engine()
    if engine is None:
        sys.stderr.write("moodtape: no database answers, so what is stored already is not known.\n")
    try:
        yield engine
    finally:
        if engine is not None:
            engine.dispose()


def _looked_at() -> Engine | None:
    """The database, where one is named and answers."""
    try:
        engine = make_engine()
    except ConfigError:
        return None
    if _answers(engine):
        return engine
    engine.dispose()
    return None


def _answers(engine: Engine) -> bool:
    try:
        with transaction(engine, LOOK_SECONDS) as connection:
            return connection.execute(text("select to_regclass('candles') is not null")).scalar() is True
    except (Unavailable, ConfigError):
        return False


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of ending the process in the middle of a transaction."""
    stopped = threading.Event()
    before: Callable[..., Any] | int | None = None
    main = threading.current_thread() is threading.main_thread()
    if main:
        before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
