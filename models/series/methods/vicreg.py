"""VICReg (Bardes et al., 2022): views agree, every dimension keeps its variance, dimensions do not repeat one another."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector

EPSILON = 1e-4


def terms(first: Tensor, second: Tensor, gamma: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Invariance s, variance vA + vB and covariance cA + cB of two views (n, d), as spec 004 writes them."""
    invariance = functional.mse_loss(first, second)
    variance, covariance = first.new_zeros(()), first.new_zeros(())
    for z in (first, second):
        variance = variance + functional.relu(gamma - torch.sqrt(z.var(0) + EPSILON)).mean()
        centred = z - z.mean(0)
        products = centred.T @ centred / (len(z) - 1)
        covariance = covariance + (products.square().sum() - products.diagonal().square().sum()) / z.shape[1]
    return invariance, variance, covariance


class VICReg(Method):
    """L = ``invariance`` · s + ``variance`` · (vA + vB) + ``covariance`` · (cA + cB)."""

    def __init__(
        self, encoder: SeriesEncoder, augment: Augment, hidden: int, outputs: int, weights: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.encoder, self.augment, self.weights = encoder, augment, weights
        self.head = projector(encoder.width, hidden, outputs)

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        both = self.head(self.encoder(torch.cat([self.augment(x, generator), self.augment(x, generator)])))
        first, second = both.float().chunk(2)
        parts = terms(first, second)
        return torch.stack([w * part for w, part in zip(self.weights, parts, strict=True)]).sum()


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, hidden: int = 256, outputs: int = 256,
    invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0,
) -> Method:  # fmt: skip
    """VICReg around an encoder."""
    return VICReg(encoder, augment, hidden, outputs, (invariance, variance, covariance))
