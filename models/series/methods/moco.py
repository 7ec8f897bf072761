"""MoCo (He et al., 2020): a slow copy of the encoder gives the keys, a queue of earlier keys gives the negatives."""

from __future__ import annotations

import copy

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from models.series.methods import Method, projector


def info_nce_with_queue(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each query's own key (n, d) against the queue (q, d); all of unit length."""
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


class MoCo(Method):
    """``momentum`` is the share of the slow copy that stays at each step; the queue is part of the saved run."""

    queue: Tensor
    filled: Tensor

    def __init__(
        self, encoder: SeriesEncoder, augment: Augment, sizes: tuple[int, int, int], momentum: float, temperature: float
    ) -> None:
        super().__init__()
        hidden, outputs, length = sizes
        self.encoder, self.augment = encoder, augment
        self.momentum, self.temperature = momentum, temperature
        self.head = projector(encoder.width, hidden, outputs)
        self.slow = nn.Sequential(copy.deepcopy(encoder), copy.deepcopy(self.head)).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(length, outputs))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        query = functional.normalize(self.head(self.encoder(self.augment(x, generator))).float(), dim=1)
        with torch.no_grad():
            key = functional.normalize(self.slow(self.augment(x, generator)).float(), dim=1)
        others = self.queue[: int(self.filled)].clone()
        if self.training:
            self._remember(key)
        return info_nce_with_queue(query, key, others if len(others) else key.roll(1, 0), self.temperature)

    def _remember(self, key: Tensor) -> None:
        held = torch.cat([key, self.queue[: int(self.filled)]])[: len(self.queue)]
        self.queue[: len(held)] = held
        self.filled.fill_(len(held))

    @torch.no_grad()
    def after_step(self) -> None:
        quick = [*self.encoder.parameters(), *self.head.parameters()]
        for slow, fast in zip(self.slow.parameters(), quick, strict=True):
            slow.lerp_(fast, 1 - self.momentum)


def build(
    encoder: SeriesEncoder, channels: int, augment: Augment, *, hidden: int = 128, outputs: int = 64, queue: int = 512,
    momentum: float = 0.99, temperature: float = 0.2,
) -> Method:  # fmt: skip
    """MoCo around an encoder."""
    return MoCo(encoder, augment, (hidden, outputs, queue), momentum, temperature)
