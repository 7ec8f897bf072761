"""Inner products of many vectors with a few queries, in bfloat16 where that is faster, with a known error.

A scan only proposes candidates; who needs exact order asks again for those in full precision.
"""

from __future__ import annotations

import numpy as np
import torch

from domain.types import Floats
from models.device import half_or_full

EXACT = 1e-4
"""More than the rounding error of a float32 product of two unit vectors of some hundred dimensions."""

HALF = 6.2e-3
"""More than that of a bfloat16 one: 2⁻⁸ from rounding both vectors (Cauchy–Schwarz), 2⁻⁹ from rounding the result."""

LARGE = 20_000
"""Rows from which the kind of product matters."""


class Scan:
    """Unit vectors (n, d), float32; many of them are scanned by torch on ``device``, in a bfloat16 copy where that is faster.

    ``slack``: the largest error of a product.
    """

    def __init__(self, vectors: Floats, device: str = "cpu") -> None:
        self._vectors = vectors
        self._device = device
        self._many: torch.Tensor | None = None
        if len(vectors) >= LARGE:
            dtype = half_or_full(device) if device == "cpu" else torch.bfloat16
            self._many = torch.from_numpy(vectors).to(device, dtype)
        self.slack = HALF if self._many is not None and self._many.dtype == torch.bfloat16 else EXACT

    def products(self, queries: Floats) -> Floats:
        """float32 (queries, n); each is within ``slack`` of the true product."""
        if self._many is None:
            return np.asarray(queries @ self._vectors.T)
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._device, self._many.dtype)
        return np.asarray((asked @ self._many.T).float().cpu().numpy())


def floor_of(scores: Floats, depth: int) -> float:
    """A value that at least ``depth`` scores reach, close to the ``depth``-th largest; ``len(scores) > depth``.

    The ``depth``-th largest of maxima over groups is one, and costs one pass instead of a partial sort.
    """
    columns = 8 * depth
    if len(scores) >= 2 * columns:
        rows = len(scores) // columns
        scores = scores[: rows * columns].reshape(rows, columns).max(axis=0)
    return float(np.partition(scores, len(scores) - depth)[len(scores) - depth])
