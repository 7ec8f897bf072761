"""Windows of a market on a grid of minutes, each with what was known before it and what followed: the walk-forward's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import STEPS, Minutes
from models.trajectories.band import (
    HORIZONS,
    KNOTS,
    LATE,
    LEVELS,
    STRIDE,
    WEEK,
    WEEK_STRIDE,
    changes,
)
from models.trajectories.measures import DAY, Doubles, Ints, Sums, measures
from training.trajectories.tape import Tape

FULL = 0.8
"""Share of the day and of the 256 minutes before a window that must be known."""
COMPLETE = 0.99
"""Share of a window's own minutes that must be known."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """``n`` windows ordered by start. ``market``: index into ``names``; ``start``: epoch minute, both int64[n].

    ``inputs``: float64[n, 3, measures]; ``target``: float64[n, 3], log volatility over each horizon; ``moves``:
    float64[n, knots], percent; ``day_before``: float64[n], log volatility of the day before.
    """

    names: tuple[str, ...]
    market: Ints
    start: Ints
    inputs: Doubles
    target: Doubles
    moves: Doubles
    day_before: Doubles

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: NDArray[Any]) -> Windows:
        """The windows at these positions, or under this mask."""
        return Windows(self.names, **{name: getattr(self, name)[index] for name in ARRAYS})

    @property
    def days(self) -> list[tuple[int, int]]:
        """(market, day since the epoch) of each window."""
        return list(zip(self.market.tolist(), (self.start // DAY).tolist(), strict=True))


ARRAYS = ("market", "start", "inputs", "target", "moves", "day_before")


def longest(tapes: Mapping[tuple[str, str], Tape]) -> list[Minutes]:
    """One tape per symbol, of the venue with the most minutes known, by symbol."""
    best: dict[str, Tape] = {}
    for (_, symbol), tape in sorted(tapes.items()):
        if symbol not in best or _known(tape) > _known(best[symbol]):
            best[symbol] = tape
    return [best[symbol].minutes for symbol in sorted(best)]


def _known(tape: Tape) -> int:
    return int(np.isfinite(tape.mid).sum())


def joined(names: tuple[str, ...], parts: Sequence[Windows]) -> Windows:
    """All parts as one, ordered by start."""
    together = Windows(names, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS})
    return together.take(np.argsort(together.start, kind="stable"))


def windows_of(tapes: Sequence[Minutes]) -> Windows:
    """All windows of the tapes that start on the grid and whose past and outcome are known."""
    names = tuple(tape.symbol for tape in tapes)
    return joined(names, [_windows(tape, market, names) for market, tape in enumerate(tapes)])


def _windows(tape: Minutes, market: int, names: tuple[str, ...]) -> Windows:
    sums = Sums.of(tape)
    at = np.arange((-tape.first) % STRIDE, len(tape.mid) - STEPS, STRIDE, dtype=np.int64)
    spans = ((at - DAY, at, FULL), (at - STEPS, at, FULL), (at, at + STEPS, COMPLETE))
    at = at[np.logical_and.reduce([_share(sums, low, high) >= least for low, high, least in spans])]
    ends = [at + min(horizon, STEPS - 1) for horizon in HORIZONS]
    found = Windows(
        names,
        market=np.full(len(at), market),
        start=tape.first + at,
        inputs=measures(sums, at, HORIZONS),
        target=np.stack([sums.log_volatility(at + 1, end + 1) for end in ends], axis=1),
        moves=changes(tape, at, KNOTS),
        day_before=sums.log_volatility(at - DAY, at),
    )
    parts = [_finite(getattr(found, name)) for name in ARRAYS]
    return found.take(np.logical_and.reduce(parts))


def _finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))), dtype=np.bool_)


def _share(sums: Sums, low: Ints, high: Ints) -> Doubles:
    a, b = np.clip(low, 0, len(sums.count) - 1), np.clip(high, 0, len(sums.count) - 1)
    return np.asarray((sums.count[b] - sums.count[a]) / (high - low), dtype=np.float64)


def climatologies(tapes: Sequence[Minutes], windows: Windows, least: int = 100) -> dict[tuple[int, int], Doubles]:
    """Quantiles (knots, levels) of the moves of the week before each (market, day); days with too few moves are left out."""
    found = {}
    for market, day in sorted(set(windows.days)):
        tape = tapes[market]
        end = min(day * DAY - LATE - tape.first, len(tape.mid)) - STEPS
        starts = np.arange(max(day * DAY - WEEK - tape.first, 0), max(end, 0), WEEK_STRIDE, dtype=np.int64)
        moves = changes(tape, starts, KNOTS)
        moves = moves[np.isfinite(moves).all(axis=1)]
        if len(moves) >= least:
            found[market, day] = np.quantile(moves, LEVELS, axis=0).T
    return found
