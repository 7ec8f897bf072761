"""Report 002: every row for both models, goes on after an interruption, says what was not reproduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.synthetic import WORDS, emotion_sets
from training.emotion import reproduce
from training.emotion.reproduce_tables import EPOCHS, markdown
from training.emotion.texts import Texts
from training.registry import ReproduceOptions


def by_word(_name: str, _train: Texts, _validation: Texts) -> reproduce.Trained:
    """Knows every word but that of anger."""

    def predict(texts: list[str]) -> np.ndarray:
        return np.array([[float(w in t and w != "angry") for w in WORDS.values()] for t in texts], np.float32)

    return reproduce.Trained("by word", predict, {"1": {"loss": 0.5, "accuracy": 0.75, "macro_f1": 0.7}})


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReproduceOptions:
    monkeypatch.setattr(reproduce, "_counted", by_word)
    monkeypatch.setattr(reproduce, "_encoder", lambda _options: by_word)
    monkeypatch.setattr(reproduce, "_sources", lambda *_: {})
    monkeypatch.setitem(reproduce.GROUPS, "sources", lambda *_: {})
    return ReproduceOptions(emotion_sets(tmp_path), tmp_path / "out")


def test_every_row_stands_beside_the_report(options: ReproduceOptions) -> None:
    """The table has the report's rows, ours for both models, the epochs, the picture's steps and the verdict."""
    result = reproduce.run(options)
    told = (options.out / "002.md").read_text()
    row = result["rows"]["mixture, official test"]
    assert row["words counted"] == row["encoder"]
    assert 0 < row["encoder"]["accuracy"] < 1
    assert result["rows"]["mixture, random split"]["report"]["accuracy"] == 0.965461
    assert "**not reproduced**" in told
    assert "| 1 | 0.542 / 0.806 / 0.789 | 0.500 / 0.750 / 0.700 |" in told
    assert told.count("not trained so long") == len(EPOCHS) - 1
    assert "report, step 500" in told


def test_finished_rows_are_not_done_again(options: ReproduceOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption only what is missing is trained; other options begin anew."""
    first = reproduce.run(options)

    def never(*_: object) -> dict[str, dict[str, float]]:
        raise AssertionError("trained again")

    for group in reproduce.GROUPS:
        monkeypatch.setitem(reproduce.GROUPS, group, never)
    assert reproduce.run(options) == first
    with pytest.raises(AssertionError, match="trained again"):
        reproduce.run(ReproduceOptions(options.data, options.out, seed=7))


def test_a_headline_within_a_point_is_reproduced() -> None:
    """The verdict follows the figure."""
    row = {"n": 9, "accuracy": 0.96, "macro_f1": 0.9, "majority": 0.3}
    rows = {"mixture, random split": {"report": None, "words counted": row, "encoder": row}}
    assert "**reproduced**" in markdown({"rows": rows, "seed": 0, "picture": {}}, None)


def test_the_encoder_takes_the_shipped_recipe(tmp_path: Path) -> None:
    """What the reproduction changes are settings that the recipe knows."""
    assert callable(reproduce._encoder(ReproduceOptions(tmp_path, tmp_path, faithful=True)))
