"""Figures of a hype model on rows, beside its baselines: the base rate, the level, persistence; with intervals by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.hype.forecast import Head
from training.metrics import DAY, auc, interval, reliability_error

Doubles = NDArray[np.float64]
DRAWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is fitted to and scored: windows of symbols or posts of authors, ordered by time.

    ``features``: (n, f); ``sequence``: (n, steps, channels), or (n, 0, 0) where no model asks for it; ``level``: the
    baseline that ranks without a model, log of the last activity over the threshold; ``excess``: log of the next activity
    over the threshold, which is what is forecast; ``time``: int64[n], epoch seconds, the moment of the forecast;
    ``market``: of whom.
    """

    features: Doubles
    sequence: Doubles
    level: Doubles
    excess: Doubles
    time: NDArray[np.int64]
    market: NDArray[Any]

    @property
    def hot(self) -> NDArray[np.bool_]:
        """Whether the next activity exceeded the threshold."""
        return np.asarray(self.excess > 0)

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: NDArray[Any]) -> Rows:
        """The rows at these positions, or under this mask."""
        return Rows(**{name: getattr(self, name)[index] for name in self.__slots__})


def concatenated(parts: Sequence[Rows]) -> Rows:
    """The rows of one part after another; there must be one."""
    return Rows(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in Rows.__slots__})


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, by time, those of one moment by market."""
    joint = concatenated(parts)
    return joint.take(np.lexsort((joint.market.astype(str), joint.time)))


def figures(head: Head, scored: Rows, earlier: Rows) -> dict[str, Any]:
    """All figures of a head on rows; the baselines' frequencies come from ``earlier``."""
    return scores(head.probability(scored.features, scored.sequence), scored, earlier)


def scores(probability: Doubles, scored: Rows, earlier: Rows, draws: int = DRAWS) -> dict[str, Any]:
    """All figures of probabilities ``probability`` (n) about these rows.

    ``bss`` is the Brier skill over the base rate of the very rows scored; ``skill_over_level`` and
    ``skill_over_persistence`` are over those baselines as probabilities; ``auc_over_level`` is the paired increment.
    """
    hot = scored.hot.astype(np.float64)
    brier, base = (probability - hot) ** 2, (hot.mean() - hot) ** 2
    steady = (persistence(earlier, scored) - hot) ** 2
    level = (level_probability(earlier, scored) - hot) ** 2
    return {
        "n": len(scored),
        "base_rate": round(float(hot.mean()), 5),
        "auc": auc(scored.hot, probability),
        "level_auc": auc(scored.hot, scored.level),
        "persistence_auc": auc(scored.hot, (scored.level > 0).astype(np.float64)),
        "bss": _skill(brier, base),
        "ece": round(reliability_error(probability, hot), 5),
        "skill_over_level": _skill(brier, level),
        "skill_over_persistence": _skill(brier, steady),
        "intervals": {
            "auc": auc_interval(scored.hot, probability, None, scored.time, draws),
            "auc_over_level": auc_interval(scored.hot, probability, scored.level, scored.time, draws),
            "bss": _spread(brier, base, scored.time),
            "skill_over_level": _spread(brier, level, scored.time),
            "skill_over_persistence": _spread(brier, steady, scored.time),
        },
    }


def persistence(earlier: Rows, scored: Rows) -> Doubles:
    """What hotness says of the next window's: how often a hot (cool) window was followed by a hot one."""
    was, is_now = earlier.level > 0, scored.level > 0
    after_hot = (earlier.hot[was].sum() + 0.5) / (was.sum() + 1)
    after_cool = (earlier.hot[~was].sum() + 0.5) / ((~was).sum() + 1)
    chances: Doubles = np.where(is_now, after_hot, after_cool)
    return chances


def level_probability(earlier: Rows, scored: Rows, bins: int = 20) -> Doubles:
    """The level as a probability: how often hot followed among earlier rows of like level (bins of equal counts)."""
    edges = np.unique(np.quantile(earlier.level, np.linspace(0, 1, bins + 1)[1:-1]))
    was, now = np.searchsorted(edges, earlier.level), np.searchsorted(edges, scored.level)
    count = np.bincount(was, minlength=len(edges) + 1)
    hits = np.bincount(was, earlier.hot.astype(np.float64), minlength=len(edges) + 1)
    return np.asarray(((hits + 0.5) / (count + 1))[now], dtype=np.float64)


def auc_interval(
    hot: NDArray[np.bool_],
    ours: Doubles,
    theirs: Doubles | None,
    times: NDArray[np.int64],
    draws: int = DRAWS,
    seed: int = 0,
) -> list[float] | None:
    """Central 95 % interval of the AUC, or of its increment over other scores, when whole days are drawn."""
    days, day = np.unique(times // DAY, return_inverse=True)
    if len(days) < 2 or len(set(hot.tolist())) < 2:
        return None
    order = np.argsort(day, kind="stable")
    edges = np.searchsorted(day[order], np.arange(len(days) + 1))
    rng, increments = np.random.default_rng(seed), []
    for _ in range(draws):
        picks = rng.integers(len(days), size=len(days))
        rows = np.concatenate([order[edges[d] : edges[d + 1]] for d in picks])
        one = auc(hot[rows], ours[rows])
        other = 0.0 if theirs is None else auc(hot[rows], theirs[rows])
        if one is not None and other is not None:
            increments.append(one - other)
    low, high = np.quantile(increments, [0.025, 0.975])
    return [round(float(low), 5), round(float(high), 5)]


def reliability(probability: Doubles, hot: NDArray[np.bool_], bins: int = 10) -> list[dict[str, float]]:
    """The points of a reliability diagram: of each bin of equal counts what was forecast, what happened, and how many."""
    groups = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(probability)))
    return [{"forecast": float(probability[g].mean()), "happened": float(hot[g].mean()), "n": len(g)} for g in groups]


def _skill(ours: Doubles, theirs: Doubles) -> float | None:
    return round(float(1 - ours.sum() / theirs.sum()), 5) if theirs.sum() > 0 else None


def _spread(ours: Doubles, theirs: Doubles, times: NDArray[np.int64]) -> list[float] | None:
    if theirs.sum() <= 0:
        return None
    low, high = interval(ours, theirs, times)
    return [round(1 - high, 5), round(1 - low, 5)]
