"""How good an encoder is: linear probe, nearest neighbours, few labels, fine-tuning, and the same from scratch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment
from training.series.sets import SeriesSet

Labels = NDArray[np.int64]
SHOTS = 5
DRAWS = 5


@torch.inference_mode()
def vectors(encoder: SeriesEncoder, x: Tensor, batch: int = 256) -> NDArray[np.float32]:
    """Vectors (n, width) with the encoder at rest."""
    encoder.eval()
    return torch.cat([encoder(part).float() for part in torch.split(x, batch)]).numpy()


def probe(train: NDArray[np.float32], labels: Labels, test: NDArray[np.float32], truth: Labels) -> float:
    """Accuracy of logistic regression on standardised vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    return float((model.fit(train, labels).predict(test) == truth).mean())


def neighbours(
    train: NDArray[np.float32], labels: Labels, test: NDArray[np.float32], truth: Labels, k: int = 1
) -> float:
    """Accuracy of the k nearest by cosine of standardised vectors; a vote by similarity."""
    mean, deviation = train.mean(0), np.maximum(train.std(0), 1e-6)
    a, b = (functional.normalize(torch.from_numpy((v - mean) / deviation), dim=1) for v in (train, test))
    near = (b @ a.T).topk(min(k, len(a)), dim=1)
    votes = torch.zeros(len(b), int(labels.max()) + 1)
    votes.scatter_add_(1, torch.from_numpy(labels)[near.indices], near.values + 1)
    return float((votes.argmax(1).numpy() == truth).mean())


def few(labels: Labels, draw: int, shots: int = SHOTS) -> Labels:
    """Rows of ``shots`` series per class, by lot; the same for every model."""
    random = np.random.default_rng(1000 + draw)
    rows = [random.permutation(np.flatnonzero(labels == c))[:shots] for c in np.unique(labels)]
    return np.sort(np.concatenate(rows)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How an encoder with a fresh linear head is trained on labels."""

    epochs: int = 10
    rate: float = 1e-3
    head_rate: float = 1e-2
    batch: int = 16
    weight_decay: float = 1e-3
    smoothing: float = 0.1


def tune(
    encoder: SeriesEncoder, data: SeriesSet, chosen: Labels, tuning: Tuning, seed: int, augment: Augment | None = None
) -> float:
    """Accuracy on the test part after training a copy of the encoder and a linear head on the chosen rows."""
    torch.manual_seed(seed)
    net = copy.deepcopy(encoder).train()
    head = nn.Linear(net.width, len(data.classes))
    groups = [
        {"params": list(net.parameters()), "lr": tuning.rate},
        {"params": list(head.parameters()), "lr": tuning.head_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=tuning.weight_decay)
    x, y = data.x[torch.from_numpy(chosen)], torch.from_numpy(data.y[chosen])
    steps = tuning.epochs * max(len(x) // tuning.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [tuning.rate, tuning.head_rate], total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    for step in range(steps):
        place = step * tuning.batch % len(x)
        if place + tuning.batch > len(x):
            order, place = torch.randperm(len(x), generator=generator), 0
        rows = order[place : place + tuning.batch]
        view = augment(x[rows], generator) if augment else x[rows]
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(net(view)), y[rows], label_smoothing=tuning.smoothing)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.inference_mode():
        scores = torch.cat([head(net(part)) for part in torch.split(data.test_x, 256)])
    return float((scores.argmax(1).numpy() == data.test_y).mean())


def few_probe(encoder: SeriesEncoder, data: SeriesSet, draws: Sequence[int] = range(DRAWS)) -> float:
    """Mean accuracy of the linear probe from five labels per class, over draws."""
    train, test = vectors(encoder, data.x), vectors(encoder, data.test_x)
    scores = [probe(train[rows], data.y[rows], test, data.test_y) for rows in (few(data.y, d) for d in draws)]
    return float(np.mean(scores))
