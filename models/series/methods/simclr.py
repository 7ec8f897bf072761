"""SimCLR (Chen et al., 2020): two views of a series attract, all others of the batch repel."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent of two views (n, d): cross-entropy of the partner among all 2n - 1 others by cosine, both directions."""
    z = functional.normalize(torch.cat([first, second]), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return functional.cross_entropy(logits, partner)


class SimCLR(Method):
    """``temperature`` divides the cosines."""

    def __init__(self, encoder: SeriesEncoder, augment: Augment, hidden: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.encoder, self.augment, self.temperature = encoder, augment, temperature
        self.head = projector(encoder.width, hidden, outputs)

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        both = self.head(self.encoder(torch.cat([self.augment(x, generator), self.augment(x, generator)])))
        first, second = both.float().chunk(2)
        return nt_xent(first, second, self.temperature)


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, hidden: int = 128, outputs: int = 64,
    temperature: float = 0.5,
) -> Method:  # fmt: skip
    """SimCLR around an encoder."""
    return SimCLR(encoder, augment, hidden, outputs, temperature)
