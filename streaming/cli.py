"""The commands ``backfill``, ``import`` and ``dlq`` (dead letters)."""

from __future__ import annotations

import base64
import json
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from db.engine import PATIENCE, make_engine, transaction
from db.queries import streams
from db.queries.streams import DeadLetter
from domain import symbols as names
from domain.clock import parse_time
from domain.errors import InputError, Unavailable
from streaming import bulk_run
from streaming.files.candles import Asked
from streaming.files.cells import TIMEFRAMES
from streaming.files.formats import Options
from streaming.files.tables import cut_of
from streaming.settings import StreamingSettings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
dlq = typer.Typer(no_args_is_help=True, help="Messages that could not be stored.")
app.add_typer(dlq, name="dlq")

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Since = Annotated[str | None, typer.Option(help="First time (ISO 8601, UTC).")]
Until = Annotated[str | None, typer.Option(help="Time to stop before.")]


@app.command()
def backfill(
    exchange: Annotated[str, typer.Argument(help="ccxt id, for example binance")],
    symbols: Annotated[str, typer.Option(help="Markets, separated by commas.")] = names.DEFAULT_SYMBOL,
    since: Since = None,
    until: Until = None,
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h or 1d")] = "1m",
    url: Annotated[str | None, typer.Option(help="Another address of the exchange's REST interface.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch candles of the past from an exchange; a stopped run goes on where it stood, a second one changes nothing."""
    if since is None:
        raise InputError("Say from when: --since 2024-01-01.")
    from streaming.market_data import Backfill  # ccxt costs a second

    _log_to_stderr()
    start, end = parse_time(since), parse_time(until) if until else datetime.now(UTC)
    wanted = [names.normalize(s, exchange) for s in symbols.split(",") if s.strip()]
    _finish(bulk_run.backfill(Backfill(exchange, wanted, start, end, timeframe, url), dry_run=dry_run), as_json)


@app.command("import")
def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="Files or directories: parquet, feather, CSV, JSON, JSON lines, zip; also .gz.")
    ],
    exchange: Annotated[str, typer.Option(help="Exchange of candles that name none.")] = "import",
    symbol: Annotated[str | None, typer.Option(help="Market of candles, whatever the file says.")] = None,
    timeframe: Annotated[str, typer.Option(help="How long each candle lasts, whatever the file says.")] = "",
    timezone: Annotated[
        str | None, typer.Option(help="Zone of Twint's local times, for example Europe/Berlin.")
    ] = None,
    since: Since = None,
    until: Until = None,
    score: Annotated[bool, typer.Option("--score", help="Hand the posts to the scoring queue.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Store candles and posts of files straight into the database; each file's layout is found by its columns.

    Known are CryptoDataDownload, Binance's archive, Kraken, Bitstamp, freqtrade, Yahoo and plain OHLCV; Twint, snscrape,
    Twitter, StockTwits, Reddit, Telegram, Kaggle's tweets and plain posts.
    """
    if timeframe and timeframe not in TIMEFRAMES.values():
        raise InputError(f"--timeframe is one of {', '.join(TIMEFRAMES.values())}, not “{timeframe[:10]}”.")
    _log_to_stderr()
    cut = replace(cut_of(since, until, ""), undated=True)
    key = StreamingSettings().author_key.get_secret_value()
    options = Options(Asked(exchange, symbol, timeframe), cut, timezone, key)
    _finish(bulk_run.import_files(paths, options, dry_run=dry_run, score=score), as_json)


@dlq.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    every: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters."""
    with _opened() as (engine, _), transaction(engine, PATIENCE) as connection:
        dead_letters = streams.find(connection, limit=limit, all_=every)
    if as_json:
        _show({"letters": [_as_json(dead_letter, payload=False) for dead_letter in dead_letters]}, as_json=True)
        return
    table = Table("id", "refused", "topic", "bytes", "reason")
    for x in dead_letters:
        when = x.refused_at.strftime("%Y-%m-%d %H:%M:%S") if x.refused_at else ""
        table.add_row(str(x.id), when, x.topic, f"{len(x.payload):,}", x.reason[:100])
    Console().print(table)


@dlq.command()
def show(number: Annotated[int, typer.Argument(metavar="ID", help="Its id.")], as_json: AsJson = False) -> None:
    """One dead letter with its original bytes."""
    with _opened() as (engine, _), transaction(engine, PATIENCE) as connection:
        dead_letters = streams.find(connection, [number])
    if not dead_letters:
        raise InputError(f"There is no dead letter {number}; see “moodtape dlq list”.")
    _show(_as_json(dead_letters[0], payload=True), as_json)


@dlq.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids; without them --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to their topics once more, as they were; those that were sent again before are passed over."""
    if not ids and not every:
        raise InputError("Name the ids of the dead letters, or --all.")
    from streaming.broker import BrokerDown  # kafka is needed for nothing else here
    from streaming.housekeeping import replay as send_again
    from streaming.kafka import KafkaBroker

    _log_to_stderr()
    with _opened() as (engine, settings):
        broker = KafkaBroker(settings.kafka_bootstrap)
        try:
            sent = send_again(engine, broker, ids or None)
        except BrokerDown as error:
            raise Unavailable(f"The broker does not take them: {error}; what was sent is marked, try again.") from None
        finally:
            broker.close()
    _show({"replayed": sent} | ({"passed_over": len(set(ids)) - sent} if ids else {}), as_json)


class _opened:  # noqa: N801 - reads as a word where it is used
    """An engine and the settings, for the length of a command."""

    def __enter__(self) -> tuple[Engine, StreamingSettings]:
        self._engine = make_engine()
        return self._engine, StreamingSettings()

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()


def _finish(found: bulk_run.Outcome, as_json: bool) -> None:
    """Print what became of the rows; a run that was interrupted says so and exits with 130, as every command here does."""
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        sys.stdout.write("\n".join(found.lines()) + "\n")
    if found.interrupted:
        sys.stderr.write("moodtape: interrupted; what is stored stays, and the same command goes on from there.\n")
        raise typer.Exit(INTERRUPTED)


def _log_to_stderr() -> None:
    """Log warnings only, to standard error: standard output belongs to the answer."""
    logging.getLogger("kafka").setLevel(logging.ERROR)
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


def _as_json(dead_letter: DeadLetter, *, payload: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": dead_letter.id,
        "topic": dead_letter.topic,
        "partition": dead_letter.partition,
        "offset": dead_letter.offset,
        "reason": dead_letter.reason,
        "bytes": len(dead_letter.payload),
        "refused_at": dead_letter.refused_at.isoformat() if dead_letter.refused_at else None,
        "replayed_at": dead_letter.replayed_at.isoformat() if dead_letter.replayed_at else None,
    }
    if payload:
        body["text"] = dead_letter.payload[:2000].decode(errors="replace")
        body["base64"] = base64.b64encode(dead_letter.payload).decode()
    return body


def _show(body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(body) + "\n")
        return
    for name, value in body.items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {value}\n")
