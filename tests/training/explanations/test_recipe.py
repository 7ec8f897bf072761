"""The recipe on texts made here: data, splits, training and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from domain.errors import InputError
from models.explanations.decoder import Autoencoder
from models.explanations.search import UNKNOWN, Vocabulary
from training.explanations import data, tables
from training.explanations.recipe import Settings, cross_entropy, fit, noisy
from training.explanations.reconstruct import Task, figures, floors, noise_curve
from training.registry import ReproduceOptions

TINY = Settings(
    pooling="coded",
    size=64,
    width=32,
    heads=2,
    slots=2,
    positions=8,
    batch=8,
    learning_rate=1e-2,
    epochs=12,
    dropout=0.0,
)


class _Tokenizer:
    cls_token_id, sep_token_id, unk_token_id = 101, 102, 100

    def decode(self, tokens: list[int], **_: bool) -> str:
        return " ".join(f"w{token}" for token in tokens)


def _task() -> Task:
    """Forty texts of two to five tokens, whose states are a one-hot code of each token."""
    lots = np.random.default_rng(0)
    ids = [[101, *lots.integers(200, 212, lots.integers(2, 6)).tolist(), 102] for _ in range(40)]
    vocabulary = Vocabulary.of(ids, _Tokenizer())
    starts = np.cumsum([0, *map(len, ids)])
    flat = np.stack([np.eye(16, dtype=np.float16)[token % 16] for row in ids for token in row])
    return Task(
        data.States(flat, starts),
        data.encoded(vocabulary, ids, 8),
        [str(row) for row in ids],
        vocabulary,
        _Tokenizer(),
        (),
    )


def test_training_brings_texts_back_and_the_floors_stay_low(tmp_path: Path) -> None:
    """A coded vector gives most tokens of texts it was trained on; zeroed or shuffled vectors give few."""
    torch.manual_seed(0)
    task, rows = _task(), np.arange(40)
    net = Autoencoder(TINY.shape(len(task.vocabulary)), TINY.decoder, TINY.pooling, 16)
    report = fit(net, task.inputs, task.rows, rows, TINY, tmp_path)
    found = figures(net, task, rows)
    assert report.step == 60
    assert found["token_accuracy"] > 0.9
    assert found["token_accuracy_free"] > 0.8
    assert found["top_k"] == sorted(found["top_k"])
    low = floors(net, task, rows)
    assert max(low.values()) < found["token_accuracy"] - 0.3
    curve = noise_curve(net, task, rows, (0.0, 3.0))
    assert curve["0.0"] == found["token_accuracy"] > curve["3.0"]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    """A finished run that is resumed keeps its weights and trains no further."""
    task, rows = _task(), np.arange(40)
    few = replace(TINY, epochs=1)
    net = Autoencoder(few.shape(len(task.vocabulary)), few.decoder, few.pooling, 16)
    fit(net, task.inputs, task.rows, rows, few, tmp_path)
    other = Autoencoder(few.shape(len(task.vocabulary)), few.decoder, few.pooling, 16)
    report = fit(other, task.inputs, task.rows, rows, few, tmp_path, resume=True)
    assert report.step == 5
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_the_sampled_softmax_estimates_the_whole_one() -> None:
    """Over many samples the estimated cross-entropy is near the exact one."""
    torch.manual_seed(0)
    net = Autoencoder(replace(TINY, width=16).shape(200), "autoregressive", None)
    hidden, after = torch.randn(4, 3, 16), torch.randint(3, 200, (4, 3))
    after[0, 2] = -100
    with torch.no_grad():
        whole = cross_entropy(net, hidden, after, 0)
        parts = torch.stack([cross_entropy(net, hidden, after, 60) for _ in range(200)])
    assert float(parts.mean()) == pytest.approx(float(whole), abs=0.05)


def test_noise_has_the_length_that_is_asked() -> None:
    """Noise of 0.5 is on average half as long as the vector."""
    torch.manual_seed(0)
    vectors = torch.randn(50, 400) * 7
    lengths = (noisy(vectors, 0.5) - vectors).norm(dim=1) / vectors.norm(dim=1)
    assert float(lengths.mean()) == pytest.approx(0.5, abs=0.02)


def _headlines() -> data.Headlines:
    texts = [f"company{i} names director{i} of office{i}" for i in range(40)]
    texts[39] = "company0 names director0 of office0 again"
    days = np.array(["2020-01-01"] * 30 + ["2020-05-01"] * 10, dtype="datetime64[D]")
    return data.Headlines(texts, days, data.clusters(texts))


def test_a_story_stands_on_one_side_of_the_cut() -> None:
    """A newer text whose story was printed before the cut is in no holdout by date."""
    split = data.split(_headlines(), "2020-04-01", 0.1, 0)
    assert split.same_story.tolist() == [39]
    assert split.by_date.tolist() == list(range(30, 39))
    assert (len(split.train), len(split.random)) == (27, 3)
    assert not set(split.train) & set(split.random)


def test_headlines_are_read_from_their_file(tmp_path: Path) -> None:
    """Undated rows are dropped; a missing file or column is an error that names it."""
    with pytest.raises(InputError, match="There is no"):
        data.load(tmp_path)
    rows = {"headline": ["oil up", "gold down", None], "date": ["2020-01-01", None, "2020-01-02"]}
    pd.DataFrame(rows).to_parquet(tmp_path / data.FILE)
    assert data.load(tmp_path, grouped=False).texts == ["oil up"]
    pd.DataFrame({"headline": ["oil up"]}).to_parquet(tmp_path / data.FILE)
    with pytest.raises(InputError, match="date"):
        data.load(tmp_path)


def test_names_are_the_words_with_capitals_inside_sentences() -> None:
    """A word that only begins texts is no name."""
    texts = ["Shares of Tesla rise", "Why Tesla falls", "Shares wait"]
    assert data.name_words(texts) == frozenset({"tesla"})


def test_the_vocabulary_keeps_its_marks_apart() -> None:
    """Unseen tokens become the unknown one, and a decoded row loses its marks."""
    words = Vocabulary.of([[101, 7, 9, 102]], _Tokenizer())
    assert words.encode([101, 9, 8, 102], 5) == [4, UNKNOWN, 1]
    assert words.encode([101, 9, 7, 102], 2) == [4, 3]
    assert words.decode([4, UNKNOWN, 3, 1], _Tokenizer()) == "w9 w7"


def test_tables_set_the_reports_figures_beside_ours(tmp_path: Path) -> None:
    """Means over seeds with their spread, the report's accuracy, top-k and noise; plots are files."""
    one = {"top_k": [0.5] * 8, **dict.fromkeys(tables.COLUMNS, 0.5)}
    row = {"random": one, "by date": one, "floors": {"zeroed": 0.1}, "noise": {"0.0": 0.5, "1.0": 0.1}}
    name = "autoregressive, attention pooling, S 768"
    two = row | {"random": one | {"token_accuracy": 0.7}}
    found = tables.write({f"{name}/0": row, f"{name}/1": two}, {name: 0.502}, ReproduceOptions(tmp_path, tmp_path))
    text = (tmp_path / "001.md").read_text()
    assert found["rows"][f"{name}/1"]["random"]["token_accuracy"] == 0.7
    assert "| 0.502 | 0.600 ± 0.100 |" in text
    assert "the report | 0.50 | 0.63" in text
    assert {p.name for p in tmp_path.glob("*.png")} == {"001_noise.png", "001_top_k.png"}
    tables.write({f"{name}/0": row}, {}, ReproduceOptions(tmp_path, tmp_path, table=2))
    assert "## 1." not in (tmp_path / "001.md").read_text()
