"""The commands: import, backfill and dlq on the embedded servers; a second run changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import Result
from sqlalchemy import Engine
from typer.testing import CliRunner

from db.queries import streams
from db.queries.streams import DeadLetter
from domain.clock import parse_time
from domain.errors import InputError
from runtime import progress
from streaming import bulk
from streaming.cli import app
from streaming.files.tables import cut_of
from streaming.messages import POSTS
from tests.fakes.exchange import FakeExchange
from tests.streaming.kit import count

T = 1_609_459_200


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, database_url: str, fresh_kafka: str) -> Iterator[CliRunner]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", fresh_kafka)
    yield CliRunner()
    structlog.reset_defaults()


def ask(shell: CliRunner, *arguments: str) -> Result:
    result = shell.invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def said(shell: CliRunner, *arguments: str) -> list[dict[str, Any]]:
    """The reports of a command's files."""
    return list(json.loads(ask(shell, *arguments, "--json").stdout)["files"])


@pytest.mark.stack
def test_an_import_is_idempotent(shell: CliRunner, engine: Engine, tmp_path: Path) -> None:
    """Dry run, first run, dry run, second run: the same report but for what is stored already; history is not queued."""
    lines = [f"{T + 60 * n}000,1,2,0.5,1.5,3" for n in range(500)]
    (tmp_path / "BTCUSDT-1m.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines))
    (tmp_path / "posts.jsonl").write_text(json.dumps({"t": T, "text": "bitcoin", "user": "u"}))
    command = ("import", str(tmp_path), "--exchange", "binance")
    dry = said(shell, *command, "--dry-run")
    assert count(engine, "select count(*) from candles") + count(engine, "select count(*) from posts") == 0
    first = said(shell, *command)
    assert dry == first
    assert [(x["rows"], x["stored"], x["unchanged"]) for x in first] == [(500, 500, 0), (1, 1, 0)]
    assert (first[0]["markets"], first[0]["volume"]) == (["BTC/USDT"], 1500)
    assert (first[0]["first"], first[0]["last"]) == ("2021-01-01T00:00:00+00:00", "2021-01-01T08:19:00+00:00")
    for again in (said(shell, *command, "--dry-run"), said(shell, *command)):
        assert [(x["stored"], x["unchanged"]) for x in again] == [(0, 500), (0, 1)]
    assert count(engine, "select count(*) from jobs") == 0
    assert count(engine, "select count(*) from candles") == 500


def test_a_dry_run_needs_no_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one everything good counts as stored, and standard error says why."""
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    (tmp_path / "ETHUSDT-1m.csv").write_text(f"time,open,high,low,close,volume\n{T},1,2,0.5,1.5,3\n")
    result = ask(CliRunner(), "import", str(tmp_path), "--dry-run", "--json")
    assert json.loads(result.stdout)["files"][0]["stored"] == 1
    assert "no database answers" in result.stderr


@pytest.mark.stack
def test_bad_rows_of_a_file_are_counted_by_reason(shell: CliRunner, engine: Engine, tmp_path: Path) -> None:
    """NaN, a negative price, a future minute, NUL, half a surrogate pair: refused one by one, all other rows stored."""
    lines = [f"{T + 60 * n}000,1,2,0.5,1.5,3" for n in range(400)]
    lines[5], lines[6] = f"{T + 300}000,1,2,0.5,nan,3", f"{T + 360}000,1,2,-0.5,1.5,3"
    lines += [f"{4 * T}000,1,2,0.5,1.5,3", f"{4 * T + 60}000,1,2,0.5,1.5,3", "foo,1,2,0.5,1.5,3"]
    (tmp_path / "BTCUSDT-1m.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines))
    texts = ["btc", "b\0tc", "btc \ud83d", "eth", "up"]
    posts = [json.dumps({"t": T + n, "text": words, "user": "u"}) for n, words in enumerate(texts)]
    posts += ["{no json", json.dumps({"text": "no time"}), json.dumps({"t": T, "text": "a", "symbols": ["1/2/3"]})]
    (tmp_path / "posts.jsonl").write_text("\n".join(posts))
    (tmp_path / "notes.docx").write_text("not for us")
    (tmp_path / "table.csv").write_text("colour,size\nred,3\n")
    told = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    candles, own, table = told["files"]
    assert (candles["stored"], own["stored"], told["passed_over"]) == (398, 3, ["notes.docx"])
    assert candles["refused"] == {
        "close is empty": 1, "a price is zero or negative": 1, "the time is in the future": 2,
        "the time is missing or cannot be read": 1,
    }  # fmt: skip
    assert sum(own["refused"].values()) == 5
    assert "“1/2/3” is not a market name" in " | ".join(own["refused"])
    for words in ("fits no layout", "“colour”, “size”", "nearest layout"):
        assert words in table["error"], words
    for report in (candles, own):
        assert report["rows"] == report["stored"] + sum(report["refused"].values())
    assert count(engine, "select count(*) from dead_letters") == 0, "a bulk import has its own report"


def test_a_timeframe_that_nobody_uses_is_refused() -> None:
    """Before any file is read."""
    with pytest.raises(InputError, match="--timeframe is one of 1m, 3m"):
        ask(CliRunner(), "import", ".", "--timeframe", "7m")


@pytest.fixture
def exchange_url() -> Iterator[str]:
    """The loopback exchange with 760 minutes but for a hole of 60, on a loop of its own: the command brings its own loop."""
    fake, loop = FakeExchange(), asyncio.new_event_loop()
    for n in range(760):
        if not 100 <= n < 160:
            fake.put("BTC/USDT", T + 60 * n)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(fake.__aenter__(), loop).result(10)
    yield fake.url
    asyncio.run_coroutine_threadsafe(fake.__aexit__(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.stack
def test_a_backfill_is_idempotent(shell: CliRunner, engine: Engine, exchange_url: str) -> None:
    """Fetched once and stored, the hole recorded; the same command again changes nothing, a later end fetches the rest."""
    span = ("--since", "2021-01-01", "--url", exchange_url, "--json", "--until")
    dry = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T11:40", "--dry-run").stdout)
    assert (dry["files"][0]["rows"], dry["dry_run"]) == (640, True)
    first = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T11:40").stdout)
    (got,) = first["files"]
    assert (got["rows"], got["stored"], first["gaps_recorded"], first["complete"]) == (640, 640, 1, False)
    assert got["notes"] == ["the exchange gave 640 of 700 candles"]
    second = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T11:40").stdout)
    assert (second["files"][0]["rows"], second["gaps_recorded"], second["complete"]) == (0, 0, True)
    third = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T12:40").stdout)
    assert (third["files"][0]["rows"], third["files"][0]["stored"]) == (60, 60)
    assert count(engine, "select count(*) from candles") == 700
    assert count(engine, "select extract(epoch from end_at - start_at)::int / 60 from candle_gaps") == 60


@pytest.mark.stack
def test_an_interrupted_import_says_so(
    shell: CliRunner, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C: what was stored is counted, it is not called complete, the status is 130; the same command stores the rest."""
    lines = [f"{T + 60 * n}000,1,2,0.5,1.5,3" for n in range(500)]
    (tmp_path / "BTCUSDT-1m.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines))
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "ROWS", 100)
        patched.setattr(bulk.Bulk, "_count", lambda self, rows: signal.raise_signal(signal.SIGINT))
        stopped = ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json")
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    told = json.loads(stopped.stdout)
    assert (told["complete"], told["files"][0]["stored"]) == (False, 100)
    again = ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json")
    assert (again.exit_code, json.loads(again.stdout)["complete"]) == (0, True)
    assert count(engine, "select count(*) from candles") == 500


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Done, total, rate and time left on standard error; nothing on standard output."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.progress("backfill-x", 1000) as tick:
        tick(250)
    told = capsys.readouterr()
    assert re.match(r"backfill-x: 250 of 1,000, [\d,]+/s, [\d,]+ s left\n", told.err)
    assert told.out == ""


@pytest.mark.stack
def test_dead_letters_are_listed_shown_and_replayed(shell: CliRunner, engine: Engine) -> None:
    """The reason and the original bytes come back; a replayed letter leaves the list."""
    with engine.begin() as connection:
        streams.keep(connection, [DeadLetter(POSTS, 0, 7, "e", b"k", b'{"broken', "Input data was truncated")])
    listed = json.loads(ask(shell, "dlq", "list", "--json").stdout)["letters"]
    assert [(x["topic"], x["offset"], x["bytes"]) for x in listed] == [(POSTS, 7, 8)]
    shown = json.loads(ask(shell, "dlq", "show", str(listed[0]["id"]), "--json").stdout)
    assert (shown["text"], shown["reason"]) == ('{"broken', "Input data was truncated")
    assert "truncated" in ask(shell, "dlq", "list").stdout
    assert json.loads(ask(shell, "dlq", "replay", "--all", "--json").stdout) == {"replayed": 1}
    again = json.loads(ask(shell, "dlq", "replay", str(listed[0]["id"]), "--json").stdout)
    assert again == {"replayed": 0, "passed_over": 1}
    assert json.loads(ask(shell, "dlq", "list", "--json").stdout)["letters"] == []
    with pytest.raises(InputError, match="no dead letter 999"):
        ask(shell, "dlq", "show", "999")
    with pytest.raises(InputError, match="--all"):
        ask(shell, "dlq", "replay")


def test_times_and_cuts_are_read_or_refused() -> None:
    """ISO times are UTC unless they say otherwise; nonsense gives one sentence."""
    cut = cut_of("2021-01-14T13:00", "2021-01-14T16:00+02:00", "")
    assert cut.since is not None
    assert cut.since.isoformat() == "2021-01-14T13:00:00+00:00"
    assert cut.until == parse_time("2021-01-14T14:00")
    assert (cut_of(None, None, "").since, cut_of(None, None, "").until) == (None, None)
    assert cut_of("2021-01-01", None, "btc, ETHUSDT").symbols == {"BTC/USDT", "ETH/USDT"}
    with pytest.raises(InputError, match="not_a_time"):
        cut_of("yesterday", None, "")
    with pytest.raises(InputError, match="not_a_market"):
        cut_of(None, None, "?")
