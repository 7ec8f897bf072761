"""Intervals of ratios of sums by a block bootstrap over days."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAY = 86_400


def interval(
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    times: NDArray[np.int64],
    *,
    draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Central interval of ``sum(top) / sum(bottom)`` when whole days (UTC, by epoch seconds) are drawn with replacement."""
    _, day = np.unique(times // DAY, return_inverse=True)
    tops, bottoms = np.bincount(day, top), np.bincount(day, bottom)
    picks = np.random.default_rng(seed).integers(len(tops), size=(draws, len(tops)))
    ratios = tops[picks].sum(axis=1) / np.maximum(bottoms[picks].sum(axis=1), 1e-12)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
