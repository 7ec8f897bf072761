"""Event study: does a market answer to a kind of post? Volume, volatility and moves after it, beside matched controls.

An event is the first minute that opens after a post and the latency; of a rule's events within 256 minutes only the first
counts. Each is ranked among control minutes of the same market, time of day, volatility before and 45 days; ranks of events
that mean nothing are uniform, which gives the p-value (MacKinlay, 1997, on event studies; ranks after Corrado, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import STEPS, Minutes
from models.trajectories.measures import DAY, Doubles, Ints, Sums

LATENCY = 30
"""Seconds from a post to the moment from which the market may answer to it."""
HORIZONS = (15, 60, STEPS)
OUTCOMES = ("volume", "volatility", "size", "move")
TESTED = (("volume", 15), ("volatility", 15), ("size", 60), ("move", 60))
"""What is tested; the other horizons are shown, to see an answer fade."""
GRID = 5
CONTROLS = 60
REACH = 45 * DAY
NEAR_CLOCK = 30
NEAR_VOLATILITY = (0.2, 0.5)
FEWEST_CONTROLS = 20
FEWEST_EVENTS = 8
BEFORE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One market prepared for events: sums over its minutes, and what controls are chosen by, on a grid of five minutes."""

    tape: Minutes
    sums: Sums
    at: Ints
    clock: Ints
    calm: Doubles
    after: dict[tuple[str, int], Doubles]

    @classmethod
    def of(cls, tape: Minutes) -> Field:
        """Prepare a market."""
        sums = Sums.of(tape)
        at = np.arange(STEPS, len(tape.mid) - STEPS - 1, GRID, dtype=np.int64)
        after = outcomes(tape, sums, at)
        calm = sums.log_volatility(at - STEPS, at)
        sound = np.isfinite(calm) & np.logical_and.reduce([np.isfinite(v) for v in after.values()])
        at = at[sound]
        clock = (tape.first + at) % DAY
        return cls(tape, sums, at, clock, calm[sound], {key: v[sound] for key, v in after.items()})


def outcomes(tape: Minutes, sums: Sums, at: Ints) -> dict[tuple[str, int], Doubles]:
    """By (outcome, horizon), float64[n] at tape indices: logs over the hour before, for ``move`` percent."""
    found: dict[tuple[str, int], Doubles] = {}
    volume = np.log(np.maximum(sums.mean(sums.volume, at - BEFORE, at, sums.traded), 1e-12))
    volatility = sums.log_volatility(at - BEFORE, at)
    mid = np.where(tape.mid > 0, tape.mid, np.nan)
    for horizon in HORIZONS:
        later = np.log(np.maximum(sums.mean(sums.volume, at, at + horizon, sums.traded), 1e-12))
        found["volume", horizon] = later - volume
        found["volatility", horizon] = sums.log_volatility(at + 1, at + horizon) - volatility
        move = 100.0 * (mid[at + horizon - 1] / mid[at] - 1.0)
        found["move", horizon] = move
        found["size", horizon] = np.log(np.maximum(np.abs(move), 1e-3)) - volatility
    return found


def event_minutes(times: Ints) -> Ints:
    """Epoch minutes of the events of posts (epoch seconds): the first of those within 256 minutes of one another."""
    minutes = np.unique(-(-(np.asarray(times, dtype=np.int64) + LATENCY) // 60))
    kept: list[int] = []
    for minute in minutes.tolist():
        if not kept or minute - kept[-1] >= STEPS:
            kept.append(minute)
    return np.array(kept, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Events of one rule on one market, at epoch minutes ``minute``: int64[n].

    By (outcome, horizon), float64[n]: the ``share`` of controls below each event, and its ``gap`` to their median.
    """

    minute: Ints
    share: dict[tuple[str, int], Doubles]
    gap: dict[tuple[str, int], Doubles]


def rank(field: Field, minutes: Ints, seed: int = 0) -> Ranked:
    """Rank events (epoch minutes, apart by 256 or more) among their controls; events without enough of these are left out."""
    rng = np.random.default_rng(seed)
    index = minutes - field.tape.first
    index = index[(index >= STEPS) & (index < len(field.tape.mid) - STEPS - 1)]
    own = outcomes(field.tape, field.sums, index)
    calm = field.sums.log_volatility(index - STEPS, index)
    sound = np.isfinite(calm) & np.logical_and.reduce([np.isfinite(v) for v in own.values()])
    kept: list[int] = []
    share: dict[tuple[str, int], list[float]] = {key: [] for key in own}
    gap: dict[tuple[str, int], list[float]] = {key: [] for key in own}
    for n in np.flatnonzero(sound):
        controls = _controls(field, index, int(index[n]), float(calm[n]), rng)
        if len(controls) < FEWEST_CONTROLS:
            continue
        kept.append(int(index[n]) + field.tape.first)
        for key, values in own.items():
            beside = field.after[key][controls]
            below = (beside < values[n]).sum() + 0.5 * (beside == values[n]).sum() + rng.random()
            share[key].append(float(below / (len(controls) + 1)))
            gap[key].append(float(values[n] - np.median(beside)))
    return Ranked(
        np.array(kept, dtype=np.int64),
        {key: np.array(values) for key, values in share.items()},
        {key: np.array(values) for key, values in gap.items()},
    )


def _controls(field: Field, events: Ints, event: int, calm: float, rng: np.random.Generator) -> Ints:
    """Grid positions of controls: same clock, like volatility before, near in time, no event of the rule near."""
    low, high = np.searchsorted(field.at, [event - REACH, event + REACH])
    at, clock = field.at[low:high], (field.tape.first + event) % DAY
    turned = np.abs(field.clock[low:high] - clock)
    fits = np.minimum(turned, DAY - turned) <= NEAR_CLOCK
    near = np.searchsorted(events, at)
    before = np.abs(at - events[np.maximum(near - 1, 0)])
    fits &= (np.minimum(before, np.abs(events[np.minimum(near, len(events) - 1)] - at))) >= 2 * STEPS
    for reach in NEAR_VOLATILITY:
        found = np.flatnonzero(fits & (np.abs(field.calm[low:high] - calm) <= reach))
        if len(found) >= FEWEST_CONTROLS:
            break
    chosen = rng.permutation(found)[:CONTROLS]
    return np.asarray(chosen + low, dtype=np.int64)


def p_value(share: Doubles, two_sided: bool) -> float:
    """Of shares that are uniform where events mean nothing; by their mean, whose variance is 1 / (12 n)."""
    if not len(share):
        return 1.0
    z = (float(share.mean()) - 0.5) * sqrt(12 * len(share))
    return float(erfc(abs(z) / sqrt(2))) if two_sided else float(0.5 * erfc(z / sqrt(2)))


def holm(p: Sequence[float], level: float = 0.05) -> NDArray[np.bool_]:
    """Which of these hypotheses are rejected when the chance of any false one is at most ``level`` (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(len(p), dtype=np.bool_)
    for place, n in enumerate(order):
        if p[n] > level / (len(p) - place):
            break
        rejected[n] = True
    return rejected


def figures(ranked: Ranked, seed: int = 0) -> dict[str, Any]:
    """Of one rule on one market: per outcome and horizon the median over controls with its bootstrap interval, and p-values."""
    n, rng = len(ranked.minute), np.random.default_rng(seed)
    found: dict[str, Any] = {"n": n, "outcomes": {}}
    for (outcome, horizon), gap in sorted(ranked.gap.items()):
        draws = np.median(gap[rng.integers(n, size=(400, n))], axis=1) if n else np.zeros(1)
        middle, low, high = (float(v) for v in (np.median(gap) if n else 0.0, *np.quantile(draws, [0.025, 0.975])))
        told = (lambda v: v) if outcome == "move" else np.exp
        share = ranked.share[outcome, horizon]
        found["outcomes"].setdefault(outcome, {})[str(horizon)] = {
            "percent" if outcome == "move" else "ratio": round(float(told(middle)), 4),
            "interval": [round(float(told(low)), 4), round(float(told(high)), 4)],
            "above": int((share > 0.5).sum()),
            "p": p_value(share, two_sided=outcome == "move"),
        }
    return found
