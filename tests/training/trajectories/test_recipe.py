"""Library and trajectory recipes and their evaluation, on random walks whose law is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InputError
from domain.types import STEPS, Floats, Minutes
from models.trajectories.library import load_library
from models.trajectories.retrieval import load_trajectories
from tests.models.trajectories.test_library import encoder
from tests.training.synthetic import write_candles, write_pairs
from training.registry import EvaluateOptions, TrainOptions
from training.trajectories import band_figures, challengers, recipe, walk_forward
from training.trajectories import evaluate as evaluation
from training.trajectories import library as library_recipe
from training.trajectories.pairs import load_tapes
from training.trajectories.tape import moment
from training.trajectories.windows import Windows, longest, windows_of

Embed = Callable[[Sequence[str]], Floats]


def words_to_vectors(artifacts: Path) -> Embed:
    """A stand-in for the text encoder: one random direction per word, summed."""

    def embed(texts: Sequence[str]) -> Floats:
        out = np.zeros((len(texts), 384))
        for i, text in enumerate(texts):
            for word in text.split():
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
                out[i] += np.random.default_rng(seed).normal(size=384)
        return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)

    return embed


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data: 240 pairs of one market over sixty days, and its candles of 75."""
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "pairs.parquet", 240)
    write_candles(folder / "candles.parquet", 75)
    return folder


@pytest.fixture(scope="module")
def artifacts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library and a trajectory model built from that folder."""
    folder = tmp_path_factory.mktemp("artifacts")
    encoder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library_recipe, "shipped_embed", words_to_vectors)
        patch.setattr(recipe, "shipped_embed", words_to_vectors)
        where = str(folder)
        library_recipe.run({"rows": 200, "artifacts": where}, TrainOptions(data, folder / "library"))
        cut = moment((28_400_000 + 40 * 1440) * 60).isoformat()
        recipe.run({"since": cut, "artifacts": where}, TrainOptions(data, folder / "trajectories"))
    return folder


@settings(max_examples=60, deadline=None)
@given(minutes=st.lists(st.integers(28_400_000, 28_700_000), min_size=4, max_size=60), least=st.integers(1, 20))
def test_no_label_of_train_meets_a_test_month(minutes: list[int], least: int) -> None:
    """Every window of a fold's train ends a day before the first minute of its test month; test windows lie in it."""
    start = np.sort(np.array(minutes, dtype=np.int64))
    blank = np.zeros((len(start), 1))
    windows = Windows(("x",), np.zeros_like(start), start, blank, blank, blank, blank[:, 0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk_forward, "FEWEST_TRAIN", least)
        for train, test in walk_forward.folds(windows):
            month = (start[test] * 60).astype("datetime64[s]").astype("datetime64[M]")
            begins = int(month[0].astype("datetime64[s]").astype(np.int64)) // 60
            assert len(set(month.tolist())) == 1
            assert (start[train] + STEPS + 1440 < begins).all()


def test_the_library_holds_numbers_only(artifacts: Path) -> None:
    """At most the asked rows, all finite, volatility from the candles, and no word of any post in the folder."""
    found = load_library(artifacts)
    assert len(found.rows) == 200
    assert np.isfinite(found.rows.volatility).all()
    assert found.estimated.mean() < 0.1
    assert set(found.rows.symbols) == {"NEW/USDT"}
    held = b"".join(p.read_bytes() for p in (artifacts / "library").iterdir())
    assert b"whale" not in held
    assert b"crash" not in held


def test_the_card_tells_held_out_figures(artifacts: Path) -> None:
    """Random walks: the band holds four fifths of what came later, recall is the placebo's, and the card says so."""
    config = json.loads((artifacts / "trajectories" / "config.json").read_text())
    held, walked = config["held_out"], config["walk_forward"]
    assert str(artifacts.parent) not in (artifacts / "trajectories" / "config.json").read_text()
    assert walked["coverage"]["all"] == pytest.approx(0.8, abs=0.05)
    assert held["coverage"] == pytest.approx(0.8, abs=0.08)
    assert held["n"] >= 50
    assert held["r_at_10"]["model"] == held["r_at_10"]["placebo"]
    card = (artifacts / "trajectories" / "README.md").read_text()
    assert str(held["coverage"]) in card
    assert str(walked["coverage"]["all"]) in card


def test_candles_alone_give_the_walk_forward(data: Path) -> None:
    """Without pairs the band is walked over the candles; with too few months there is a clear error."""
    found = evaluation.run(EvaluateOptions(candles=(data / "candles.parquet",)))
    assert found["coverage"]["at_256"] == pytest.approx(0.8, abs=0.08)
    assert set(found["markets"]) == {"NEW/USDT"}
    assert json.dumps(found, allow_nan=False)


def test_every_challenger_is_fitted_before_and_asked_after(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosting, the series encoder and the quantile network forecast the ridge's own windows; where nothing is to be learned
    they stay near it, and they differ from it.
    """
    monkeypatch.setattr(challengers, "TREES", 5)
    monkeypatch.setattr(walk_forward, "FEWEST_TRAIN", 300)
    monkeypatch.setattr(challengers, "FEWEST_TRAIN", 300)
    whole = longest(load_tapes([data / "candles.parquet"]))[0]
    month = 28 * 1440
    tape = Minutes(whole.symbol, whole.first - month, whole.mid[: month + 4 * 1440], whole.volume[: month + 4 * 1440])
    windows = windows_of([tape])
    made = {name: forecasts() for name, forecasts in challengers.all_of([tape], windows).items()}
    ships = made.pop("ridge (ships)")
    assert set(made) == {"boosting", "series encoder", "quantile network"}
    for name, other in made.items():
        assert (other.windows.start == ships.windows.start).all(), name
        assert np.abs(other.expected - ships.expected).max() < 1, name
        assert np.isfinite(other.tables).all()
        assert (np.diff(other.tables, axis=2) >= 0).all()
        assert (other.expected != ships.expected).any() or (other.tables != ships.tables).any(), name


def test_challengers_have_rows_beside_what_ships(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--challengers`` adds a row for each: the same windows, coverage, CRPS, volatility and big moves."""
    rows = {"a": lambda: walk_forward.forecast(windows, walk_forward.by_ridge)}
    windows = windows_of(longest(load_tapes([data / "candles.parquet"])))
    monkeypatch.setattr(band_figures, "all_of", lambda _tapes, _windows: rows)
    found = evaluation.run(EvaluateOptions(candles=(data / "candles.parquet",), challengers=True))
    assert found["challengers"] == {
        "a": {
            "n": found["n"],
            "coverage": found["coverage"]["all"],
            "crps_skill": found["crps_skill"]["all"],
            "volatility_skill": found["volatility_skill"],
            "big_move_auc": found["big_move_auc"]["auc"],
        }
    }


def test_evaluation_on_files_of_another_time(
    data: Path, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown symbols and venues without candles are scored all the same; earlier rows are history only."""
    monkeypatch.setattr(evaluation, "shipped_embed", words_to_vectors)
    other = write_pairs(tmp_path / "other.parquet", 80, "STRANGE/USDT", seed=4)
    since = moment((28_400_400 + 360 * 30) * 60)
    options = EvaluateOptions(pairs=(other,), candles=(data / "candles.parquet",), since=since, artifacts=artifacts)
    found = evaluation.run(options)
    assert found["n"] == 50
    assert set(found) >= {
        "n", "independent_windows", "r_at_10", "coverage", "crps_skill", "volatility_skill", "big_move_auc",
    }  # fmt: skip
    assert set(found["r_at_10"]) == {"model", "chance", "placebo"}
    assert found["independent_windows"] <= found["n"]
    assert 0 <= found["coverage"] <= 1
    assert json.dumps(found, allow_nan=False)
    assert evaluation.run(options) == found


def test_evaluation_says_what_it_lacks(data: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, or nothing after the given time, is a clear error."""
    monkeypatch.setattr(evaluation, "shipped_embed", words_to_vectors)
    with pytest.raises(InputError, match="--pairs"):
        evaluation.run(EvaluateOptions(artifacts=artifacts))
    late = EvaluateOptions(pairs=(data / "pairs.parquet",), since=moment(2_000_000_000), artifacts=artifacts)
    with pytest.raises(InputError, match="--since"):
        evaluation.run(late)


def test_training_is_deterministic(data: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same numbers."""
    monkeypatch.setattr(recipe, "shipped_embed", words_to_vectors)
    again = artifacts / "again"
    config = json.loads((artifacts / "trajectories" / "config.json").read_text())["settings"]
    recipe.run(config | {"artifacts": str(artifacts)}, TrainOptions(data, again))
    assert (again / "config.json").read_text() == (artifacts / "trajectories" / "config.json").read_text()
    assert (again / "model.safetensors").read_bytes() == (artifacts / "trajectories" / "model.safetensors").read_bytes()
    assert load_trajectories(None, artifacts).parameters.prior_weight == walk_forward.PRIOR_WEIGHT


def test_a_handful_of_posts_gives_no_figure_it_cannot_have(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few past windows for a percentile, too small a pool for a rank: those figures are null, not 1 or 0."""
    monkeypatch.setattr(evaluation, "shipped_embed", words_to_vectors)
    few = write_pairs(tmp_path / "few.parquet", 6, "STRANGE/USDT", seed=4)
    found = evaluation.run(EvaluateOptions(pairs=(few,), artifacts=artifacts))
    assert found["n"] > 0
    assert found["crps_skill"] is None
    assert found["big_move_auc"] is None
    assert found["r_at_10"] == {"model": None, "chance": None, "placebo": None}
