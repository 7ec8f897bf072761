"""What was known of markets at many moments, as arrays: from contexts one by one, or from a whole tape at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.series import PAST, QUARTER, PastWindows
from domain.types import STEPS, MarketContext, Minutes

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What was known at n moments. ``volume``, ``mid``: (n, 256) minutes, NaN where missing; others (n, PAST) windows.

    ``minute``: int64[n], the epoch minute at which the forecast is made; ``windows_*`` end at or before it.
    """

    minute: NDArray[np.int64]
    volume: Doubles
    mid: Doubles
    window_volume: Doubles
    window_volatility: Doubles
    window_posts: Doubles
    window_authors: Doubles


def past_of(contexts: Sequence[MarketContext]) -> Past:
    """The contexts of a market at several moments as arrays."""

    def stacked(name: str) -> Doubles:
        rows = [getattr(c.windows, name) if c.windows else np.full(PAST, np.nan) for c in contexts]
        return np.array(rows, dtype=np.float64).reshape(len(contexts), PAST)

    return Past(
        minute=np.array([int(c.as_of.timestamp()) // 60 for c in contexts], dtype=np.int64),
        volume=np.array([c.volume for c in contexts], dtype=np.float64),
        mid=np.array([c.mid for c in contexts], dtype=np.float64),
        window_volume=stacked("volume"),
        window_volatility=stacked("volatility"),
        window_posts=stacked("posts"),
        window_authors=stacked("authors"),
    )


def past_of_grid(tape: Minutes, grid: PastWindows, lowest: int, minutes: NDArray[np.int64]) -> Past:
    """What was known at many epoch minutes of one market; ``grid``: its windows from number ``lowest`` on."""
    place = minutes // QUARTER - PAST - lowest
    near = np.clip(minutes - tape.first, 0, len(tape.mid) + STEPS)

    def windows_of(values: Doubles) -> Doubles:
        return np.lib.stride_tricks.sliding_window_view(values, PAST)[place]

    def minutes_of(values: Doubles) -> Doubles:
        padded = np.concatenate([np.full(STEPS, np.nan), values, np.full(STEPS, np.nan)])
        return np.lib.stride_tricks.sliding_window_view(padded, STEPS)[near]

    return Past(
        minute=minutes,
        volume=minutes_of(tape.volume),
        mid=minutes_of(tape.mid),
        window_volume=windows_of(grid.volume),
        window_volatility=windows_of(grid.volatility),
        window_posts=windows_of(grid.posts),
        window_authors=windows_of(grid.authors),
    )


def joined(pasts: Sequence[Past]) -> Past:
    """The moments of all, one after another."""
    return Past(**{name: np.concatenate([getattr(past, name) for past in pasts]) for name in Past.__slots__})
