"""Hype on windows of candles (or of posts alone), against the base rate and the level of the last window.

Forecasts 256 minutes apart, so that no two outcomes of a market overlap. ``bss`` is the Brier skill over the base rate of
the very rows scored; ``skill_over_persistence`` the same over the frequencies of hot after hot and hot after cool, taken
from the rows before ``--since`` where there are any; ``level_auc`` ranks by the last window over the threshold alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import STEPS
from models.hype.logistic import LogisticHype, load_hype
from models.manifest import ARTIFACTS
from training.hype.windows import Windows, load_activity, windows
from training.metrics import auc, interval, reliability_error
from training.registry import EvaluateOptions

Doubles = NDArray[np.float64]


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures of the shipped model on candles (with posts, if given) of the published columns.

    Raises:
        InputError: no file is given, or nothing is left to score.
    """
    files = [*options.data, *options.candles, *options.posts]
    if not files:
        raise InputError("Say which candles to score: --data FILE (and more for posts).")
    model = load_hype(options.artifacts or ARTIFACTS)
    tapes, measure = load_activity(files)
    rows = windows(tapes, STEPS)
    start = options.since.timestamp() if options.since else -np.inf
    scored = rows.take(rows.time >= start)
    if options.limit and len(scored) > options.limit:
        chosen = np.random.default_rng(options.seed).permutation(len(scored))[: options.limit]
        scored = scored.take(np.sort(chosen))
    if not len(scored):
        raise InputError("No window is left to score: too few minutes before --since's end, or too many gaps.")
    earlier = rows.take(rows.time + STEPS * 60 <= start)
    return {"measure": measure, **figures(model, scored, earlier if len(earlier) else scored)}


def figures(model: LogisticHype, scored: Windows, earlier: Windows) -> dict[str, Any]:
    """All figures on rows; persistence's two frequencies come from ``earlier``."""
    said = model.probability(scored.features)
    hot = scored.hot.astype(np.float64)
    brier, base = (said - hot) ** 2, (hot.mean() - hot) ** 2
    steady = (persistence(earlier, scored) - hot) ** 2
    return {
        "n": len(scored),
        "base_rate": round(float(hot.mean()), 5),
        "auc": auc(scored.hot, said),
        "level_auc": auc(scored.hot, scored.level),
        "bss": _skill(brier, base),
        "ece": round(reliability_error(said, hot), 5),
        "skill_over_persistence": _skill(brier, steady),
        "intervals": {
            "bss": _spread(brier, base, scored.time),
            "skill_over_persistence": _spread(brier, steady, scored.time),
        },
    }


def persistence(earlier: Windows, scored: Windows) -> Doubles:
    """What hotness says of the next window's: how often a hot (cool) window was followed by a hot one."""
    was, is_now = earlier.level > 0, scored.level > 0
    after_hot = (earlier.hot[was].sum() + 0.5) / (was.sum() + 1)
    after_cool = (earlier.hot[~was].sum() + 0.5) / ((~was).sum() + 1)
    said: Doubles = np.where(is_now, after_hot, after_cool)
    return said


def _skill(ours: Doubles, theirs: Doubles) -> float | None:
    return round(float(1 - ours.sum() / theirs.sum()), 5) if theirs.sum() > 0 else None


def _spread(ours: Doubles, theirs: Doubles, times: NDArray[np.int64]) -> list[float] | None:
    if theirs.sum() <= 0:
        return None
    low, high = interval(ours, theirs, times)
    return [round(1 - high, 5), round(1 - low, 5)]
