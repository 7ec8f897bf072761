"""Windows of a symbol published when they close, with the hype as forecast then; and ``moodtape series``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from sqlalchemy import Connection

from db.engine import make_engine, transaction
from db.queries.candles import known_symbols
from db.queries.market_history import PostCounts, post_counts, windows_of
from db.queries.series import Rows, Span, last_published, minute, moment, publish, published, spans
from domain.answer import stamp
from domain.clock import parse_time
from domain.errors import InputError
from domain.series import COLUMNS, PAST, QUARTER, WIDTHS
from domain.symbols import normalize
from domain.types import MINUTE
from models.hype.features import sequences, situations
from models.hype.forecast import HypeHeads, load_hype
from models.hype.past import Past, joined, past_of_grid

GRACE = 2 * MINUTE
"""How long the last candle of a window is waited for."""

AGAIN = 4
"""Windows (an hour) that are looked at again for candles that came late."""

FIRST = timedelta(days=7)
"""How far back a symbol's first windows are published."""

TOGETHER = 64
"""Symbols that are read at a time: a week of their minutes is 10 MB."""

AT_ONCE = 2_000
"""Windows whose past is in memory at a time: 50 MB."""


def refresh(connection: Connection, heads: HypeHeads, now: datetime, symbols: Sequence[str] = ()) -> int:
    """Publish the windows of all symbols that have closed; returns how many rows were written."""
    names = list(symbols) or known_symbols(connection)
    newest = last_published(connection, names)
    end = moment(minute(now - GRACE) // QUARTER * QUARTER)
    starts: dict[datetime, list[str]] = {}
    for symbol in names:
        last = newest.get(symbol)
        if last is None or last + QUARTER * MINUTE < end:
            again = end - FIRST if last is None else max(last - AGAIN * QUARTER * MINUTE, end - FIRST)
            starts.setdefault(again, []).append(symbol)
    written = 0
    for start, some in starts.items():
        for i in range(0, len(some), TOGETHER):
            rows = window_rows(connection, some[i : i + TOGETHER], start, end, heads)
            written += publish(connection, rows, "candles or posts that came late")
    return written


def window_rows(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime, heads: HypeHeads
) -> dict[str, Rows]:
    """By symbol the closed windows of 15 minutes that lie in [start, end), with the hype at each one's close."""
    found = spans(connection, symbols, start, end, QUARTER, PAST * QUARTER + QUARTER)
    if not found:
        return {}
    first = next(iter(found.values()))
    begin, stop = moment(first.tape.first), moment(first.tape.first + len(first.tape.mid))
    posts = post_counts(connection, list(found), begin, stop) if heads.reads_posts else {}
    _add_hype(heads, [(span, posts.get(symbol)) for symbol, span in found.items()])
    return {symbol: span.rows() for symbol, span in found.items()}


def _add_hype(heads: HypeHeads, found: Sequence[tuple[Span, PostCounts | None]]) -> None:
    """The chance of hype at the close of each window as a column, NaN where nothing can be said.

    Windows of all spans go through the models together, some thousand at a time.
    """
    count = len(found[0][0].columns["minutes"])
    for head in heads.of_symbols():
        for span, _ in found:
            span.columns[f"hype_{head.horizon}"] = np.full(count, np.nan)
    several = max(1, AT_ONCE // count)
    for low, i in product(range(0, count, AT_ONCE), range(0, len(found), several)):
        some, few = slice(low, min(low + AT_ONCE, count)), found[i : i + several]
        chances = _chances(heads, joined([_past(span, posts, some) for span, posts in few]))
        for name, values in chances.items():
            for (span, _), own in zip(few, np.split(values, len(few)), strict=True):
                span.columns[name][some] = own


def _past(span: Span, posts: PostCounts | None, some: slice) -> Past:
    closes = (span.first + 1 + np.arange(some.start, some.stop)) * QUARTER
    lowest = int(closes[0]) // QUARTER - PAST
    return past_of_grid(span.tape, windows_of(span.tape, posts, lowest, len(closes) + PAST - 1), lowest, closes)


def _chances(heads: HypeHeads, past: Past) -> dict[str, NDArray[np.float64]]:
    out = {}
    for head in heads.of_symbols():
        now = situations(past, head.horizon, head.trailing)
        windows = sequences(past, head.horizon, head.trailing) if head.sequential else None
        chances = head.probability(now.features, windows)
        out[f"hype_{head.horizon}"] = np.where(now.trouble == 0, chances, np.nan)
    return out


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def series(
    symbols: Annotated[list[str], typer.Argument(help="Markets, for example BTC/USDT.")],
    since: Annotated[str, typer.Option(help="First moment (ISO 8601, UTC).")],
    until: Annotated[str | None, typer.Option(help="Last moment; without it now.")] = None,
    interval: Annotated[str, typer.Option(help="1m, 5m, 15m, 60m or 256m.")] = "15m",
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a table of commas.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a parquet file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """The mood of markets as a series: posts, moods, volume, volatility and hype of each closed window."""
    if interval not in WIDTHS:
        raise InputError(f"There is no interval {interval}; there are: {', '.join(WIDTHS)}.")
    start, end = parse_time(since), parse_time(until) if until else datetime.now(UTC)
    engine, heads = make_engine(), load_hype()
    table: list[dict[str, Any]] = []
    try:
        for symbol in map(normalize, symbols):
            with transaction(engine) as connection:
                table += records(connection, symbol, start, end, interval, heads)
    finally:
        engine.dispose()
    _write(table, csv_file, parquet)
    if as_json:
        typer.echo(json.dumps({"interval": interval, "columns": list(COLUMNS), "rows": table}, allow_nan=False))
    else:
        sys.stderr.write(f"{len(table)} windows of {len(symbols)} symbols\n")


def records(
    connection: Connection, symbol: str, start: datetime, end: datetime, interval: str, heads: HypeHeads
) -> list[dict[str, Any]]:
    """Rows of one symbol: those published, and, where none is stored, those that the stored candles and posts give."""
    width = WIDTHS[interval]
    if width != QUARTER:
        found = spans(connection, [symbol], start, end, width)
        return [_record(symbol, at, values, 0, "") for s in found.values() for at, values in s.rows().items()]
    known = {p.opened_at: p for p in published(connection, symbol, start, end)}
    made = window_rows(connection, [symbol], start, end, heads).get(symbol, {}) if _gaps(known, start, end) else {}
    rows = [_record(symbol, at, p.values, p.revision, p.reason) for at, p in known.items()]
    rows += [_record(symbol, at, values, 0, "") for at, values in made.items() if at not in known]
    return sorted(rows, key=lambda row: str(row["opened_at"]))


def _gaps(known: dict[datetime, Any], start: datetime, end: datetime) -> bool:
    return len(known) < minute(end) // QUARTER + minute(start) // -QUARTER


def _record(symbol: str, at: datetime, values: dict[str, float | None], revision: int, reason: str) -> dict[str, Any]:
    numbers = {name: values.get(name) for name in COLUMNS}
    return {"symbol": symbol, "opened_at": stamp(at), "revision": revision, "reason": reason, **numbers}


def _write(table: list[dict[str, Any]], csv_file: Path | None, parquet: Path | None) -> None:
    names = ["symbol", "opened_at", "revision", "reason", *COLUMNS]
    try:
        if csv_file is not None:
            with csv_file.open("w", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(table)
        if parquet is not None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            numbers = [(name, pa.float64()) for name in COLUMNS]
            texts = [
                ("symbol", pa.string()),
                ("opened_at", pa.string()),
                ("revision", pa.int16()),
                ("reason", pa.string()),
            ]
            pq.write_table(pa.Table.from_pylist(table, schema=pa.schema([*texts, *numbers])), parquet)
    except OSError as error:
        raise InputError(f"The file cannot be written ({error.strerror}); name another place.") from None
