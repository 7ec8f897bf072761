"""The hype recipe and its evaluation, on a market whose volume comes in waves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.errors import InputError
from models.hype.forecast import load_hype
from tests.training.synthetic import FIRST, write_candles
from training.hype import evaluate as evaluation
from training.hype import recipe
from training.hype.windows import Target, load_activity, windows
from training.registry import EvaluateOptions, TrainOptions
from training.trajectories.tape import moment

FOLDS = [moment((FIRST + d * 1440) * 60).isoformat() for d in (20, 30, 40)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty days of candles of one market."""
    folder = tmp_path_factory.mktemp("data")
    write_candles(folder / "candles.parquet", 50)
    return folder


@pytest.fixture(scope="module")
def artifacts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on them."""
    folder = tmp_path_factory.mktemp("artifacts")
    settings = {"folds": FOLDS, "stride": 30, "fit": {"rounds": 20, "least": 20}}
    recipe.run(settings, TrainOptions(data, folder / "hype"))
    return folder


def write_posts(path: Path, count: int = 4000) -> Path:
    """Posts about two coins at random moments of forty days."""
    rng = np.random.default_rng(0)
    t = (FIRST * 60 + rng.integers(0, 40 * 86_400, count)).astype(np.int64)
    symbols = rng.choice(["BTC", "BTC,ETH", "", "ETH"], count).tolist()
    pq.write_table(pa.table({"source": ["x"] * count, "t": t, "text": ["a"] * count, "symbols": symbols}), path)
    return path


def test_waves_are_learned_and_the_card_tells_it(artifacts: Path) -> None:
    """The held-out fold beats its base rate and the placebo; the card and the config carry the same figures."""
    config = json.loads((artifacts / "hype" / "config.json").read_text())
    heads = load_hype(artifacts).heads
    assert set(heads) == {"symbol-15", "symbol-60"} == set(config["held_out"])
    for name, held in config["held_out"].items():
        assert held["auc"] > 0.75
        assert held["bss"] > max(0.1, held["placebo"]["bss"])
        assert str(held["auc"]) in (artifacts / "hype" / "README.md").read_text()
        assert heads[name].signal == (held["intervals"]["skill_over_persistence"][0] > 0)


def test_training_rows_are_purged_before_each_fold(data: Path) -> None:
    """The outcome of every training row ends a day before the fold; rows scored do not overlap in their outcomes."""
    rows = windows(load_activity([data / "candles.parquet"])[0], Target(60), 30)
    start = (FIRST + 30 * 1440) * 60.0
    train, test = recipe.parts(rows, start, np.inf, 60)
    assert (train.time + 3600 + 86_400 <= start).all()
    assert (test.time >= start).all()
    assert (np.diff(test.time) >= 3600).all()
    assert len(train) > 100


def test_evaluation_of_candles_and_posts(data: Path, artifacts: Path, tmp_path: Path) -> None:
    """Other symbols and venues, candles with posts or posts alone: always the promised keys, plain and repeatable."""
    other = write_candles(tmp_path / "other.parquet", 40, "STRANGE/USDT", seed=3)
    posts = write_posts(tmp_path / "posts.parquet")
    for files, measure in (((other,), "volume"), ((other, posts), "volume"), ((posts,), "posts")):
        found = evaluation.run(EvaluateOptions(data=files, artifacts=artifacts))
        assert found["measure"] == measure
        assert set(found) >= {"n", "base_rate", "auc", "level_auc", "bss", "ece"}
        assert found["n"] > 100
        assert 0 <= found["ece"] <= 1
        assert json.dumps(found, allow_nan=False)
        assert evaluation.run(EvaluateOptions(data=files, artifacts=artifacts)) == found


def test_since_limits_what_is_scored(data: Path, artifacts: Path) -> None:
    """Rows before the time are history: they are not scored, and the rest is scored with the same features."""
    files = (data / "candles.parquet",)
    whole = evaluation.run(EvaluateOptions(data=files, artifacts=artifacts))
    part = evaluation.run(EvaluateOptions(data=files, artifacts=artifacts, since=moment((FIRST + 40 * 1440) * 60)))
    assert 0 < part["n"] < whole["n"] / 2


def test_unusable_files_are_told(data: Path, artifacts: Path, tmp_path: Path) -> None:
    """No file, a stranger's columns, or too short a tape is one clear error each."""
    with pytest.raises(InputError, match="--data"):
        evaluation.run(EvaluateOptions(artifacts=artifacts))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "strange.parquet")
    with pytest.raises(InputError, match=r"strange\.parquet"):
        evaluation.run(EvaluateOptions(data=(tmp_path / "strange.parquet",), artifacts=artifacts))
    short = write_candles(tmp_path / "short.parquet", 1)
    with pytest.raises(InputError, match="too few"):
        evaluation.run(EvaluateOptions(data=(short,), artifacts=artifacts))
