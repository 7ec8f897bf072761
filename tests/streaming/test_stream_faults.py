"""The whole flow on the embedded servers, with processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import Engine, text

from db.queries import revisions, streams

pytestmark = pytest.mark.stack
T = 1_610_000_040


def test_three_kills_lose_nothing_and_double_nothing() -> None:
    """Kill -9 of sinks in mid-flow: every row once, every job once, offsets equal to the messages sent."""
    argv = [sys.executable, "-m", "benchmarks.faults_ingest", "--kills", "3", "--candles", "4000", "--posts", "400"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["candles"], found["posts"], found["jobs"]) == (4000, 400, 400)
    assert (found["lost"], found["doubled"], found["dead_letters"]) == (0, 0, 0)
    assert found["offsets"] == found["sent"] >= 4400
    assert found["writes"] == 4800
    assert found["refused_duplicates"] == found["sent"] - 4400


@pytest.mark.parametrize("victim", ["stop", "hole"])
def test_one_fault_of_a_kind(victim: str) -> None:
    """A sink stopped past its session has its late write refused; a database that swallows every byte is waited for."""
    argv = [sys.executable, "-m", "benchmarks.faults_ingest", "--victim", victim, "--kills", "1"]
    done = subprocess.run(
        [*argv, "--candles", "2000", "--posts", "200"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["candles"], found["posts"], found["lost"], found["doubled"]) == (2000, 200, 0, 0)
    assert found["stops_fenced"] == (victim == "stop")
    assert found["under_load"]


def test_a_replay_prints_what_it_sent_and_stored(
    tmp_path: Path, database_url: str, engine: Engine, fresh_kafka: str, redis_url: str
) -> None:
    """``python -m streaming --replay DIR --speed 0 --once``: rows sent equal rows stored, each post is queued once."""
    columns = {"exchange": ["binance"] * 600, "symbol": ["BTCUSDT"] * 600, "t": [T + 60 * n for n in range(600)]}
    columns |= {name: [1.0] * 600 for name in ("open", "high", "low", "close", "volume")}
    pa.parquet.write_table(pa.table(columns), tmp_path / "candles.parquet")
    posts = {"t": [T + n for n in range(300)], "text": [f"bitcoin is {'abcdefg'[n % 7] * 3} today" for n in range(300)]}
    pa.parquet.write_table(pa.table(posts), tmp_path / "stream.parquet")
    with engine.begin() as connection:
        revisions.register(connection, "test", {})
    env = os.environ | {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP": fresh_kafka, "REDIS_URL": redis_url}
    env |= {"MOODTAPE_DATA_DIR": str(tmp_path / "data")}
    argv = [sys.executable, "-m", "streaming", "--replay", str(tmp_path), "--speed", "0", "--once"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows_sent"], told["candles_stored"], told["posts_stored"], told["refused"]) == (900, 600, 300, 0)
    with engine.connect() as connection:
        jobs = connection.execute(text("select count(*) from jobs")).scalar()
        clustered = connection.execute(text("select count(*) from posts where cluster is not null")).scalar()
        playing = streams.feed(connection)
    assert (jobs, clustered) == (300, 293)
    assert playing
    assert playing["kind"] == "replay"


def test_sigterm_drains_and_ends_well(
    tmp_path: Path, database_url: str, engine: Engine, fresh_kafka: str, redis_url: str
) -> None:
    """The synthetic feed stops on SIGTERM with status 0, and its cursors say what is stored."""
    env = os.environ | {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP": fresh_kafka, "REDIS_URL": redis_url}
    env |= {"MOODTAPE_DATA_DIR": str(tmp_path)}
    with engine.begin() as connection:
        revisions.register(connection, "test", {})
    child = subprocess.Popen([sys.executable, "-m", "streaming"], env=env, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if b"partitions assigned" in line:
                break
        child.send_signal(signal.SIGTERM)
        child.stderr.read()
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.communicate()
    with engine.connect() as connection:
        newest = dict(
            connection.execute(
                text(
                    "select 'synthetic/spot/' || m.symbol || '/1m', extract(epoch from max(c.opened_at))::bigint "
                    "from candles c join markets m on m.id = c.market_id where m.exchange = 'synthetic' group by 1"
                )
            ).all()
        )
        cursors = dict(
            connection.execute(text("select source, (cursor->>'position')::bigint from source_cursors")).all()
        )
    assert all(cursors[stream] == at for stream, at in newest.items())
