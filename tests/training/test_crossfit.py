"""training: soft labels come from networks that never saw the row, and recipes take them by the share the settings give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from domain.errors import InputError
from domain.types import EMOTIONS
from training import crossfit, face_batches
from training.data.emotion import Texts, load
from training.data.faces import Faces
from training.emotion_rows import examples
from training.recipes import emotion, emotion_image


@pytest.fixture(scope="module")
def config(tiny: dict[str, object]) -> dict[str, object]:
    return tiny | {"epochs": 1, "taught": {"goemotions": 0.5}}


def test_folds_share_the_rows_out_evenly_and_always_alike() -> None:
    """Each row is in one fold; folds differ by a row at most; the same count gives the same folds."""
    folds = crossfit.fold_of(103, 4)
    assert sorted(np.bincount(folds)) == [25, 26, 26, 26]
    assert np.array_equal(folds, crossfit.fold_of(103, 4))


def test_no_network_reads_what_it_was_trained_on(
    data: Path, config: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of a fold comes from a network whose training rows hold none of it; other sources stay whole."""
    seen: list[dict[str, Texts]] = []
    fit = emotion.fit

    def noting(settings: emotion.Settings, sets: dict[str, Texts], *rest: object) -> object:
        seen.append(sets)
        return fit(settings, sets, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(emotion, "fit", noting)
    said = emotion.cross_fit(config, data, 1, 3, tmp_path / "run", False)
    whole = load("goemotions", "train", data)
    rows, probabilities, count = said["goemotions"]
    assert list(said) == ["goemotions"]
    assert count == len(whole)
    assert np.array_equal(rows, np.flatnonzero(crossfit.fold_of(count, 3) == 1))
    kept = [text for n, text in enumerate(whole.texts) if n not in set(rows)]
    assert seen[0]["goemotions"].texts == kept
    assert len(seen[0]["dair"]) == len(load("dair", "train", data))
    assert np.allclose(probabilities.sum(1), 1, atol=1e-3)


def test_all_folds_make_one_file_that_training_takes(data: Path, config: dict[str, object], tmp_path: Path) -> None:
    """Folds made apart join to a probability for every row, and targets move towards them by the share."""
    out, toml = tmp_path / "said.safetensors", tmp_path / "small.toml"
    lines = [f"{key} = {_toml(value)}" for key, value in config.items()]
    toml.write_text("\n".join(['recipe = "emotion"', *lines]))
    assert crossfit.run(str(toml), data, out, 2, 0, False)["complete"] is False
    assert not out.exists()
    assert crossfit.run(str(toml), data, out, 2, 1, True)["complete"] is True
    texts = load("goemotions", "train", data)
    said = crossfit.read(out, "goemotions", len(texts))
    chosen = emotion.Settings(**(config | {"soft_labels": str(out)}))  # type: ignore[arg-type]  # from a dict
    net = emotion.new_net(str(config["encoder"]), ("goemotions",), chosen.pooling)
    targets = examples(net, {"goemotions": texts}, chosen).targets.numpy()
    own = texts.multi / texts.multi.sum(1, keepdims=True)
    assert targets == pytest.approx(0.5 * own + 0.5 * said, abs=1e-6)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_a_file_for_other_rows_is_refused(tmp_path: Path) -> None:
    """A missing file, a missing source and another number of rows are named."""
    path = tmp_path / "said.safetensors"
    with pytest.raises(InputError, match=r"no file of soft labels said\.safetensors"):
        crossfit.read(path, "dair", 3)
    save_file({"dair": torch.full((3, 7), 1 / 7)}, path)
    assert crossfit.read(path, "dair", 3).shape == (3, 7)
    with pytest.raises(InputError, match="3 rows for dair, 4 training rows"):
        crossfit.read(path, "dair", 4)
    with pytest.raises(InputError, match="nothing for goemotions"):
        crossfit.read(path, "goemotions", 3)


def test_folds_of_different_runs_do_not_join(tmp_path: Path) -> None:
    """Rows that two folds speak of, or none, end the joining."""
    out = tmp_path / "said.safetensors"
    sure = np.eye(7, dtype=np.float32)[[0, 1]]
    for fold in range(2):
        crossfit.save(out, fold, {"dair": (np.array([0, 1]), sure, 4)})
    with pytest.raises(InputError, match="not of one run"):
        crossfit.join(out, 2)


def test_wrong_usage_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe without soft labels and a fold that is none end with 2 and one sentence."""
    for options, sentence in (
        (["--config", "hype"], "no labels that could be soft"),
        (["--config", "emotion-text", "--only", "9"], "a fold from 0 to 3"),
    ):
        monkeypatch.setattr("sys.argv", ["crossfit", *options, "--data", str(tmp_path), "--out", str(tmp_path / "s")])
        assert crossfit.main() == 2
        assert sentence in capsys.readouterr().err


def test_a_fold_begun_goes_on_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--resume`` goes on with a run that is there, and starts one that is not."""
    asked: list[bool] = []
    said = {"dair": (np.array([0]), np.eye(7, dtype=np.float32)[:1], 2)}
    monkeypatch.setattr(emotion, "cross_fit", lambda *given: asked.append(given[-1]) or said)
    work = tmp_path / "said.run" / "fold-0"
    for resume, begun in ((True, False), (False, True), (True, True)):
        if begun:
            work.mkdir(parents=True, exist_ok=True)
            (work / "run.safetensors").touch()
        crossfit.run("emotion-text", tmp_path, tmp_path / "said.safetensors", 2, 0, resume)
        (tmp_path / "said.fold-0.safetensors").unlink()
    assert asked == [False, False, True]


def test_faces_take_soft_labels_too(tmp_path: Path) -> None:
    """A face's target is its label, less the share that goes to what was said of it."""
    path = tmp_path / "said.safetensors"
    save_file({"small": torch.full((2, 7), 1 / 7)}, path)
    crops = np.zeros((3, 96, 96), np.uint8)
    sets = {"small": Faces("small", crops, np.array([0, 5, 6]), np.array(["train", "train", "holdout"]), 0)}
    chosen = emotion_image.Settings(sources={"small": 1.0}, soft_labels=str(path), taught={"small": 0.7})
    pool = face_batches.gather(chosen, sets, crops)
    assert pool.targets.shape == (2, len(EMOTIONS))
    assert pool.targets[1, 5].item() == pytest.approx(0.3 + 0.1)
    assert pool.targets[1, 0].item() == pytest.approx(0.1)


def test_a_fold_of_faces_is_read_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold's faces are neither training nor validation while its network is trained, then read."""
    rng = np.random.default_rng(0)
    crops, labels = rng.integers(0, 256, (40, 96, 96), dtype=np.uint8), rng.integers(0, 7, 40)
    whole = Faces("small", crops, labels, np.array(["train"] * 30 + ["validation"] * 10), 0)
    seen: list[Faces] = []

    def untrained(chosen: emotion_image.Settings, sets: dict[str, Faces], *_: object) -> emotion_image.MoodNet:
        seen.append(sets["small"])
        return emotion_image.MoodNet(emotion_image.ImageEncoder.from_name("test_efficientnet", False), 32).eval()

    monkeypatch.setattr(emotion_image, "load", lambda _: whole)
    monkeypatch.setattr(emotion_image, "train", untrained)
    config = {"sources": {"small": 1.0}, "taught": {"small": 0.5}}
    rows, said, count = emotion_image.cross_fit(config, tmp_path, 0, 3, tmp_path / "run", False)["small"]
    assert (len(rows), count, said.shape) == (10, 30, (10, 7))
    assert (seen[0].part == "train").sum() == 20
    assert np.array_equal(np.flatnonzero(seen[0].part == "fold"), rows)
