"""Batches for the picture recipe: sources joined and balanced, views drawn by seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.types import EMOTIONS
from models.encoders.image import prepare
from training import crossfit
from training.data import face_views
from training.data.faces import Crops, Faces

Batch = tuple[Tensor, Tensor, Tensor]


class BatchSettings(Protocol):
    """The recipe's settings that shape its batches."""

    @property
    def sources(self) -> dict[str, float]: ...
    @property
    def seed(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def impostors(self) -> int: ...
    @property
    def mixup(self) -> float: ...
    @property
    def class_power(self) -> float: ...
    @property
    def soft_labels(self) -> str: ...
    @property
    def taught(self) -> dict[str, float]: ...
    def size_at(self, step: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Pool:
    """Training crops, uint8 (n, 1, CROP, CROP), targets (n, 7), chance of each to be drawn (n,), and faceless scenes."""

    crops: Tensor
    targets: Tensor
    chances: Tensor
    scenes: Tensor


def gather(chosen: BatchSettings, sets: dict[str, Faces], faceless: Crops, device: str = "cpu") -> Pool:
    """Join the sources' training parts; chances give each source its share and even out classes within it."""
    crops, targets, chances = [], [], []
    for name, share in chosen.sources.items():
        own, truth = sets[name].of("train")
        counts = np.bincount(truth, minlength=len(EMOTIONS)).astype("float64")
        weights = np.where(counts > 0, np.maximum(counts, 1) ** -chosen.class_power, 0)[truth]
        crops.append(own)
        targets.append(_targets(name, truth, chosen))
        chances.append(share * weights / weights.sum())
    return Pool(
        torch.from_numpy(np.concatenate(crops))[:, None].to(device),
        torch.from_numpy(np.concatenate(targets)).to(device),
        torch.from_numpy(np.concatenate(chances)),
        torch.from_numpy(faceless)[:, None].to(device),
    )


def draw(pool: Pool, chosen: BatchSettings, step: int) -> Batch:
    """The batch of a step: pictures (b + i, 3, size, size), targets (b, 7), face flags (b + i); same seed, same batch."""
    generator = torch.Generator().manual_seed(chosen.seed * 1_000_003 + step)
    size, b, i = chosen.size_at(step), chosen.batch_size, chosen.impostors
    rows = torch.multinomial(pool.chances, b + i, replacement=True, generator=generator)
    views = face_views.faces(pool.crops[rows[:b]], size, generator)
    targets = pool.targets[rows[:b]]
    if chosen.mixup:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        share = float(np.random.default_rng(seed).beta(chosen.mixup, chosen.mixup))
        order = torch.randperm(b, generator=generator)
        views = share * views + (1 - share) * views[order]
        targets = share * targets + (1 - share) * targets[order]
    which = torch.randint(len(pool.scenes), (i,), generator=generator)
    fakes = face_views.impostors(pool.crops[rows[b:]], pool.scenes[which], size, generator)
    flags = torch.cat([torch.ones(b), torch.zeros(i)]).to(views.device)
    return prepare(torch.cat([views, fakes]), size), targets, flags


def _targets(name: str, labels: NDArray[np.int64], chosen: BatchSettings) -> NDArray[np.float32]:
    """What each face is to be called (n, 7): its label, and in part what networks say that have not seen it."""
    own = np.eye(len(EMOTIONS), dtype=np.float32)[labels]
    share = chosen.taught.get(name, 0.0) if chosen.soft_labels else 0.0
    if not share:
        return own
    return (1 - share) * own + share * crossfit.read(Path(chosen.soft_labels), name, labels)
