"""Pretraining, evaluation and baselines of series encoders on small made-up gestures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from domain.errors import InputError
from models.encoders.series import build, load_encoder, with_channels
from tests.training.synthetic import write_candles
from training.registry import EvaluateOptions, TrainOptions
from training.series import baselines, evaluate, probes, recipe, sets
from training.series.candles import windows_below
from training.series.probes import Tuning

ROOT = Path(__file__).parents[3]
SMALL = {"data": "Waves", "encoder_options": {"base": 4}, "steps": 6, "batch_size": 12, "precision": "fp32"}


def write_waves(folder: Path, channels: int = 2, length: int = 40, seed: int = 0, name: str = "Waves") -> Path:
    """Three classes: one, two or three waves with noise and a random start; some series are shorter (NaN)."""
    random = np.random.default_rng(seed)
    parts = {}
    for part, count in (("train", 36), ("test", 30)):
        kinds = np.arange(count) % 3
        phase = random.uniform(0, 1.5, (count, 1, 1))
        time = np.linspace(0, 2 * np.pi, length)[None, None]
        x = np.sin((kinds[:, None, None] + 1) * time + phase) * np.linspace(1, 2, channels)[None, :, None]
        x = x + random.normal(0, 0.2, x.shape)
        x[0, :, -5:] = np.nan
        parts |= {f"X_{part}": x.astype(np.float32), f"y_{part}": np.array(["one", "two", "three"])[kinds]}
    path = folder / f"{name}.npz"
    np.savez(path, **parts)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_waves(folder)
    write_waves(folder, 3, 30, 1, "pre_Other")
    write_candles(folder / "candles.parquet", 3)
    return folder


def test_sets_are_found_by_name_and_checked(data: Path, tmp_path: Path) -> None:
    """With or without the archive's prefix; a wrong name lists the right ones, a wrong file says what it lacks."""
    assert sets.load(sets.find(data, "Other")).channels == 3
    found = sets.load(sets.find(data, "Waves"))
    assert found.classes == ("one", "three", "two")
    assert found.one_hot().sum(0).tolist() == [12, 12, 12]
    with pytest.raises(InputError, match="Waves"):
        sets.find(data, "Letters")
    np.savez(tmp_path / "odd.npz", X_train=np.zeros((2, 1, 4)))
    with pytest.raises(InputError, match="y_train"):
        sets.load(tmp_path / "odd.npz")


@pytest.mark.parametrize("method", ["vicreg", "clip"])
def test_the_recipe_saves_an_encoder_that_loads(data: Path, tmp_path: Path, method: str) -> None:
    """Config, weights and card; the loaded encoder gives the vectors of the saved one; labels seen are told."""
    told = recipe.run(SMALL | {"method": method}, TrainOptions(data, tmp_path))
    assert told["steps"] == 6
    assert told["sees_labels"] == (method == "clip")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"]["method"] == method
    assert str(data) not in (tmp_path / "config.json").read_text()
    assert ("with class names" in (tmp_path / "README.md").read_text()) == (method == "clip")
    net = load_encoder(tmp_path)
    assert net(torch.randn(2, 2, 40)).shape == (2, net.width)
    assert len(told["curve"]) >= 5


def test_a_killed_pretraining_ends_at_the_same_weights(data: Path, tmp_path: Path) -> None:
    """kill -9 after some steps, then --resume: the encoder equals that of a whole run."""
    recipe.run(SMALL | {"steps": 8}, TrainOptions(data, tmp_path / "whole"))
    program = f"""
import os, signal
from pathlib import Path
from training.registry import TrainOptions
from training.series import recipe
from models.series.methods.vicreg import VICReg
plain = VICReg.loss
calls = [0]
def loss(self, *given):
    calls[0] += 1
    if calls[0] == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, *given)
VICReg.loss = loss
recipe.SAVE_EVERY = 2
recipe.run({SMALL | {"steps": 8}!r}, TrainOptions(Path({str(data)!r}), Path({str(tmp_path / "cut")!r})))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    told = recipe.run(SMALL | {"steps": 8}, TrainOptions(data, tmp_path / "cut", resume=True))
    assert told["steps"] == 8
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(whole[name].float(), cut[name].float(), atol=1e-6) for name in whole)


def test_unknown_settings_are_named(data: Path, tmp_path: Path) -> None:
    """A setting, a method and an augmentation that do not exist; a flip on candles."""
    for wrong, word in (
        ({"colour": 1}, "colour"),
        ({"method": "byol"}, "simclr"),
        ({"augmentations": [["rotate", 1, 1]]}, "jitter"),
        ({"data": "candles", "augmentations": [["time_flip", 1, 1]]}, "direction"),
    ):
        with pytest.raises(InputError, match=word):
            recipe.run(SMALL | wrong, TrainOptions(data, tmp_path))


def test_candle_windows_are_whole_and_lazy(data: Path, tmp_path: Path) -> None:
    """Windows hold no hole, none ends after ``until``, rows are (n, 2, 256) and start at no change."""
    held = windows_below(data, 100, "2100-01-01T00:00:00+00:00")
    assert len(held) == 100
    rows = held.rows(np.arange(5))
    assert rows.shape == (5, 2, 256)
    assert torch.isfinite(rows).all()
    assert rows[:, 0, 0].abs().max() == 0
    with pytest.raises(InputError, match="hole"):
        windows_below(data, 100, "2001-01-01T00:00:00+00:00")
    told = recipe.run(
        SMALL | {"data": "candles", "windows": 64, "method": "masked", "until": "2100-01-01T00:00:00+00:00"},
        TrainOptions(data, tmp_path),
    )
    assert told["series"] == 64


def test_dtw_is_the_textbook_recursion() -> None:
    """Against a plain double loop, with and without a window."""
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 2, 12, generator=random), torch.randn(2, 2, 12, generator=random)
    for window in (1.0, 0.2):
        reach = max(int(window * 12), 1)
        ours = baselines.dtw(a, b, window)
        for i in range(2):
            for j in range(3):
                cost = np.full((13, 13), np.inf)
                cost[0, 0] = 0
                for r in range(1, 13):
                    for c in range(max(1, r - reach), min(12, r + reach) + 1):
                        gap = float(((b[i, :, r - 1] - a[j, :, c - 1]) ** 2).sum())
                        cost[r, c] = gap + min(cost[r - 1, c], cost[r, c - 1], cost[r - 1, c - 1])
                assert float(ours[i, j]) == pytest.approx(cost[12, 12], rel=1e-4)


def test_an_encoder_learns_what_it_is_tuned_on(data: Path) -> None:
    """Forty epochs on waves that are easy to tell apart: far above chance; five labels a class are five a class."""
    found = sets.load(sets.find(data, "Waves"))
    torch.manual_seed(0)
    encoder = build("resnet", 2, base=4)
    before = [p.detach().clone() for p in encoder.parameters()]
    score = probes.tune(encoder, found, np.arange(36), Tuning(epochs=40, rate=3e-3), 0)
    assert score > 0.7
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))
    rows = probes.few(found.y, 3)
    assert np.bincount(found.y[rows]).tolist() == [5, 5, 5]


def test_evaluation_of_a_checkpoint(data: Path, tmp_path: Path) -> None:
    """All figures between 0 and 1, beside random weights and baselines; another number of channels is adapted; plots appear."""
    recipe.run(SMALL, TrainOptions(data, tmp_path / "encoder"))
    files = (sets.find(data, "Waves"), sets.find(data, "Other"))
    told = evaluate.run(EvaluateOptions(data=files, artifacts=tmp_path / "encoder", plots=tmp_path / "plots"))
    for name in ("Waves", "Other"):
        row = told["sets"][name]
        assert set(row["encoder"]) == {"probe", "knn", "few_shot", "fine_tune"} == set(row["random"])
        assert all(0 <= v <= 1 for part in ("encoder", "random", "baselines") for v in row[part].values())
        assert row["baselines"]["dtw"] > 0.6
        assert (tmp_path / "plots" / f"{name}_dissection.png").stat().st_size > 5000
    with pytest.raises(InputError, match="--data"):
        evaluate.run(EvaluateOptions())


def test_channels_are_adapted_by_repeating() -> None:
    """The same values in six channels give what they gave in three."""
    torch.manual_seed(0)
    net = build("resnet", 3, base=4).eval()
    wide = with_channels(net, build("resnet", 6, base=4)).eval()
    x = torch.randn(2, 3, 40)
    assert torch.allclose(net(x), wide(torch.cat([x, x], 1)), atol=1e-5)
