"""The commands: import, backfill and dlq on the embedded servers; a second run changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

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
from streaming import cli
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


@pytest.mark.stack
def test_an_import_is_idempotent(shell: CliRunner, engine: Engine, tmp_path: Path) -> None:
    """Dry run, first run, second run of one file: counted, stored, nothing changed; history is not queued."""
    lines = [f"{T + 60 * n}000,1,2,0.5,1.5,3" for n in range(500)]
    (tmp_path / "BTCUSDT-1m.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines))
    (tmp_path / "posts.jsonl").write_text(json.dumps({"t": T, "text": "bitcoin", "user": "u"}))
    dry = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--dry-run", "--json").stdout)
    assert (dry["candles"], dry["posts"], count(engine, "select count(*) from candles")) == (500, 1, 0)
    first = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (first["rows_sent"], first["candles_stored"], first["posts_stored"]) == (501, 500, 1)
    second = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (second["rows_sent"], second["candles_stored"], second["posts_stored"]) == (0, 0, 0)
    assert count(engine, "select count(*) from jobs") == 0
    assert count(engine, "select count(*) from candles") == 500


@pytest.mark.stack
def test_bad_rows_of_a_file_are_dead_letters(shell: CliRunner, engine: Engine, tmp_path: Path) -> None:
    """NaN, a negative price, a future minute, NUL, half a surrogate pair, 1 MB: refused one by one, all other rows stored."""
    lines = [f"{T + 60 * n}000,1,2,0.5,1.5,3" for n in range(400)]
    lines[5], lines[6] = f"{T + 300}000,1,2,0.5,nan,3", f"{T + 360}000,1,2,-0.5,1.5,3"
    lines.append(f"{4 * T}000,1,2,0.5,1.5,3")
    (tmp_path / "BTCUSDT-1m.csv").write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines))
    texts = ["btc", "b\0tc", "btc \ud83d", "btc " * 262_144, "eth", "up"]
    posts = [json.dumps({"t": T + n, "text": words, "user": "u"}) for n, words in enumerate(texts)]
    (tmp_path / "posts.jsonl").write_text("\n".join(posts))
    told = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (told["candles_stored"], told["posts_stored"], told["refused"]) == (398, 3, 6)
    found = json.loads(ask(shell, "dlq", "list", "--json").stdout)["letters"]
    reasons = " | ".join(x["reason"] for x in found)
    for words in ("null", "zero or negative", "in the future", "NUL", "surrogate", "at most 524,288"):
        assert words in reasons, words
    assert max(x["bytes"] for x in found) > 1_000_000
    assert count(engine, "select count(*) from dead_letters where produced_at is null") == 0
    again = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (again["rows_sent"], again["refused"]) == (0, 0)


@pytest.mark.stack
def test_rows_that_cannot_be_read_are_dead_letters(shell: CliRunner, engine: Engine, tmp_path: Path) -> None:
    """Words for a price, a time or a market, short rows, lines that are no JSON: each refused, and all the others stored."""
    lines = [f"{T + 60 * n},1,2,0.5,1.5,3" for n in range(100)]
    bad = [f"{T + 6000},abc,2,0.5,1.5,3", "foo,1,2,0.5,1.5,3", "bar,1,2,0.5,1.5,3"]
    (tmp_path / "BTCUSDT-1m.csv").write_text("\n".join(["unix,open,high,low,close,volume", *lines, *bad]))
    short = [f"{T + 6060},1", "1,2,0.5,1.5,3"]
    (tmp_path / "ETHUSDT-1m.csv").write_text("\n".join(["unix,open,high,low,close,volume", *lines, *short]))
    with zipfile.ZipFile(tmp_path / "SOLUSDT-1m-2021-01.zip", "w") as archive:
        archive.writestr("SOLUSDT-1m-2021-01.csv", "\n".join([*lines, f"{T + 6000},1,2", "foo,1,2,0.5,1.5,3"]))
    good: list[object] = [
        {"t": T, "text": "btc", "likes": 2**70, "lang": 5, "user": "\ud800"},
        {"t": T, "text": "eth", "symbols": ["ETH"]},
    ]
    rows = [*good, {"t": T, "text": "a", "symbols": ["1/2/3"]}, {"t": T, "text": "b", "symbols": [1]}]
    rows += [{"text": "no time"}, {"t": "soon", "text": "bad time"}, ["no object"]]
    raw = [json.dumps(row).encode() for row in rows]
    raw += [b"{no json", b'{"text": "\xff"}', b'{"t": 1, "text": "old", "likes": 1e999}']
    (tmp_path / "posts.jsonl").write_bytes(b"\n".join(raw))
    told = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (told["candles_stored"], told["posts_stored"], told["refused"]) == (300, 2, 3 + 2 + 2 + 8)
    reasons = " | ".join(x["reason"] for x in json.loads(ask(shell, "dlq", "list", "--json").stdout)["letters"])
    for words in ("the time is missing or cannot be read", "“1/2/3” is not a market name", "null", "before 2009"):
        assert words in reasons, words
    again = json.loads(ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json").stdout)
    assert (again["rows_sent"], again["refused"]) == (0, 0)


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
    assert dry["candles"] == 700
    first = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T11:40").stdout)
    assert (first["rows_sent"], first["candles_stored"], first["gaps_recorded"]) == (640, 640, 1)
    second = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T11:40").stdout)
    assert (second["rows_sent"], second["candles_stored"], second["corrected"]) == (0, 0, 0)
    assert second["gaps_recorded"] == 0
    third = json.loads(ask(shell, "backfill", "binance", *span, "2021-01-01T12:40").stdout)
    assert (third["rows_sent"], third["candles_stored"]) == (60, 60)
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
        patched.setattr(cli, "_done", lambda counts: signal.raise_signal(signal.SIGINT) or 0)
        stopped = ask(shell, "import", str(tmp_path), "--exchange", "binance", "--json")
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    told = json.loads(stopped.stdout)
    assert told["complete"] is False
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
