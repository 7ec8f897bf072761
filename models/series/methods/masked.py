"""Masked modelling (after He et al., 2022): blocks of steps are hidden and predicted; the loss is on them alone."""

from __future__ import annotations

import copy

import torch
from torch import Generator, Tensor, nn

from domain.errors import InputError
from models.encoders.series import SeriesEncoder, filled
from models.series.augmentations import Augment
from models.series.methods import Method


def hide(x: Tensor, share: float, block: int, generator: Generator) -> Tensor:
    """Mask (n, time), true where hidden: blocks of ``block`` steps by lot, ``share`` of those of each series."""
    blocks = -(-x.shape[-1] // block)
    rank = torch.rand(len(x), blocks, generator=generator, device=x.device).argsort(1).argsort(1)
    hidden = (rank < round(share * blocks)).repeat_interleave(block, 1)[:, : x.shape[-1]]
    return hidden & torch.isfinite(x).any(1)


class Masked(Method):
    """A linear decoder per step reads the features of what is left and predicts every channel."""

    def __init__(self, encoder: SeriesEncoder, channels: int, augment: Augment, share: float, block: int) -> None:
        super().__init__()
        self.encoder, self.augment, self.share, self.block = encoder, augment, share, block
        self.missing = nn.Parameter(torch.zeros(channels, 1))
        self.decoder = nn.ConvTranspose1d(encoder.depth, channels, encoder.stride, encoder.stride)

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        x = self.augment(x, generator)
        hidden = hide(x, self.share, self.block, generator)
        return self.error(x, hidden)

    def error(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Mean squared error of the predicted values at hidden (n, time), known steps of x (n, channels, time)."""
        seen = torch.where(hidden[:, None], self.missing.expand_as(x), x)
        features, _ = self.encoder.steps(seen)
        predicted: Tensor = self.decoder(features)[..., : x.shape[-1]].float()
        truth, _ = filled(x)
        counted = hidden[:, None] & torch.isfinite(x)
        error: Tensor = ((predicted - truth).square() * counted).sum() / counted.sum().clamp_min(1)
        return error


def build(encoder: SeriesEncoder, channels: int, augment: Augment, *, share: float = 0.5, block: int = 8) -> Method:
    """Masked modelling around an encoder that keeps time.

    Raises:
        InputError: the encoder has no features along time, or the share is not one of 0 to 1.
    """
    if not 0 < share < 1:
        raise InputError(f"The share of hidden steps must lie between 0 and 1, not at {share}.")
    if type(encoder).__name__ == "Projection":
        raise InputError("Masked modelling needs an encoder with features along time; projection has none.")
    return Masked(encoder, channels, augment, share, block)


def adapted(method: Masked, x: Tensor, *, steps: int = 5, rate: float = 1e-3, seed: int = 0) -> Tensor:
    """Test-time training: vectors (n, width) of series after ``steps`` masked steps on these very series, without labels.

    Sun et al., 2020; Gandelsman et al., 2022. The method itself is left as it was; batch norm keeps its trained statistics.
    """
    fitted = copy.deepcopy(method).eval()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(fitted.parameters(), rate)
    for _ in range(steps):
        optimiser.zero_grad()
        fitted.error(x, hide(x, fitted.share, fitted.block, generator)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        vectors: Tensor = fitted.encoder(x)
    return vectors
