"""Losses between texts and trajectories (n, d) each: report 000's, InfoNCE and SigLIP, with several positives.

``same`` (n, n) marks pairs that are positives as well (posts of one start minute share their trajectory); ``skip`` (n, n)
marks pairs that must not be negatives (windows of one bin overlap).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FAR = -1e4
"""A logit that counts as never."""


def soft_targets(texts: Tensor, series: Tensor, temperature: float = 1.0, *, detach: bool = False) -> Tensor:
    """The report's: logits T Sᵀ / τ against softmax((S Sᵀ + T Tᵀ) / 2 · τ), through which the gradient flows unless ``detach``.

    A constant embedding scores ln n, a one-sided hub ½ ln n: both are easy to reach (spec 000).
    """
    logits = texts @ series.T / temperature
    targets = torch.softmax((series @ series.T + texts @ texts.T) / 2 * temperature, 1)
    targets = targets.detach() if detach else targets
    by_text = -(targets * functional.log_softmax(logits, 1)).sum(1)
    by_series = -(targets.T * functional.log_softmax(logits.T, 1)).sum(1)
    return ((by_text + by_series) / 2).mean()


def info_nce(texts: Tensor, series: Tensor, scale: Tensor, same: Tensor, skip: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al., 2018; CLIP) of unit vectors; mean log share of the positives of each row."""
    logits = (scale * texts @ series.T).masked_fill(skip & ~same, FAR)
    losses = []
    for side, positive in ((logits, same), (logits.T, same.T)):
        share = functional.log_softmax(side, 1)
        losses.append(-(share * positive).sum(1).div(positive.sum(1)).mean())
    return 0.5 * (losses[0] + losses[1])


def siglip(texts: Tensor, series: Tensor, scale: Tensor, bias: Tensor, same: Tensor, skip: Tensor) -> Tensor:
    """Pairwise sigmoid loss (Zhai et al., 2023) of unit vectors: every pair is judged alone; sum by row, mean over rows."""
    logits = scale * texts @ series.T + bias
    sign = torch.where(same, 1.0, -1.0)
    each = functional.logsigmoid(sign * logits).masked_fill(skip & ~same, 0.0)
    return -each.sum(1).mean()
