"""Whether an answer depends on what came after its moment: every later minute is replaced by noise, and no byte may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from domain.types import Minutes

Answer = Callable[[Minutes, int], bytes]
"""A tape and an epoch minute to the bytes of what is said there."""


def poisoned(tape: Minutes, minute: int, seed: int = 0) -> Minutes:
    """The tape with noise in the place of every candle that had not closed by an epoch minute."""
    at, rng = max(minute - tape.first, 0), np.random.default_rng([seed, minute])
    mid, volume = tape.mid.copy(), tape.volume.copy()
    count = len(mid) - at
    mid[at:], volume[at:] = rng.uniform(1e-3, 1e6, count), rng.uniform(0, 1e9, count)
    return Minutes(tape.symbol, tape.first, mid, volume)


def changed_by_future(answer: Answer, tape: Minutes, minutes: Sequence[int], seed: int = 0) -> list[int]:
    """The epoch minutes at which the answer is another one once the future is noise; empty where nothing leaks."""
    return [m for m in minutes if answer(tape, m) != answer(poisoned(tape, m, seed), m)]
