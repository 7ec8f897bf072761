"""Meaning of decoded means: groups of near texts that training never saw, and what is said of each.

The decoded mean of a group is set beside its medoid (a real text of it), the nearest training text and a sentence without
a vector. Counted is what stands in at least two texts of the group, so that no candidate gains by repeating one of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import Floats
from models.explanations.explainer import mean, medoid
from models.explanations.gate import direction, names, numbers, words
from training.explanations.meaning import DUPLICATE, Index, neighbours
from training.explanations.scores import content, share

LEAST_NEAR = 0.4
"""Cosine of a text of a group to its first text."""


@dataclass(frozen=True, slots=True)
class Group:
    """``rows``: of 2 to 10 near texts; ``vector``: their mean, of norm 1."""

    rows: list[int]
    vector: Floats


def draw(vectors: Floats, pools: Sequence[Index], many: int, seed: int) -> list[Group]:
    """``many`` groups, evenly from the ``pools`` of held-out rows; sizes are drawn from 2 to 10."""
    lots = np.random.default_rng(seed)
    groups = []
    for pool in pools:
        firsts = lots.permutation(pool)
        near = neighbours(vectors, pool, firsts, 9)
        kept = 0
        for first, row in zip(firsts, near, strict=True):
            cosine = vectors[row] @ vectors[first]
            close = row[(cosine >= LEAST_NEAR) & (cosine < DUPLICATE)][: int(lots.integers(1, 10))]
            if len(close) == 0:
                continue
            rows = [int(first), *close.tolist()]
            groups.append(Group(rows, mean(vectors[rows])))
            kept += 1
            if kept == many // len(pools):
                break
    return groups


def medoids(groups: Sequence[Group], vectors: Floats) -> list[int]:
    """The row of each group's typical text."""
    return [group.rows[medoid(vectors[group.rows])] for group in groups]


def nearest(groups: Sequence[Group], vectors: Floats, train: Index) -> list[int]:
    """The training row nearest to each group's mean."""
    table = vectors[train]
    return [int(train[int((table @ group.vector).argmax())]) for group in groups]


class Trigrams:
    """An interpolated trigram model: how fluent a text is for somebody who knows no decoder."""

    def __init__(self, texts: Sequence[str], weights: tuple[float, float, float] = (0.5, 0.3, 0.2)) -> None:
        self.weights = weights
        self.counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(3)]
        self.before: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(3)]
        for text in texts:
            tokens = ["<", "<", *words(text), ">"]
            for at in range(2, len(tokens)):
                for n in range(3):
                    self.counts[n][tuple(tokens[at - n : at + 1])] += 1
                    self.before[n][tuple(tokens[at - n : at])] += 1
        self.kinds = len(self.counts[0]) + 1

    def bits(self, text: str) -> float:
        """Bits per word; less is more fluent."""
        tokens = ["<", "<", *words(text), ">"]
        total = 0.0
        for at in range(2, len(tokens)):
            chance = 0.02 / self.kinds
            for n, weight in zip((2, 1, 0), self.weights, strict=True):
                seen = self.before[n][tuple(tokens[at - n : at])]
                if seen:
                    chance += 0.98 * weight * self.counts[n][tuple(tokens[at - n : at + 1])] / seen
            total -= math.log2(chance)
        return total / (len(tokens) - 2)


def judged(
    candidates: Sequence[str], groups: Sequence[Sequence[str]], known: Collection[str], fluency: Trigrams
) -> dict[str, Any]:
    """Counts over all groups; ``groups`` are the texts of each, ``known`` the words that are names.

    ``said_by_two``: share of a candidate's content words that stand in two texts of its group or more; ``covered``: share of
    the words that stand in two or more which it has; ``direction``: of groups that agree on one, the share with the same;
    ``opposite``: with the other; ``invented_numbers``, ``invented_names``: share with one that no text of the group has.
    """
    pairs = list(zip(candidates, groups, strict=True))
    said, covered, same, opposite, false_numbers, false_names = [], [], [], [], [], []
    for text, group in pairs:
        counts = Counter(word for other in group for word in content(other))
        common = {word for word, n in counts.items() if n >= 2}
        own = content(text)
        said.append(len(own & common) / max(len(own), 1))
        if common:
            covered.append(len(own & common) / len(common))
        if (way := agreed(group)) is not None:
            same.append(direction(text) == way)
            opposite.append(direction(text) == ("down" if way == "up" else "up"))
        false_numbers.append(bool(numbers(text) - set().union(*map(numbers, group))))
        false_names.append(bool(names(text, known) - set().union(*(names(other, known) for other in group))))
    return {
        "n": len(pairs),
        "said_by_two": round(float(np.mean(said)), 4),
        "covered": round(float(np.mean(covered)), 4),
        "direction": share(same),
        "opposite": share(opposite),
        "invented_numbers": share(false_numbers),
        "invented_names": share(false_names),
        "bits_per_word": round(float(np.median([fluency.bits(text) for text in candidates])), 2),
        "words": round(float(np.mean([len(words(text)) for text in candidates])), 1),
    }


def agreed(texts: Sequence[str]) -> str | None:
    """The direction that at least two texts of a group say and none contradicts."""
    ways = Counter(way for text in texts if (way := direction(text)) is not None)
    if len(ways) == 1 and (way := next(iter(ways))) != "mixed" and ways[way] >= 2:
        return way
    return None


def similarity(
    candidates: Sequence[str], groups: Sequence[Sequence[str]], judge: Callable[[Sequence[str]], Floats]
) -> float:
    """Mean cosine of each candidate with the other texts of its group, by an encoder that is not the decoded one."""
    flat = [text for group in groups for text in group]
    vectors: NDArray[np.float32] = judge([*candidates, *flat])
    own, others = vectors[: len(candidates)], vectors[len(candidates) :]
    at, cosines = 0, []
    for vector, text, group in zip(own, candidates, groups, strict=True):
        part = [i for i, other in enumerate(group) if other != text]
        cosines.append(float((others[at : at + len(group)][part] @ vector).mean()))
        at += len(group)
    return round(float(np.mean(cosines)), 4)
