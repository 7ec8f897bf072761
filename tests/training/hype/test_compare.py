"""The tables of hype: every model on every target, and what posts add to price alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.types import AuthorHistory
from models.hype.lift import MATURE, Written
from tests.training.synthetic import FIRST, write_candles
from training.hype import compare, lift, modalities
from training.registry import TrainOptions
from training.trajectories.tape import moment

AT = datetime(2024, 5, 6, 12, tzinfo=UTC)
SMALL = {"epochs": 1, "most": 400}


def day(number: int) -> str:
    """The start of a day of the synthetic candles."""
    return moment((FIRST + number * 1440) * 60).isoformat()


def test_a_post_s_sequence_ends_with_itself_and_knows_no_young_likes() -> None:
    """The last step is the post; likes younger than a day change nothing, older ones do."""
    at = AT.timestamp() - 7200.0 * np.arange(30, 0, -1)
    history = AuthorHistory("author", at, np.full(30, 10.0), np.full(30, 40.0))
    steps = lift.sequence_of(Written(AT, "hello"), history, 10.0, 8)
    assert steps.shape == (8, lift.CHANNELS)
    assert steps[-1, 3] == pytest.approx(np.log1p(5))
    young = at + MATURE > AT.timestamp()
    spoiled = replace(history, likes=np.where(young, 1e9, 10.0))
    np.testing.assert_array_equal(
        lift.sequence_of(Written(AT, "hello"), spoiled, 10.0, 25),
        lift.sequence_of(Written(AT, "hello"), history, 10.0, 25),
    )
    older = replace(history, likes=np.where(young, 10.0, 99.0))
    assert lift.sequence_of(Written(AT, "hello"), older, 10.0, 25)[0, 0] > 2
    assert np.isnan(
        lift.sequence_of(
            Written(AT, None),
            replace(history, likes=history.likes[:3], posted_at=at[:3], lengths=np.full(3, 4.0)),
            10.0,
            8,
        )[:4]
    ).all()


def test_every_kind_is_fitted_and_stands_in_the_table(tmp_path: Path) -> None:
    """Waves are found by trees and by a network; what is finished is not done again."""
    write_candles(tmp_path / "candles.parquet", 25)
    config = {
        "targets": ["spike-60"],
        "kinds": ["boosting", "lstm"],
        "seeds": 2,
        "steps": 8,
        "spikes": [day(15)],
        "fit": {"boosting": {"rounds": 20, "least": 20}, "lstm": SMALL},
    }
    found = compare.run(config, TrainOptions(tmp_path, tmp_path / "out"))
    trees = found["spike-60"]["boosting"]
    assert trees["n"] > 200
    assert trees["auc"] > 0.7
    assert len(found["spike-60"]["lstm"]["seeds"]) == 2
    table = (tmp_path / "out" / "compare.md").read_text()
    assert f"{trees['auc']:.3f}" in table
    assert "| spike-60 | lstm |" in table
    marked = json.loads((tmp_path / "out" / "compare.json").read_text())
    marked["spike-60"]["boosting"]["auc"] = 0.123
    (tmp_path / "out" / "compare.json").write_text(json.dumps(marked))
    assert compare.run(config, TrainOptions(tmp_path, tmp_path / "out"))["spike-60"]["boosting"]["auc"] == 0.123


def test_authors_are_scored_apart() -> None:
    """Authors with enough posts have an AUC each; the mean stands with an interval."""
    rng = np.random.default_rng(0)
    hot = rng.random(600) < 0.3
    market = np.array(["a", "b", "c"], dtype=object)[np.minimum(np.arange(600) // 280, 2)]
    empty = np.zeros((600, 0))
    made = lift.Rows(empty, empty[:, :, None], hot + 0.0, hot - 0.5, np.arange(600), market)
    found = lift.by_author(made, hot + rng.normal(0, 0.5, 600))
    assert found["authors"] == 2
    assert set(found["each"]) == {"a", "b"}
    low, high = found["interval"]
    assert 0.5 < low <= found["mean_auc"] <= high < 1


def test_posts_that_announce_volume_are_seen_to_add(tmp_path: Path) -> None:
    """Where a burst of posts comes before volume, the counts add to price alone, and pictures are marked as not had."""
    rng = np.random.default_rng(1)
    write_candles(tmp_path / "candles.parquet", 40, "BTC/USDT")
    table = pq.read_table(tmp_path / "candles.parquet").to_pandas()
    loud = rng.random(40 * 24 + 2) < 0.15
    hour = table["t"].to_numpy() // 3600 - FIRST // 60
    table["volume"] *= np.where(np.roll(loud, 1)[hour], 6.0, 1.0)
    pq.write_table(pa.Table.from_pandas(table), tmp_path / "candles.parquet")
    hours = np.repeat(np.flatnonzero(loud), 5)
    t = np.sort((FIRST // 60 + hours) * 3600 + rng.integers(0, 3600, len(hours)))
    posts = {"t": t, "text": ["gm"] * len(t), "symbols": ["BTC"] * len(t), "has_photo": [False] * len(t)}
    pq.write_table(pa.table(posts), tmp_path / "posts.parquet")
    out = tmp_path / "out"
    out.mkdir()
    some = int((t >= (FIRST + 14 * 1440) * 60).sum())
    np.savez(out / "read.npz", moods=rng.random((some, 7)), vectors=rng.normal(size=(some, 384)))
    config = {
        "posts": "posts.parquet",
        "symbols": ["BTC/USDT"],
        "periods": {"now": [day(15), day(25), day(32), day(40)]},
        "horizons": [60],
        "per_hour": 9,
        "spans": [60],
        "fit": {"rounds": 20, "least": 20},
    }
    found = modalities.run(config, TrainOptions(tmp_path, out))["now"]["60"]
    assert found["not_had"] == ["picture"]
    assert found["sets"]["volume"]["increment"][0] > 0.02
    assert found["sets"]["all but volume"]["auc"] < found["sets"]["all"]["auc"]
    assert found["sets"]["mood"]["n"] == found["sets"]["volume"]["n"] > 200
    assert (out / "horizon-window.png").stat().st_size > 1000
