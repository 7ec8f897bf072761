"""The whole of report 004 on two tiny sets: every part, the table, the pictures, and going on after a stop."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.series.test_series import write_waves
from tests.training.synthetic import write_candles
from training.registry import ReproduceOptions, tasks
from training.series import baselines, candle_use, reproduce
from training.series.evaluate import spread


def _fewer(kind: Any, _features: int, **options: Any) -> Any:
    return kind(168, **options)


def test_report_004_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each method has its row, gains their intervals, and a second run takes finished parts from disk."""
    write_waves(tmp_path, 3, 40, 0, "UWaveGestureLibrary")
    write_waves(tmp_path, 2, 30, 1, "RacketSports")
    write_candles(tmp_path / "candles.parquet", 12)
    monkeypatch.setattr(reproduce, "OTHERS", ("RacketSports",))
    monkeypatch.setattr(reproduce, "ACTIVITY", ("RacketSports",))
    monkeypatch.setattr(reproduce, "STEPS", 4)
    monkeypatch.setattr(candle_use, "PRETRAIN", 8)
    monkeypatch.setattr(baselines, "MiniRocket", partial(_fewer, baselines.MiniRocket))
    monkeypatch.setattr(candle_use, "UNTIL", "2024-01-05T00:00:00+00:00")
    monkeypatch.setattr(candle_use, "SYMBOLS", ("NEW/USDT",))
    options = ReproduceOptions(tmp_path, tmp_path / "out", quick=True)
    told = reproduce.run(options)
    assert set(told["gestures"]) == {"random", "scratch", *reproduce.MAIN, *reproduce.REST}
    assert set(told["gains"]["vicreg"]) >= {"few_shot over random", "few_shot over scratch"}
    assert set(told["transfer"]) == {"UWaveGestureLibrary to RacketSports", "RacketSports to UWaveGestureLibrary"}
    table = (tmp_path / "out" / "004.md").read_text()
    assert "clip (sees labels)" in table
    assert "HAR and vicreg encoder" in table
    assert all((tmp_path / "out" / f"004_{name}.png").is_file() for name in ("curves", "dissection", "correlation"))
    before = json.loads((tmp_path / "out" / "004.json").read_text())
    monkeypatch.setattr(reproduce.evaluate, "floors", pytest.fail)
    assert reproduce.run(options)["gestures"] == before["gestures"]


def test_the_report_is_registered() -> None:
    """`moodtape reproduce 004` finds it."""
    assert tasks("reproduce")["004"] is reproduce


def test_spread_is_students() -> None:
    """Of 1, 2, 3: mean 2, half width 4.303 / sqrt(3)."""
    found = spread([1, 2, 3])
    assert found["mean"] == 2
    assert found["interval"][1] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)
