"""Barlow Twins (Zbontar et al., 2021): the cross-correlation of two views is brought to the identity."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector

EPSILON = 1e-5


def redundancy(first: Tensor, second: Tensor, weight: float = 5e-3) -> Tensor:
    """Σ(1 - Cii)² + λ Σ_{i≠j} Cij² with C the correlation between the views (n, d) over the batch, λ = ``weight``."""
    a, b = ((z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + EPSILON) for z in (first, second))
    c = a.T @ b / len(a)
    diagonal = c.diagonal()
    return (1 - diagonal).square().sum() + weight * (c.square().sum() - diagonal.square().sum())


class BarlowTwins(Method):
    """``weight`` is λ, the share of the off-diagonal."""

    def __init__(self, encoder: SeriesEncoder, augment: Augment, hidden: int, outputs: int, weight: float) -> None:
        super().__init__()
        self.encoder, self.augment, self.weight = encoder, augment, weight
        self.head = projector(encoder.width, hidden, outputs)

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        both = self.head(self.encoder(torch.cat([self.augment(x, generator), self.augment(x, generator)])))
        first, second = both.float().chunk(2)
        return redundancy(first, second, self.weight)


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, hidden: int = 256, outputs: int = 128,
    weight: float = 5e-3,
) -> Method:  # fmt: skip
    """Barlow Twins around an encoder."""
    return BarlowTwins(encoder, augment, hidden, outputs, weight)
