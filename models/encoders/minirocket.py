"""MiniRocket features (Dempster, Schmidt and Webb, 2021) in torch: 84 fixed kernels, dilations, shares of positive values.

The kept libraries that have it (aeon, sktime) want an older pandas than this project; tests compare with a plain
reference instead. ``differences`` adds the same features of the first differences, as MultiRocket does (Tan et al., 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

KERNELS = np.array([[2.0 if i in chosen else -1.0 for i in range(9)] for chosen in combinations(range(9), 3)])
"""(84, 9): weights -1, three of them 2, all sums 0."""

LONGEST = 32
"""Most dilations."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The kernels at one dilation: which channels each sums (84, channels), and its biases (84, per kernel)."""

    dilation: int
    channels: Tensor
    biases: Tensor


class MiniRocket:
    """Random features of series; ``fit`` draws channels and takes the biases from quantiles of training series."""

    def __init__(self, features: int = 9996, *, differences: bool = False, seed: int = 0) -> None:
        self.features, self.differences, self.seed = features, differences, seed
        self._parts: list[list[_Group]] = []
        self._length = 0

    @property
    def width(self) -> int:
        """How many features a series has."""
        return sum(group.biases.numel() for part in self._parts for group in part)

    def fit(self, x: Tensor) -> MiniRocket:
        """Take dilations, channels and biases from series (n, channels, time); NaN steps are filled with the last value."""
        self._length = x.shape[-1]
        random = np.random.default_rng(self.seed)
        views = self._views(x)
        self._parts = [_draw(view, self.features // len(views), random) for view in views]
        return self

    @torch.inference_mode()
    def __call__(self, x: Tensor, batch: int = 64) -> Tensor:
        """Features (n, width): for every kernel and bias the share of steps at which the convolution exceeds the bias."""
        rows = []
        for part in torch.split(x, batch):
            views = self._views(part)
            groups = zip(views, self._parts, strict=True)
            rows.append(torch.cat([_shares(view, group) for view, held in groups for group in held], 1))
        return torch.cat(rows)

    def _views(self, x: Tensor) -> list[Tensor]:
        x = _held(x)
        if x.shape[-1] != self._length:
            x = functional.interpolate(x, self._length, mode="linear", align_corners=True)
        return [x, x.diff(dim=-1)] if self.differences else [x]


def _held(x: Tensor) -> Tensor:
    """NaN steps take the last value before them, or 0 where there is none."""
    known = torch.isfinite(x)
    last = torch.where(known, torch.arange(x.shape[-1]).expand_as(x), 0).cummax(-1).values
    return torch.nan_to_num(x.gather(-1, last))


def dilations(length: int, features: int) -> tuple[list[int], list[int]]:
    """Dilations of a series length, and how many biases per kernel each gets."""
    per_kernel = max(features // len(KERNELS), 1)
    count = min(per_kernel, LONGEST)
    top = np.log2(max((length - 1) / 8, 1))
    values, counts = np.unique(np.logspace(0, top, count, base=2).astype(np.int64), return_counts=True)
    shares = (counts * per_kernel / count).astype(np.int64)
    for i in range(per_kernel - int(shares.sum())):
        shares[i % len(shares)] += 1
    return values.tolist(), shares.tolist()


def convolve(mixed: Tensor, dilation: int) -> Tensor:
    """(n, 84, time): each kernel at one dilation over its own row of (n, 84, time), zero-padded to the same length."""
    weight = torch.as_tensor(KERNELS, dtype=mixed.dtype)[:, None]
    return functional.conv1d(mixed, weight, padding=4 * dilation, dilation=dilation, groups=len(KERNELS))


def _draw(x: Tensor, features: int, random: np.random.Generator) -> list[_Group]:
    """Channels by lot; biases from quantiles of what each kernel gives on a training series of its own."""
    groups, used = [], 0
    golden = (np.sqrt(5) + 1) / 2
    for dilation, count in zip(*dilations(x.shape[-1], features), strict=True):
        chosen = np.zeros((len(KERNELS), x.shape[1]))
        for row in chosen:
            size = int(2 ** random.uniform(0, np.log2(min(x.shape[1], 9) + 1)))
            row[random.choice(x.shape[1], size, replace=False)] = 1
        levels = (np.arange(1, len(KERNELS) * count + 1) + used) * golden % 1
        used += len(KERNELS) * count
        picked = torch.as_tensor(chosen, dtype=x.dtype)
        samples = x[torch.from_numpy(random.integers(len(x), size=len(KERNELS)))]
        values = convolve(torch.einsum("kc,kct->kt", picked, samples)[None], dilation)[0].numpy()
        biases = [np.quantile(v, q) for v, q in zip(values, levels.reshape(len(KERNELS), count), strict=True)]
        groups.append(_Group(dilation, picked, torch.as_tensor(np.array(biases), dtype=x.dtype)))
    return groups


def _shares(x: Tensor, group: _Group) -> Tensor:
    """Shares of positive values (n, kernels · biases); every other kernel looks at the steps without padding only."""
    out = convolve(torch.einsum("kc,nct->nkt", group.channels, x), group.dilation)
    edge = 4 * group.dilation
    inner = out[..., edge:-edge] if out.shape[-1] > 2 * edge else out
    pairs = ((out[:, 0::2], group.biases[0::2]), (inner[:, 1::2], group.biases[1::2]))
    parts = [(values > biases[:, i, None]).float().mean(-1) for values, biases in pairs for i in range(biases.shape[1])]
    return torch.cat(parts, 1)
