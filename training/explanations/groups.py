"""Meaning of decoded means: groups of near texts that training never saw, and what is said of each.

The decoded mean of a group is set beside its medoid (a real text of it), the nearest training text and a sentence without
a vector. A medoid is of the group itself, so ``shared`` and ``similarity`` leave a candidate's own copy out; the counts of
what two texts say favour it a little.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.types import Floats
from models.explanations.explainer import mean, medoid
from models.explanations.gate import direction, names, numbers, words
from training.explanations.scores import content
from training.explanations.texts import DUPLICATE, Index, neighbours

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


Counts = dict[str, NDArray[np.float64]]
"""One value for each group, NaN where a count does not apply to it."""


def counted(
    candidates: Sequence[str], groups: Sequence[Sequence[str]], known: Collection[str], fluency: Trigrams
) -> Counts:
    """What each candidate has of its group (``groups``: the texts of each; ``known``: the words that are names).

    ``shared``: F1 of content words with a text of the group, mean over those that are not the candidate itself;
    ``said_by_two``: share of a candidate's content words that two texts say; ``covered``, ``names``, ``numbers``: share of the
    content words, names and numbers of two or more texts that it has; ``direction``: of groups that agree on one, the same;
    ``opposite``: the other; ``invented_numbers``, ``invented_names``: one that no text of the group has.
    """
    rows = [_one(text, group, known) for text, group in zip(candidates, groups, strict=True)]
    found = {key: np.array([row[key] for row in rows], dtype=np.float64) for key in rows[0]}
    found["bits_per_word"] = np.array([fluency.bits(text) for text in candidates])
    return found


def _one(text: str, group: Sequence[str], known: Collection[str]) -> dict[str, float]:
    own, way = content(text), agreed(group)
    common = _common(content(other) for other in group)
    others = [content(other) for other in group if other != text]
    return {
        "shared": float(np.mean([2 * len(own & o) / max(len(own) + len(o), 1) for o in others]))
        if others
        else math.nan,
        "said_by_two": len(own & common) / max(len(own), 1),
        "covered": _part(own, common),
        "names": _part(names(text, known), _common(names(other, known) for other in group)),
        "numbers": _part(numbers(text), _common(map(numbers, group))),
        "direction": math.nan if way is None else direction(text) == way,
        "opposite": math.nan if way is None else direction(text) == ("down" if way == "up" else "up"),
        "invented_numbers": bool(numbers(text) - set().union(*map(numbers, group))),
        "invented_names": bool(names(text, known) - set().union(*(names(other, known) for other in group))),
        "words": len(words(text)),
    }


def _common(sets: Iterable[set[str]]) -> set[str]:
    counts = Counter(word for found in sets for word in found)
    return {word for word, n in counts.items() if n >= 2}


def _part(have: set[str], wanted: set[str]) -> float:
    return len(have & wanted) / len(wanted) if wanted else math.nan


def averages(found: Counts) -> dict[str, float | None]:
    """Means over the groups to which each count applies, the median of the bits."""
    out: dict[str, float | None] = {}
    for key, values in found.items():
        known = values[np.isfinite(values)]
        middle = np.median if key == "bits_per_word" else np.mean
        out[key] = round(float(middle(known)), 4) if len(known) else None
    return out


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
