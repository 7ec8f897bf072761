"""Recall of the right partner both ways, beside chance and placebos, and the alarm that notices a collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from training.metrics import interval

KS = (1, 5, 10)
Doubles = NDArray[np.float64]


class Collapsed(InputError):
    """A training that has found a trivial solution; other settings are needed."""

    code = "collapsed"


def ranks(queries: Tensor, pool: Tensor) -> NDArray[np.int64]:
    """Place (from 1) of each query's own row of the pool by dot product; ties count half of those before and behind."""
    scores = queries @ pool.T
    own = scores.diagonal()[:, None]
    above, level = (scores > own).sum(1), (scores == own).sum(1) - 1
    return (1 + above + level // 2).numpy().astype(np.int64)


def figures(places: NDArray[np.int64]) -> dict[str, float]:
    """R@1, R@5, R@10, median rank and mean reciprocal rank."""
    found = {f"r_at_{k}": round(float((places <= k).mean()), 5) for k in KS}
    return found | {"median_rank": float(np.median(places)), "mrr": round(float((1 / places).mean()), 5)}


def chance(pool: int) -> dict[str, float]:
    """What guessing gives in a pool of that size."""
    found = {f"r_at_{k}": round(min(k / pool, 1.0), 5) for k in KS}
    harmonic = float(np.sum(1 / np.arange(1, pool + 1)))
    return found | {"median_rank": (pool + 1) / 2, "mrr": round(harmonic / pool, 5)}


def shuffled(symbols: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """For each row another row of the same symbol, by lot: words of any time."""
    order = np.arange(len(symbols))
    for symbol in sorted(set(symbols.tolist())):
        members = np.random.default_rng(seed).permutation(np.flatnonzero(symbols == symbol))
        order[members] = np.roll(members, 1)
    return order


def neighbours(symbols: NDArray[Any], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the next one in time of the same symbol: words of the same days, which know the market but not the case."""
    order = np.arange(len(symbols))
    for symbol in sorted(set(symbols.tolist())):
        members = np.flatnonzero(symbols == symbol)
        members = members[np.argsort(times[members], kind="stable")]
        order[members] = np.roll(members, -1)
    return order


def both_ways(
    texts: Tensor, series: Tensor, symbols: NDArray[Any], times: NDArray[np.int64], seed: int = 0
) -> dict[str, Any]:
    """All figures in both directions; ``gain`` is R@10 over that of the placebo by time, with a 95 % interval by days."""
    near, far = neighbours(symbols, times), shuffled(symbols, seed)
    found: dict[str, Any] = {"n": len(texts), "chance": chance(len(texts))}
    for name, flip in (("text_to_series", False), ("series_to_text", True)):
        own = ranks(series, texts) if flip else ranks(texts, series)
        placebo = ranks(series, texts[near]) if flip else ranks(texts[near], series)
        words = ranks(series, texts[far]) if flip else ranks(texts[far], series)
        top = (own <= 10).astype(np.float64) - (placebo <= 10)
        low, high = interval(top, np.ones(len(top)), times)
        found[name] = {
            "model": figures(own), "placebo_by_time": figures(placebo), "shuffled": figures(words),
            "gain": round(float(top.mean()), 5), "gain_interval": [round(low, 5), round(high, 5)],
        }  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class Health:
    """What tells a collapse: ``loss`` over ln n, mean cosine of different rows on either side, largest share of one nearest."""

    loss_over_ln: float
    likeness: float
    hubness: float
    r_at_10: float
    chance: float

    @property
    def reasons(self) -> list[str]:
        """Why this is a collapse; empty where it is none."""
        found = []
        if self.likeness > 0.99:
            found.append(f"embeddings are all alike (mean cosine {self.likeness:.3f})")
        if self.hubness > 0.5:
            found.append(f"one row is nearest to {self.hubness:.0%} of the others")
        if found and abs(self.loss_over_ln - 1) < 0.02:
            found.append("the loss stands at ln B")
        if found and abs(self.loss_over_ln - 0.5) < 0.02:
            found.append("the loss stands at ½ ln B")
        if found and self.r_at_10 <= 1.25 * self.chance:
            found.append(f"R@10 is at chance ({self.r_at_10:.3f} of {self.chance:.3f})")
        return found


def health(texts: Tensor, series: Tensor, loss: float, batch: int) -> Health:
    """The state of embeddings (n, d) whose loss on batches of that size is ``loss``."""
    likeness = 0.0
    for side in (texts, series):
        unit = torch.nn.functional.normalize(side, dim=1)
        total, count = unit.sum(0).square().sum(), len(unit)
        likeness = max(likeness, float((total - count) / (count * (count - 1))))
    scores = texts @ series.T
    nearest = [scores.argmax(1), scores.argmax(0)]
    hub = max(float(n.bincount(minlength=len(texts)).max()) / len(texts) for n in nearest)
    places = ranks(texts, series)
    return Health(loss / math.log(batch), likeness, hub, float((places <= 10).mean()), min(10 / len(texts), 1.0))


def alarm(states: Sequence[Health]) -> None:
    """Stop a run that has collapsed and stays so: a network that has hardly begun looks like a collapse once.

    Raises:
        Collapsed: at each of the last two evaluations two signs at least stand together; the message says which.
    """
    if len(states) >= 2 and all(len(state.reasons) >= 2 for state in states[-2:]):
        raise Collapsed(
            f"The training has collapsed: {'; '.join(states[-1].reasons)}. "
            "Use normalised embeddings with InfoNCE or SigLIP, or lower rates."
        )
