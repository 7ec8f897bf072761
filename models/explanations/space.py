"""Sentence vectors made comparable: most of the product's vectors lie in one narrow cone, where unrelated texts have cosine .9.

Their mean is taken off and the directions are brought to like spread (whitening with shrinkage), so that a cosine near 0
means unrelated. Decoding, means of groups and the round trip all work on these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.types import Floats

SHRINK = 0.1
"""Share of the mean spread that is added to each direction's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """``centre``: float32[size]; ``matrix``: float32[size, size]."""

    centre: Floats
    matrix: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """Unit vectors float32 (n, size) of vectors (n, size)."""
        moved = (np.asarray(vectors, dtype=np.float32) - self.centre) @ self.matrix
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def fit(vectors: Floats) -> Space:
    """The space of training vectors (n, size)."""
    centre = vectors.mean(0)
    spread, directions = np.linalg.eigh(np.cov((vectors - centre).T.astype(np.float64)))
    scale = 1 / np.sqrt(np.maximum(spread, 0) + SHRINK * spread.mean())
    return Space(centre.astype(np.float32), np.asarray((directions * scale) @ directions.T, dtype=np.float32))
