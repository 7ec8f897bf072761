"""Volatility before a post: from its candles where they are, else from the symbol's windows that had ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from domain.types import STEPS, Floats
from models.series_index import realised
from models.trajectories import volatility_before
from training.context import Tape, moment
from training.pairs import Pairs

RECENT = 50
"""Windows over which an estimate takes the median."""


def find_tape(tapes: Mapping[tuple[str, str], Tape], exchange: str, symbol: str) -> Tape | None:
    """The candles of the pair's own venue, else the longest of any venue with that symbol."""
    own = tapes.get((exchange, symbol))
    others = [tape for (_, name), tape in tapes.items() if name == symbol]
    return own or max(others, key=lambda tape: len(tape.mid), default=None)


def before_posts(pairs: Pairs, tapes: Mapping[tuple[str, str], Tape]) -> tuple[Floats, NDArray[np.bool_]]:
    """``(volatility float32[n], estimated bool[n])`` for pairs ordered by time.

    An estimate is the median realised volatility of the symbol's last windows that had ended before the post; where
    there is none yet, of all symbols' last windows; where there is none at all, the pair gets NaN.
    """
    measured = np.full(len(pairs), np.nan)
    for i in range(len(pairs)):  # a loop, because each post has its own venue and minute
        tape = find_tape(tapes, pairs.exchange[i], pairs.symbol[i])
        if tape is not None:
            value = volatility_before(tape.context(moment(pairs.time[i])).mid)
            measured[i] = np.nan if value is None else value
    estimated = ~np.isfinite(measured)
    after = realised(pairs.change)
    ends = pairs.start + STEPS * 60
    for i in np.flatnonzero(estimated).tolist():
        past = np.flatnonzero((ends[:i] <= pairs.time[i]) & (pairs.symbol[:i] == pairs.symbol[i]))
        if not len(past):
            past = np.flatnonzero(ends[:i] <= pairs.time[i])
        measured[i] = np.median(after[past[-RECENT:]]) if len(past) else np.nan
    return measured.astype(np.float32), estimated
