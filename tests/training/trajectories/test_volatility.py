"""Volatility before a post comes from its candles, or honestly from earlier windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domain.candles import volatility_before
from models.trajectories.index import realised
from tests.training.synthetic import write_candles, write_pairs
from training.trajectories.pairs import before_posts, load_pairs, load_tapes
from training.trajectories.tape import moment


def test_candles_come_first(tmp_path: Path) -> None:
    """With candles before every post each value is that of the 256 minutes before it, and none is an estimate."""
    pairs = load_pairs([write_pairs(tmp_path / "p.parquet", 20)])
    tapes = load_tapes([write_candles(tmp_path / "c.parquet", 10)])
    values, estimated = before_posts(pairs, tapes)
    assert not estimated.any()
    context = tapes["somewhere", "NEW/USDT"].context(moment(pairs.time[7]))
    assert values[7] == pytest.approx(volatility_before(context.mid))


def test_without_candles_only_ended_windows_count(tmp_path: Path) -> None:
    """The first post has nothing to lean on; a later one takes the median of windows that had ended before it."""
    pairs = load_pairs([write_pairs(tmp_path / "p.parquet", 20)])
    values, estimated = before_posts(pairs, {})
    assert estimated.all()
    assert np.isnan(values[0])
    assert values[5] == pytest.approx(np.median(realised(pairs.change[:5])))
    pairs.change[5:] = np.float16(9.0)
    assert before_posts(pairs, {})[0][5] == values[5]
