"""Report 000 in small: correlations, its trainings with and without the alarm, faults on and off, arms, matches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.types import STEPS
from tests.training.synthetic import write_candles
from training.registry import ReproduceOptions, tasks
from training.trajectories import reproduce

FIRST = 28_400_000
COIN = "BTC/USDT"


def write_posts(folder: Path) -> None:
    """Pairs of one coin over fifty days, posts of the same days, and candles."""
    random = np.random.default_rng(0)
    t = (FIRST + 300 * np.arange(240)) * 60
    steps = random.normal(0, 0.1, (240, STEPS)).cumsum(1)
    lists = pa.array(list((steps - steps[:, :1]).astype(np.float32)), pa.list_(pa.float32()))
    texts = [f"word{chr(97 + i % 26)} other{chr(97 + i // 26)}" for i in range(240)]
    held = {"symbol": ["BTCUSDT"] * 240, "t": t, "text": texts, "pct256": lists, "source": ["here"] * 240}
    pq.write_table(pa.table(held), folder / "pairs.parquet")
    pq.write_table(
        pa.table({"t": t, "text": texts, "symbols": ["BTC"] * 240, "source": ["here"] * 240}), folder / "posts.parquet"
    )
    write_candles(folder / "candles.parquet", 55, "BTCUSDT")


def embed(texts: list[str]) -> Any:
    """Random vectors, the same for the same text."""
    rows = [np.random.default_rng(abs(hash(text)) % 2**32).normal(size=16) for text in texts]
    return np.stack(rows).astype(np.float32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One coin, two arms, short trainings, a stand-in for the text encoder."""

    def shorter(choice: Any) -> Any:
        return replace(choice, epochs=1, batch_size=16, validation_from="2024-02-01T00:00:00+00:00")

    monkeypatch.setattr(reproduce, "shipped_embed", lambda: embed)
    monkeypatch.setattr(reproduce, "COINS", (COIN,))
    monkeypatch.setattr(
        reproduce,
        "CHROMA",
        {"arm": "chromagram", "encoder": "resnet10t", "size": 32, "encoder_options": {"pretrained": False}},
    )
    monkeypatch.setattr(reproduce, "FAITHFUL", shorter(reproduce.FAITHFUL))
    monkeypatch.setattr(reproduce, "RIGHT", shorter(reproduce.RIGHT))
    kept = list(reproduce.TRIED.items())[:2]
    monkeypatch.setattr(reproduce, "TRIED", {name: shorter(choice) for name, choice in kept})


@pytest.mark.usefixtures("small")
def test_report_000_in_small(tmp_path: Path) -> None:
    """Every part has its figures; random texts beat no placebo; the table and pictures appear; no text is kept."""
    write_posts(tmp_path)
    told = reproduce.run(ReproduceOptions(tmp_path, tmp_path / "out", quick=True))
    assert set(told["curves"]) == {f"{COIN} series", f"{COIN} chromagram"}
    assert set(told["faults"]) >= {"all faults", "no fault", "only spam", "all but random_split"}
    assert told["trials"] == 2
    assert told["winner"] is None
    assert told["correlations"][COIN]["days"] >= 40
    assert told["matches"]["positive"]["n"] == 10
    table = (tmp_path / "out" / "000.md").read_text()
    assert "The plainest matcher ships" in table
    assert "46760" in table
    for name in ("curves", "examples", "matches", "pictures_positive", "daily_BTC"):
        assert (tmp_path / "out" / f"000_{name}.png").is_file(), name
    held = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"worda otherb" not in held


def test_vectors_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reader takes them from the file and asks the encoder for new texts alone."""
    asked: list[int] = []

    def shipped() -> Any:
        return lambda texts: (asked.append(len(texts)), embed(texts))[1]

    monkeypatch.setattr(reproduce, "shipped_embed", shipped)
    first = reproduce.vectors_on_disk(tmp_path / "v.npz")(["a", "b"])
    again = reproduce.vectors_on_disk(tmp_path / "v.npz")(["b", "a", "c"])
    assert asked == [2, 1]
    assert np.array_equal(first, again[[1, 0]])


def test_a_winner_beats_its_placebo_everywhere() -> None:
    """One interval that holds zero is enough to lose."""
    won = {"text_to_series": {"gain_interval": [0.01, 0.03]}, "series_to_text": {"gain_interval": [0.02, 0.03]}}
    lost = won | {"series_to_text": {"gain_interval": [-0.01, 0.03]}}
    assert reproduce.winner({"a": {"runs": [won, lost]}, "b": {"runs": [won, won]}}) == "b"
    assert reproduce.winner({"a": {"runs": [lost]}, "c": {"runs": [{"collapsed": "yes"}]}}) is None


def test_the_report_is_registered() -> None:
    """`moodtape reproduce 000` finds it."""
    assert tasks("reproduce")["000"] is reproduce
