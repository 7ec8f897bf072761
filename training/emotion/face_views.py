"""Settings and batches of the picture emotion: random views of face crops, the same for the same seed and step.

Random numbers are drawn on the CPU, so that a GPU need not be waited for; only noise is drawn where the crops lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as nnf

from domain.types import EMOTIONS
from models.encoders.image import DEFAULT, prepare
from training.emotion import crossfit
from training.emotion.faces import Crops, Faces

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Settings:
    """What configs/emotion/image.toml says; the comments there explain each value."""

    sources: dict[str, float]
    encoder: str = DEFAULT
    pretrained: bool = True
    seed: int = 1
    threads: int = 2
    steps: int = 4500
    batch_size: int = 64
    impostors: int = 8
    sizes: Sequence[tuple[float, int]] = ((0.0, 64),)
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 100
    decay: float = 0.35
    label_smoothing: float = 0.05
    mixup: float = 0.15
    class_power: float = 0.3
    face_weight: float = 0.3
    average_decay: float = 0.998
    check_every: int = 500
    patience: int = 4
    frozen: Sequence[str] = ()
    backgrounds: Sequence[str] = ()
    refreshed: int = 40
    start: str = ""
    soft_labels: str = ""
    taught: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def size_at(self, step: int) -> int:
        """Input side in pixels at a step."""
        return [size for share, size in self.sizes if step >= share * self.steps][-1]

    def rate_at(self, step: int) -> float:
        """Factor on the learning rate: up, level, then straight down to 2 %; a run may be lengthened while it is level."""
        return max(0.02, min((step + 1) / self.warmup, 1.0, (1 - step / self.steps) / self.decay))


def faces(crops: Tensor, size: int, generator: Generator) -> Tensor:
    """Views of uint8 crops (n, 1, h, w) as float (n, 1, size, size): mirror, turn, zoom, shift, light, blur to 28–64 px.

    The blur matters: half of the pictures come from 48-pixel originals, and sharpness must not give the source away.
    """
    n, place = len(crops), crops.device
    angle = _uniform(n, -0.22, 0.22, generator)
    zoom = _uniform(n, 0.80, 1.12, generator)
    mirror = (torch.rand(n, generator=generator) < 0.5).float() * 2 - 1
    shift = _uniform(2 * n, -0.08, 0.08, generator).view(n, 2)
    views = _warp(crops.float(), angle, zoom, shift, mirror, size)
    if torch.rand(1, generator=generator).item() < 0.5:
        low = int(torch.randint(28, 65, (1,), generator=generator))
        half = torch.rand(n, generator=generator) < 0.5
        if low < size and half.any():
            rows = _where(half).to(place)
            views[rows] = _blur(views[rows], low)
    gamma = _uniform(n, -0.35, 0.35, generator).exp().view(n, 1, 1, 1).to(place)
    views = 255 * (views.clamp(0, 255) / 255) ** gamma
    noise = _noise(views, generator)
    views = views + noise * _uniform(n, 0, 5, generator).view(n, 1, 1, 1).to(place)
    return _erase(views, generator)


def impostors(crops: Tensor, scenes: Tensor, size: int, generator: Generator) -> Tensor:
    """Views that must not count as one upright face: (n, 1, size, size) from n crops and n faceless scenes (uint8).

    Quarters: scenes as they are · faces cut in tiles and shuffled · a small or half-hidden face in a scene, or a piece of
    one · a face turned by 90–270°.
    """
    n = len(crops)
    still = torch.zeros(n)
    views = _warp(scenes.float(), still, _uniform(n, 0.5, 1.0, generator), torch.zeros(n, 2), torch.ones(n), size)
    kind = torch.arange(n) % 4
    for number in _where(kind == 1).tolist():
        views[number] = _tiles(nnf.interpolate(crops[number : number + 1].float(), size=(size, size))[0], generator)
    for number in _where(kind == 2).tolist():
        views[number] = _misplaced(crops[number : number + 1].float(), views[number], size, generator)
    turned = _where(kind == 3)  # on the CPU; indexing brings it over
    if len(turned):
        angle = _uniform(len(turned), math.pi / 2, 3 * math.pi / 2, generator)
        flat = torch.zeros(len(turned), 2)
        views[turned] = _warp(
            crops[turned].float(), angle, torch.ones(len(turned)), flat, torch.ones(len(turned)), size
        )
    return views


def _misplaced(crop: Tensor, scene: Tensor, size: int, generator: Generator) -> Tensor:
    if torch.rand(1, generator=generator).item() < 0.5:
        small = int(size * _uniform(1, 0.2, 0.5, generator).item())
        top, left = torch.randint(0, size - small + 1, (2,), generator=generator).tolist()
        picture = scene.clone()
        picture[:, top : top + small, left : left + small] = nnf.interpolate(
            crop, size=(small, small), mode="bilinear"
        )[0]
        return picture
    zoom = _uniform(1, 0.25, 0.45, generator)
    corner = (torch.randint(0, 2, (1, 2), generator=generator).float() * 2 - 1) * 0.55
    return _warp(crop, torch.zeros(1), zoom, corner, torch.ones(1), size)[0]


def _tiles(picture: Tensor, generator: Generator) -> Tensor:
    count = int(torch.randint(2, 5, (1,), generator=generator))
    side = picture.shape[-1] // count
    tiles = picture[:, : side * count, : side * count].unfold(1, side, side).unfold(2, side, side)
    tiles = tiles.reshape(count * count, side, side)
    order = torch.randperm(count * count, generator=generator)
    if torch.equal(order, torch.arange(count * count)):
        order = order.flip(0)
    shuffled = tiles[order].view(count, count, side, side).permute(0, 2, 1, 3).reshape(1, 1, side * count, side * count)
    return nnf.interpolate(shuffled, size=picture.shape[-2:], mode="nearest")[0]


def _warp(pictures: Tensor, angle: Tensor, zoom: Tensor, shift: Tensor, mirror: Tensor, size: int) -> Tensor:
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, shift[:, 0]], 1), torch.stack([sin * mirror, cos, shift[:, 1]], 1)], 1
    )
    grid = nnf.affine_grid(theta.to(pictures.device), [len(pictures), 1, size, size], align_corners=False)
    return nnf.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blur(pictures: Tensor, low: int) -> Tensor:
    small = nnf.interpolate(pictures, size=(low, low), mode="bilinear", antialias=True, align_corners=False)
    return nnf.interpolate(small, size=pictures.shape[-2:], mode="bilinear", align_corners=False)


def _erase(pictures: Tensor, generator: Generator) -> Tensor:
    size = pictures.shape[-1]
    for number in _where(torch.rand(len(pictures), generator=generator) < 0.2).tolist():
        height, width = torch.randint(size // 8, size // 3, (2,), generator=generator).tolist()
        top, left = torch.randint(0, size - size // 3, (2,), generator=generator).tolist()
        pictures[number, :, top : top + height, left : left + width] = pictures[number].mean()
    return pictures


def _noise(views: Tensor, generator: Generator) -> Tensor:
    if views.device.type == "cpu":
        return torch.randn(views.shape, generator=generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    own = Generator(views.device).manual_seed(seed)
    return torch.randn(views.shape, generator=own, device=views.device)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _where(mask: Tensor) -> Tensor:
    return mask.nonzero().flatten()


@dataclass(frozen=True, slots=True)
class Pool:
    """Training crops, uint8 (n, 1, CROP, CROP), targets (n, 7), chance of each to be drawn (n,), and faceless scenes."""

    crops: Tensor
    targets: Tensor
    chances: Tensor
    scenes: Tensor


def gather(chosen: Settings, sets: dict[str, Faces], faceless: Crops, device: str = "cpu") -> Pool:
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


def draw(pool: Pool, chosen: Settings, step: int) -> Batch:
    """The batch of a step: pictures (b + i, 3, size, size), targets (b, 7), face flags (b + i); same seed, same batch."""
    generator = torch.Generator().manual_seed(chosen.seed * 1_000_003 + step)
    size, b, i = chosen.size_at(step), chosen.batch_size, chosen.impostors
    rows = torch.multinomial(pool.chances, b + i, replacement=True, generator=generator)
    views = faces(pool.crops[rows[:b]], size, generator)
    targets = pool.targets[rows[:b]]
    if chosen.mixup:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        share = float(np.random.default_rng(seed).beta(chosen.mixup, chosen.mixup))
        order = torch.randperm(b, generator=generator)
        views = share * views + (1 - share) * views[order]
        targets = share * targets + (1 - share) * targets[order]
    which = torch.randint(len(pool.scenes), (i,), generator=generator)
    fakes = impostors(pool.crops[rows[b:]], pool.scenes[which], size, generator)
    flags = torch.cat([torch.ones(b), torch.zeros(i)]).to(views.device)
    return prepare(torch.cat([views, fakes]), size), targets, flags


def _targets(name: str, labels: NDArray[np.int64], chosen: Settings) -> NDArray[np.float32]:
    """Target probabilities (n, 7): the labels, mixed with soft labels where the source has a share of them."""
    own = np.eye(len(EMOTIONS), dtype=np.float32)[labels]
    share = chosen.taught.get(name, 0.0) if chosen.soft_labels else 0.0
    if not share:
        return own
    return (1 - share) * own + share * crossfit.read(Path(chosen.soft_labels), name, labels)
