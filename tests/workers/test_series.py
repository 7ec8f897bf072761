"""The published series: the rows of training, never changed after their window but by a revision."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from db.queries.candles import upsert_candles
from db.queries.posts import insert_posts
from db.queries.series import published, spans
from domain.series import COLUMNS, PAST, QUARTER
from domain.types import Post
from models.hype.features import situations
from models.hype.forecast import HypeHeads, load_hype
from tests.fakes.candles import candles_at
from training.hype.windows import past_at
from training.trajectories.tape import make_tape
from workers.series import _write, records, refresh, window_rows

pytestmark = pytest.mark.stack

PAIR = "BTC/USDT"
MINUTE = timedelta(minutes=1)
NOW = datetime.fromisoformat("2024-05-06T12:03:00+00:00")
DAYS = 4
START = NOW.replace(minute=0) - timedelta(days=DAYS)


@pytest.fixture(scope="module")
def heads() -> HypeHeads:
    """The shipped models."""
    return load_hype()


def store(connection: Connection, minutes: list[int], volume: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Candles at these minutes from START on; returns mid prices and volumes of all four days."""
    rng = np.random.default_rng(0)
    count = DAYS * 1440 + 60
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    traded = rng.lognormal(3, 0.7, count)
    rows = [(mid[m], mid[m] + 1, mid[m] - 1, mid[m], traded[m] if volume is None else volume) for m in minutes]
    upsert_candles(connection, candles_at(START, minutes, rows, PAIR, "x"))
    return mid, traded


def test_rows_equal_the_features_of_training(engine: Engine, heads: HypeHeads) -> None:
    """Row by row over a week with a hole: the hype is that of training's features, volume and volatility are its windows."""
    kept = [m for m in range(DAYS * 1440) if not 3000 <= m < 3100]
    with engine.begin() as connection:
        mid, traded = store(connection, kept)
        rows = window_rows(connection, [PAIR], NOW - timedelta(days=1), NOW, heads)[PAIR]
    opened = int(START.timestamp()) + 60 * np.array(kept)
    tape = make_tape(PAIR, opened, mid[kept], mid[kept], traded[kept])
    closes = np.array([int(at.timestamp()) // 60 + QUARTER for at in rows])
    assert len(closes) > 90
    past = past_at(tape, closes)
    for head in heads.of_symbols():
        now = situations(past, head.horizon, head.trailing)
        expected = head.probability(now.features)
        got = np.array([values[f"hype_{head.horizon}"] for values in rows.values()], dtype=np.float64)
        np.testing.assert_allclose(got, np.where(now.trouble == 0, expected, np.nan), rtol=1e-6)
    got = np.array([values["volume"] for values in rows.values()]) / QUARTER
    np.testing.assert_allclose(got, past.window_volume[:, PAST - 1], rtol=1e-6)


def test_a_published_row_changes_only_by_a_revision(engine: Engine, heads: HypeHeads) -> None:
    """A second look writes nothing; a candle that comes late makes one further revision, and says so."""
    with engine.begin() as connection:
        store(connection, [m for m in range(DAYS * 1440) if m != DAYS * 1440 - 20])
        first = refresh(connection, heads, NOW)
        assert first == DAYS * 96
        assert refresh(connection, heads, NOW) == 0
        store(connection, [DAYS * 1440 - 20])
        later = NOW + timedelta(minutes=15)
        store(connection, list(range(DAYS * 1440, DAYS * 1440 + 15)))
        assert refresh(connection, heads, later) == 2
        rows = {p.opened_at: p for p in published(connection, PAIR, START, later)}
        kept = connection.execute(text("select count(*) from series_windows")).scalar()
    changed = [p for p in rows.values() if p.revision]
    assert kept == first + 2
    assert [(p.revision, p.reason) for p in changed] == [(1, "candles or posts that came late")]
    assert changed[0].values["minutes"] == 15


def test_posts_are_counted_where_they_were_published(engine: Engine) -> None:
    """Posts, authors and repeats of each window; a window without anything is no row."""
    at = NOW.replace(minute=0) - timedelta(minutes=15)
    posts = [Post(f"x:{i}", "x", "gm", "en", at + i * MINUTE, (PAIR,), author_hash="ab"[i % 2]) for i in range(4)]
    with engine.begin() as connection:
        store(connection, list(range(DAYS * 1440 - 300, DAYS * 1440 - 60)))
        insert_posts(connection, posts, {"x:3": "x:0"})
        rows = spans(connection, [PAIR], NOW - timedelta(hours=2), NOW, QUARTER)[PAIR].rows()
    row = rows[at]
    assert (row["posts"], row["authors"], row["duplicates"], row["volume"]) == (4, 2, 0.25, None)
    assert at - 15 * MINUTE not in rows


def test_other_intervals_and_files(engine: Engine, heads: HypeHeads, tmp_path: Path) -> None:
    """Hours sum what quarters hold; the table is written with every column."""
    with engine.begin() as connection:
        store(connection, list(range(DAYS * 1440 - 600, DAYS * 1440)))
        since = NOW.replace(minute=0) - timedelta(hours=2)
        quarters = records(connection, PAIR, since, NOW, "15m", heads)
        hours = records(connection, PAIR, since, NOW, "60m", heads)
    assert (len(quarters), len(hours)) == (8, 2)
    assert hours[0]["volume"] == pytest.approx(sum(row["volume"] for row in quarters[:4]))
    _write(quarters, tmp_path / "a.csv", tmp_path / "a.parquet")
    assert (tmp_path / "a.csv").read_text().splitlines()[0].split(",")[4:] == list(COLUMNS)
    assert (tmp_path / "a.parquet").stat().st_size > 1000
