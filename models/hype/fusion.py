"""Report 003's fusion of modalities: blocks of features side by side, standardised, through an MLP of 512 and 256."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Blocks (n, size) each, concatenated, to one logit (n). A block that is left out is simply not given.

    ``mean`` and ``scale`` are of the training rows; set them with :meth:`standardise` before the first step.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int], hidden: Sequence[int] = (512, 256), dropout: float = 0.0) -> None:
        super().__init__()
        total = sum(sizes)
        layers: list[nn.Module] = []
        for before, after in zip((total, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else total, 1))
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))

    def standardise(self, *blocks: Tensor) -> None:
        """Take mean and deviation from training rows."""
        joint = torch.cat(blocks, dim=1)
        self.mean.copy_(joint.mean(dim=0))
        self.scale.copy_(joint.std(dim=0).clamp_min(1e-6))

    def forward(self, *blocks: Tensor) -> Tensor:
        joint = (torch.cat(blocks, dim=1) - self.mean) / self.scale
        out: Tensor = self.body(joint)[:, 0]
        return out
