"""training: soft labels come from networks that never saw the row, and recipes take them by the share the settings give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.errors import InputError
from domain.types import EMOTIONS
from training.emotion import crossfit, face_views, image
from training.emotion import text as emotion
from training.emotion.faces import Faces
from training.emotion.rows import examples
from training.emotion.texts import Texts, load


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
    rows, probabilities, labels = said["goemotions"]
    assert list(said) == ["goemotions"]
    assert np.array_equal(labels, whole.labels)
    assert np.array_equal(rows, np.flatnonzero(crossfit.fold_of(len(labels), 3) == 1))
    kept = [text for n, text in enumerate(whole.texts) if n not in set(rows)]
    assert seen[0]["goemotions"].texts == kept
    assert len(seen[0]["dair"]) == len(load("dair", "train", data))
    assert np.allclose(probabilities.sum(1), 1, atol=1e-3)


def test_all_folds_make_one_file_that_training_takes(data: Path, config: dict[str, object], tmp_path: Path) -> None:
    """Folds made apart join to a probability for every row, and targets move towards them by the share."""
    out, toml = tmp_path / "soft.safetensors", tmp_path / "small.toml"
    lines = [f"{key} = {_toml(value)}" for key, value in config.items()]
    toml.write_text("\n".join(['recipe = "emotion/text"', *lines]))
    assert crossfit.run(str(toml), data, out, 2, 0, False)["complete"] is False
    assert not out.exists()
    assert crossfit.run(str(toml), data, out, 2, 1, True)["complete"] is True
    texts = load("goemotions", "train", data)
    said = crossfit.read(out, "goemotions", texts.labels)
    chosen = emotion.Settings(**(config | {"soft_labels": str(out)}))  # type: ignore[arg-type]  # from a dict
    net = emotion.new_net(str(config["encoder"]), ("goemotions",), chosen.pooling)
    targets = examples(net, {"goemotions": texts}, chosen).targets.numpy()
    own = texts.multi / texts.multi.sum(1, keepdims=True)
    assert targets == pytest.approx(0.5 * own + 0.5 * said, abs=1e-6)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def whole(out: Path, labels: np.ndarray, source: str = "dair") -> Path:
    """A complete file of even probabilities for rows of these labels."""
    rows = np.arange(len(labels))
    for fold in range(2):
        mine = rows[fold::2]
        crossfit.save(out, fold, {source: (mine, np.full((len(mine), 7), 1 / 7, np.float32), labels)}, "one run")
    assert crossfit.join(out, 2)
    return out


def test_a_file_for_other_rows_is_refused(tmp_path: Path) -> None:
    """A missing file, a missing source, another number of rows and another order of as many are named."""
    path, labels = tmp_path / "soft.safetensors", np.array([0, 5, 6])
    with pytest.raises(InputError, match=r"no file of soft labels soft\.safetensors"):
        crossfit.read(path, "dair", labels)
    whole(path, labels)
    assert crossfit.read(path, "dair", labels).shape == (3, 7)
    for other in (np.array([0, 5, 6, 1]), labels[::-1].copy()):
        with pytest.raises(InputError, match="other rows of dair"):
            crossfit.read(path, "dair", other)
    with pytest.raises(InputError, match="nothing for goemotions"):
        crossfit.read(path, "goemotions", labels)


@pytest.mark.parametrize(("run", "rows"), [("another run", [1, 3]), ("one run", [0, 1])])
def test_folds_that_do_not_fit_do_not_join(tmp_path: Path, run: str, rows: list[int]) -> None:
    """Folds of other settings, and rows that two folds speak of, or none, end the joining."""
    out, sure, labels = tmp_path / "soft.safetensors", np.eye(7, dtype=np.float32)[[0, 1]], np.array([0, 1, 2, 3])
    crossfit.save(out, 0, {"dair": (np.array([0, 2]), sure, labels)}, "one run")
    crossfit.save(out, 1, {"dair": (np.array(rows), sure, labels)}, run)
    with pytest.raises(InputError, match="not of one run"):
        crossfit.join(out, 2)
    assert not out.exists()


def test_wrong_usage_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no soft labels, no such fold, nothing to read or has seen the rows ends with 2 and one sentence."""
    seen = 'recipe = "emotion/text"\nencoder = "any"\nsources = { dair = 1 }\ntaught = { dair = 0.5 }\nstart = "folder"'
    (tmp_path / "seen.toml").write_text(seen)
    for options, sentence in (
        (["--config", "hype/logistic"], "no labels that could be soft"),
        (["--config", "emotion/text", "--only", "9"], "a fold from 0 to 3"),
        (["--config", "emotion/image"], "taught must name sources that are to be read: fer2013_48, muxspace_128."),
        (["--config", str(tmp_path / "seen.toml")], "may have seen every row"),
    ):
        monkeypatch.setattr("sys.argv", ["crossfit", *options, "--data", str(tmp_path), "--out", str(tmp_path / "s")])
        assert crossfit.main() == 2
        assert sentence in capsys.readouterr().err


def test_a_fold_begun_goes_on_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--resume`` goes on with a run that is there, and starts one that is not."""
    asked: list[bool] = []
    soft = {"dair": crossfit.SoftLabel(np.array([0]), np.eye(7, dtype=np.float32)[:1], np.array([0, 1]))}
    works: list[Path] = []
    out, part = tmp_path / "soft.safetensors", tmp_path / "soft.fold-0.safetensors"

    def cross_fit(*given: Any) -> dict[str, crossfit.SoftLabel]:
        works.append(given[4])
        asked.append(given[5])
        return soft

    monkeypatch.setattr(emotion, "cross_fit", cross_fit)
    crossfit.run("emotion/text", tmp_path, out, 2, 0, True)
    crossfit.run("emotion/text", tmp_path, out, 2, 0, True)
    assert asked == [False], "a fold that is there is kept"
    crossfit.run("emotion/text", tmp_path, out, 3, 0, True)
    assert asked == [False, False], "a fold of other settings is not"
    works[-1].mkdir(parents=True)
    (works[-1] / "run.safetensors").touch()
    for resume in (False, True):
        part.unlink()
        crossfit.run("emotion/text", tmp_path, out, 3, 0, resume)
    assert asked[2:] == [False, True]


def test_faces_take_soft_labels_too(tmp_path: Path) -> None:
    """A face's target is its label, less the share that goes to what was said of it."""
    path = whole(tmp_path / "soft.safetensors", np.array([0, 5]), "small")
    crops = np.zeros((3, 96, 96), np.uint8)
    sets = {"small": Faces("small", crops, np.array([0, 5, 6]), np.array(["train", "train", "holdout"]), 0)}
    chosen = image.Settings(sources={"small": 1.0}, soft_labels=str(path), taught={"small": 0.7})
    pool = face_views.gather(chosen, sets, crops)
    assert pool.targets.shape == (2, len(EMOTIONS))
    assert pool.targets[1, 5].item() == pytest.approx(0.3 + 0.1, abs=1e-3)  # kept in float16
    assert pool.targets[1, 0].item() == pytest.approx(0.1, abs=1e-3)


def test_a_fold_of_faces_is_read_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold's faces are neither training nor validation while its network is trained, then read."""
    rng = np.random.default_rng(0)
    crops, labels = rng.integers(0, 256, (40, 96, 96), dtype=np.uint8), rng.integers(0, 7, 40)
    whole = Faces("small", crops, labels, np.array(["train"] * 30 + ["validation"] * 10), 0)
    seen: list[Faces] = []

    def untrained(chosen: image.Settings, sets: dict[str, Faces], *_: object) -> image.MoodNet:
        seen.append(sets["small"])
        return image.MoodNet(image.ImageEncoder.from_name("test_efficientnet", False), 32).eval()

    monkeypatch.setattr(image, "load", lambda _: whole)
    monkeypatch.setattr(image, "train", untrained)
    config = {"sources": {"small": 1.0}, "taught": {"small": 0.5}}
    rows, predicted, own = image.cross_fit(config, tmp_path, 0, 3, tmp_path / "run", False)["small"]
    assert (len(rows), len(own), predicted.shape) == (10, 30, (10, 7))
    assert (seen[0].part == "train").sum() == 20
    assert np.array_equal(np.flatnonzero(seen[0].part == "fold"), rows)
