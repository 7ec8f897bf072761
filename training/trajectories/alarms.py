"""What looks wrong in a night's walk-forward: coverage adrift, collapse, hubs, other words than before, holes in candles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import Floats
from models.trajectories.retrieval import K, RetrievedTrajectories
from training.trajectories.evaluate import Questions
from training.trajectories.recall import BATCH

HELD = 0.04
"""How far from the nominal share coverage may lie, with an interval that excludes it, before it is an alarm."""
HUB = 0.2
"""Share of answers that one match may stand in."""
SAME = 0.9
"""Mean cosine of random rows from which on the embeddings have collapsed."""
LEVEL = 0.995
"""Share of ln B from which on the answers do not tell one window from another; 300 posts of 2025: .982."""
NEW_WORDS = 0.15
"""How much larger the share of words never seen before may be in the last week than it was in the weeks before."""
WEEK = 7 * 86_400
FOLDS = 4
FEWEST = 100
"""Posts with words that either side of the comparison needs."""
_WORD = re.compile(r"[^\W\d_]{2,}")


def alarms(model: RetrievedTrajectories, asked: Questions, figures: dict[str, Any], gaps: int) -> dict[str, Any]:
    """The alarms by name, each with its figure: coverage, collapsed_embeddings, ln_b, hub, vocabulary, gaps."""
    found: dict[str, Any] = {}
    low, high = figures["intervals"].get("coverage", (0.8, 0.8))
    if figures["coverage"] is not None and abs(figures["coverage"] - 0.8) > HELD and not low <= 0.8 <= high:
        found["coverage"] = figures["coverage"]
    if (same := _sameness(asked.embeddings)) > SAME:
        found["collapsed_embeddings"] = round(same, 4)
    enough = figures.get("independent_windows", 0) >= BATCH
    if (loss := figures.get("loss_over_ln_b")) is not None and enough and loss > LEVEL:
        found["ln_b"] = loss
    if (hub := _hub(model, asked)) > HUB:
        found["hub"] = round(hub, 4)
    drift = vocabulary(asked.pairs.text, asked.pairs.time)
    if drift is not None and drift["new"] - drift["usual"] > NEW_WORDS:
        found["vocabulary"] = drift
    if gaps:
        found["gaps"] = gaps
    return found


def _sameness(vectors: Floats) -> float:
    """Mean cosine of different rows."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    count = len(unit)
    return float(((unit.sum(axis=0) ** 2).sum() - count) / max(count * (count - 1), 1))


def _hub(model: RetrievedTrajectories, asked: Questions) -> float:
    """The largest share of answers that one and the same match stands in."""
    moments = [post.posted_at for post in asked.posts()]
    hits = model.index.search(asked.embeddings, list(asked.pairs.symbol), moments, [""] * len(moments), K)
    counted: dict[tuple[str, int], int] = {}
    for found in hits:
        for hit in found:
            counted[hit.symbol, hit.row] = counted.get((hit.symbol, hit.row), 0) + 1
    return max(counted.values(), default=0) / max(len(hits), 1)


def vocabulary(texts: Sequence[str] | NDArray[Any], times: NDArray[np.int64]) -> dict[str, float] | None:
    """Share of the last week's words that no earlier post has, and what is usual; None with too few posts.

    ``usual``: the mean share of a fourth of the earlier days that the other three have not; the last week is held against the
    same three fourths, one after another.
    """
    words = [_WORD.findall(str(text).lower()) for text in texts]
    spoken = np.array([bool(some) for some in words], dtype=np.bool_)
    new = times > times.max(initial=0) - WEEK
    if min((spoken & new).sum(), (spoken & ~new).sum()) < FEWEST:
        return None
    fold = times // 86_400 % FOLDS
    found = np.zeros((2, FOLDS))
    for n in range(FOLDS):
        known = {w for i in np.flatnonzero(~new & (fold != n)) for w in words[i]}
        sides = np.flatnonzero(new), np.flatnonzero(~new & (fold == n))
        found[:, n] = [_unseen([w for i in side for w in words[i]], known) for side in sides]
    last, usual = np.nanmean(found, axis=1)
    return {"new": round(float(last), 4), "usual": round(float(usual), 4)}


def _unseen(words: Sequence[str], known: set[str]) -> float:
    return sum(w not in known for w in words) / len(words) if words else float("nan")
