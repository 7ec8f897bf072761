"""SimSiam (Chen and He, 2021): one view predicts the other, whose gradient is stopped; no negatives."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector


def agreement(predicted: Tensor, target: Tensor) -> Tensor:
    """Negative mean cosine of predictions (n, d) and targets (n, d), whose gradient is stopped."""
    return -functional.cosine_similarity(predicted, target.detach()).mean()


class SimSiam(Method):
    """A projector with batch norm at its end and a narrow predictor."""

    def __init__(self, encoder: SeriesEncoder, augment: Augment, hidden: int, outputs: int) -> None:
        super().__init__()
        self.encoder, self.augment = encoder, augment
        self.head: nn.Module = projector(encoder.width, hidden, outputs, norm_last=True)
        self.predictor: nn.Module = projector(outputs, outputs // 4, outputs)

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        both = self.head(self.encoder(torch.cat([self.augment(x, generator), self.augment(x, generator)])))
        first, second = both.float().chunk(2)
        ahead, back = self.predictor(first), self.predictor(second)
        return 0.5 * (agreement(ahead, second) + agreement(back, first))


def build(encoder: SeriesEncoder, channels: int, augment: Augment, *, hidden: int = 256, outputs: int = 128) -> Method:
    """SimSiam around an encoder."""
    return SimSiam(encoder, augment, hidden, outputs)
