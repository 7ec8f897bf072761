"""The market context: windows that end at the moment, nothing from after it, nothing invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from domain.series import PAST, QUARTER
from domain.types import STEPS
from training.trajectories.tape import make_tape, market_context

AS_OF = datetime(2024, 3, 1, 12, 0, 30, tzinfo=UTC)
END = int(AS_OF.timestamp()) // 60


def candles(minutes: np.ndarray) -> dict[str, np.ndarray]:
    """One candle per epoch minute: its price and volume are told by its minute."""
    ago = (END - minutes).astype(np.float64)
    return {"opened_at": minutes * 60, "open_": 100 + ago, "close": 102 + ago, "volume": ago}


FULL = np.arange(END - 1440, END)


def test_windows_end_at_the_floored_minute() -> None:
    """The last window holds the 256 candles that had closed; mid is (open + close) / 2, oldest first."""
    found = market_context("BTC/USDT", AS_OF, **candles(FULL))
    assert found.as_of == AS_OF.replace(second=0)
    assert found.mid == pytest.approx(101 + np.arange(STEPS, 0, -1))
    assert found.volume == pytest.approx(np.arange(STEPS, 0, -1))
    assert found.windows is not None
    assert found.windows.volume.shape == (PAST,)
    assert found.windows.volume[-1] == pytest.approx(np.arange(1, QUARTER + 1).mean())
    assert np.isfinite(found.windows.volume[-96:]).all()


def test_future_candles_and_posts_change_nothing() -> None:
    """Whatever opens at the minute of the question or later, or is posted then, is not looked at."""
    later = np.arange(END, END + 600)
    poison = {k: np.concatenate([candles(FULL)[k], v * 1000]) for k, v in candles(later).items() if k != "opened_at"}
    times = np.concatenate([FULL, later]) * 60
    posts = np.array([END - 5, END - 300, END - 300]) * 60
    clean = market_context("BTC/USDT", AS_OF, **candles(FULL), posts=posts)
    after = market_context(
        "BTC/USDT", AS_OF, opened_at=times, **poison, posts=np.concatenate([posts, np.array([END, END + 9]) * 60])
    )
    for name in ("mid", "volume"):
        assert np.array_equal(getattr(clean, name), getattr(after, name))
    assert clean.windows is not None
    assert after.windows is not None
    for name in clean.windows.__slots__:
        assert np.array_equal(getattr(clean.windows, name), getattr(after.windows, name), equal_nan=True)
    assert clean.windows.posts[-21:].tolist() == [0, 2, *[0] * 18, 1]


def test_gaps_are_never_filled() -> None:
    """A missing minute is NaN; a window keeps its rate until a fifth of its minutes is missing, then it is NaN."""
    for missing, thin in ((3, False), (4, True)):
        kept = np.concatenate([FULL[:-12], FULL[-12 + missing :]])
        found = market_context("BTC/USDT", AS_OF, **candles(kept))
        assert np.isnan(found.mid).sum() == np.isnan(found.volume).sum() == missing
        assert found.windows is not None
        assert np.isnan(found.windows.volume[-1]) == thin
        assert np.isfinite(found.windows.volume[-90:-1]).all()


def test_before_the_tape_everything_is_missing() -> None:
    """A moment before the first candle has no mid price and no volume; an empty tape neither."""
    early = market_context("BTC/USDT", AS_OF - timedelta(days=30), **candles(FULL))
    empty = make_tape("BTC/USDT", [], [], [], []).context(AS_OF)
    for found in (early, empty):
        assert np.isnan(found.mid).all()
        assert np.isnan(found.volume).all()
