"""CLIP (Radford et al., 2021) between a series and its partner: a text's vector, or a class name's.

On sets without texts the partner is the name of the class, so this method sees labels there: it is supervised, and said so.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from domain.errors import InputError
from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector


def info_nce(series: Tensor, partner: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of unit vectors (n, d) and (n, d); pairs marked in ``same`` (n, n) are positives as well."""
    logits = scale * series @ partner.T
    positive = torch.eye(len(series), dtype=torch.bool, device=series.device) if same is None else same
    losses = [
        -(functional.log_softmax(side, 1) * target).sum(1).div(target.sum(1)).mean()
        for side, target in ((logits, positive.to(logits.dtype)), (logits.T, positive.T.to(logits.dtype)))
    ]
    return 0.5 * (losses[0] + losses[1])


class Clip(Method):
    """Both sides are projected to ``outputs``; the temperature is learned from 0.07."""

    sees_labels = True

    def __init__(self, encoder: SeriesEncoder, augment: Augment, partner: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.encoder, self.augment = encoder, augment
        self.head = projector(encoder.width, hidden, outputs)
        self.other = nn.Linear(partner, outputs)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        if partner is None:
            raise InputError("The method clip needs a partner for every series: a text or a class.")
        series = functional.normalize(self.head(self.encoder(self.augment(x, generator))).float(), dim=1)
        other = functional.normalize(self.other(partner), dim=1)
        same = (partner[:, None] == partner[None]).all(-1)
        return info_nce(series, other, self.log_scale.exp().clamp(max=100.0), same)


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, partner: int, hidden: int = 128, outputs: int = 64
) -> Method:
    """CLIP around an encoder; ``partner`` is the length of a partner's vector."""
    return Clip(encoder, augment, partner, hidden, outputs)
