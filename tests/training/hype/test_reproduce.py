"""Report 003 again: the keyword canary, the baselines, and every combination where pictures are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.hype import reproduce
from training.hype.blocks import load_pictures, masked
from training.registry import ReproduceOptions

DAYS = 900


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table like the report's: the label is a word of the caption; a few pictures."""
    rng = np.random.default_rng(0)
    hot = rng.random(DAYS) < 0.55
    words = rng.choice(["red", "blue", "green", "wool", "silk"], DAYS)
    texts = [f"a {word} {'dress' if flag else 'coat'} today" for word, flag in zip(words, hot, strict=True)]
    names = [f"{i}.png" for i in range(DAYS)]
    table = {"image": names, "text": texts, "hotness": hot.astype(int), "time": np.arange(DAYS)}
    pq.write_table(pa.table(table), tmp_path / "table.parquet")
    Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "3.png")
    (tmp_path / "4.png").write_bytes(b"no picture")
    return tmp_path


def embed(texts: list[str]) -> np.ndarray:
    """A text's vector says whether its label word is there, among noise."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(len(texts), 8)).astype(np.float32)
    noise[:, 0] = ["dress" in text for text in texts]
    return noise


def test_the_leak_is_caught_and_taken_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword finds every label as reported and none once masked; the fusion follows it both times."""
    monkeypatch.setattr(reproduce, "shipped_embed", lambda: embed)
    monkeypatch.setattr(reproduce, "word_vectors", embed)
    monkeypatch.setattr(reproduce, "MODELS", ("fusion",))
    monkeypatch.setattr(reproduce, "COMBINATIONS", (("text",), ("text", "image")))
    monkeypatch.setattr(reproduce, "load_pictures", lambda *_: [None] * DAYS)
    result = reproduce.run(ReproduceOptions(folder, folder / "out", quick=True))
    assert result["baselines"]["keyword"] == 1.0
    assert result["baselines"]["keyword, words masked"] < 0.6
    assert result["reported"]["text"]["fusion, separate"][0] > 0.95
    assert result["honest"]["text"]["fusion, separate"][0] < 0.75
    assert result["honest"]["text + image"]["fusion, aligned"] is None
    written = (folder / "out" / "003.md").read_text()
    assert "pictures not had" in written
    assert "0.6684" in written


def test_every_combination_runs_with_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All seven combinations, both kinds of features and all three models give an accuracy."""
    rng = np.random.default_rng(2)
    blocks = {name: rng.normal(size=(DAYS, 4)).astype(np.float32) for name in reproduce.MODALITIES}
    encoded = {"separate": ("made up", blocks), "aligned": ("made up", blocks)}
    hot = rng.random(DAYS) < 0.5
    monkeypatch.setattr(
        reproduce,
        "FitOptions",
        lambda **_: __import__("training.hype.fitting").hype.fitting.FitOptions(epochs=1, batch=400),
    )
    found = reproduce.table(encoded, hot, 9, 1, ReproduceOptions(folder, folder, quick=True))
    assert len(found) == 7
    assert all(len(row) == 6 and all(0 <= v[0] <= 1 for v in row.values()) for row in found.values())
    assert set(found) == set(reproduce.REPORTED)


def test_pictures_are_found_by_name_and_masked(folder: Path) -> None:
    """A picture that is there is read; a missing or broken one is None and stays None behind the mask."""
    pictures = load_pictures(folder, ["3.png", "4.png", "5.png"])
    assert [p is None for p in pictures] == [False, True, True]
    assert pictures[0] is not None
    assert pictures[0].shape == (40, 30, 3)
    assert [p is None for p in masked(pictures)] == [False, True, True]
