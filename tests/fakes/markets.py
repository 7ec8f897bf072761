"""Markets made up for tests: a week of windows before a moment."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from domain.series import PAST, PastWindows
from domain.types import STEPS, MarketContext
from training.trajectories.tape import Tape, make_tape

AT = datetime(2024, 5, 6, 12, 7, tzinfo=UTC)
MINUTE = int(AT.timestamp()) // 60


def week(rate: float = 100.0, seed: int = 0) -> PastWindows:
    """Windows of varying volume around ``rate`` a minute, with some posts."""
    rng = np.random.default_rng(seed)
    volume = rate * rng.lognormal(0, 0.5, PAST)
    return PastWindows(volume, rng.lognormal(-7, 0.3, PAST), rng.poisson(3, PAST).astype(float), np.ones(PAST))


def context(rate: float = 100.0, last: float = 1.0, as_of: datetime = AT) -> MarketContext:
    """A market with a known past whose last minutes traded ``last`` times the usual."""
    rng = np.random.default_rng(1)
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, STEPS)))
    return MarketContext("BTC/USDT", as_of, mid, rate * last * rng.lognormal(0, 0.3, STEPS), windows=week(rate))


def tape(days: int = 12, seed: int = 0, end: int = MINUTE + 600) -> Tape:
    """A tape of minutes with a daily course and a few holes, and posts by three authors."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(end - days * 1440, end)
    wave = np.exp(np.sin(minutes / 1440 * 2 * np.pi) + 0.5 * rng.normal(size=len(minutes)))
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, len(minutes))))
    kept = np.sort(rng.choice(len(minutes), int(0.97 * len(minutes)), replace=False))
    posts = np.sort(rng.integers(minutes[0] * 60, end * 60, 900))
    made = make_tape("BTC/USDT", minutes[kept] * 60, mid[kept], mid[kept], 10 * wave[kept], posts=posts)
    return Tape(made.symbol, made.first, made.mid, made.volume, made.posts, tuple(rng.choice(["a", "b", "c"], 900)))
