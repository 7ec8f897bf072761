"""Figures of decoded texts: ROUGE-L, BLEU, exact match, and agreement in direction, numbers and names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from models.explanations.gate import direction, names, numbers, words

_STOP = """
a an the of to in on for and or is are was were be been as at by with from that this it its he she they we you i his
her their our your my not no but if so than then will would can could may after before over under up down out into
about has have had do does did what when how why who which all more most some new says said say us
"""
STOP = frozenset(_STOP.split())
"""Words that carry no subject."""


def content(text: str) -> set[str]:
    """The words of a text that carry its subject."""
    return {word for word in words(text) if word not in STOP and len(word) > 1}


def rouge_l(written: str, true: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    a, b = words(written), words(true)
    if not a or not b:
        return float(a == b)
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b))


def bleu(written: Sequence[str], true: Sequence[str], order: int = 4) -> float:
    """Corpus BLEU of words with one reference each (Papineni et al. 2002), unsmoothed."""
    hits, total = [0] * order, [0] * order
    ours = theirs = 0
    for one, other in zip(written, true, strict=True):
        a, b = words(one), words(other)
        ours, theirs = ours + len(a), theirs + len(b)
        for n in range(1, order + 1):
            have, want = _grams(a, n), _grams(b, n)
            hits[n - 1] += sum((have & want).values())
            total[n - 1] += sum(have.values())
    if not all(hits):
        return 0.0
    precision = sum(math.log(hit / all_) for hit, all_ in zip(hits, total, strict=True)) / order
    return math.exp(precision + min(0.0, 1 - theirs / max(ours, 1)))


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def agreement(written: Sequence[str], true: Sequence[str], known_names: Collection[str]) -> dict[str, float | None]:
    """Shares of what the true texts say that the written ones say too.

    ``direction``: of texts with one direction, the share whose written text has the same (``opposite``: the other one);
    ``numbers`` and ``names``: of texts with any, the share in which all stand; ``invented_numbers``: of all texts, the
    share in which one stands that the true text lacks.
    """
    pairs = list(zip(written, true, strict=True))
    ways = [(direction(w), way) for w, t in pairs if (way := direction(t)) in ("up", "down")]
    other = {"up": "down", "down": "up"}
    counted = [numbers(t) <= numbers(w) for w, t in pairs if numbers(t)]
    named = [have <= names(w, known_names) for w, t in pairs if (have := names(t, known_names))]
    return {
        "direction": share([w == t for w, t in ways]),
        "opposite": share([w == other[t] for w, t in ways]),
        "numbers": share(counted),
        "names": share(named),
        "invented_numbers": share([bool(numbers(w) - numbers(t)) for w, t in pairs]),
    }


def share(hits: Sequence[bool]) -> float | None:
    """Share of hits, None of nothing."""
    return round(sum(hits) / len(hits), 4) if hits else None
