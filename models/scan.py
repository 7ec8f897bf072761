"""Inner products of many vectors with a few queries, in bfloat16 where the processor multiplies it, with a known error.

A scan only proposes candidates; who needs exact order asks again for those in full precision.
"""

from __future__ import annotations

import numpy as np
import torch

from domain.types import Floats

EXACT = 1e-4
"""More than the rounding error of a float32 product of two unit vectors of some hundred dimensions."""

HALF = 6.2e-3
"""More than that of a bfloat16 one: 2⁻⁸ from rounding both vectors (Cauchy–Schwarz), 2⁻⁹ from rounding the result."""

LARGE = 20_000
"""Rows from which halving the memory traffic matters."""


class Scan:
    """Unit vectors (n, d), float32, kept a second time in bfloat16 when there are many, on ``device``.

    ``slack``: the largest error of a product.
    """

    def __init__(self, vectors: Floats, device: str = "cpu") -> None:
        self._vectors = vectors
        self._device = device
        self._half: torch.Tensor | None = None
        if len(vectors) >= LARGE and (device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            self._half = torch.from_numpy(vectors).to(device, torch.bfloat16)
        self.slack = EXACT if self._half is None else HALF

    def products(self, queries: Floats) -> Floats:
        """float32 (queries, n); each is within ``slack`` of the true product."""
        if self._half is None:
            return np.asarray(queries @ self._vectors.T)
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._device, torch.bfloat16)
        return np.asarray((asked @ self._half.T).float().cpu().numpy())


def floor_of(scores: Floats, depth: int) -> float:
    """A value that at least ``depth`` scores reach, close to the ``depth``-th largest; ``len(scores) > depth``.

    The ``depth``-th largest of maxima over groups is one, and costs one pass instead of a partial sort.
    """
    columns = 8 * depth
    if len(scores) >= 2 * columns:
        rows = len(scores) // columns
        scores = scores[: rows * columns].reshape(rows, columns).max(axis=0)
    return float(np.partition(scores, len(scores) - depth)[len(scores) - depth])
