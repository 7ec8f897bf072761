"""Encoders of series behind one interface: any length, any number of channels, NaN where a series has no step.

``resnet`` (ResNet1D), ``inception`` (InceptionTime), ``patch`` (patch transformer), ``projection`` (one linear map, the
report's) and ``minirocket`` (fixed random convolutions, :mod:`models.encoders.minirocket`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain.errors import InputError, WeightsError
from models import checkpoint


class SeriesEncoder(nn.Module):
    """``depth``: channels of :meth:`steps`; ``stride``: time steps to one of them; ``segments``: parts of time pooled apart."""

    depth: int
    stride: int = 1
    segments: int = 1

    @property
    def width(self) -> int:
        """Length of the vector of a series."""
        return self.depth * (self.segments + 1)

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, depth, ⌈time / stride⌉) of series (n, channels, time) and their mask (n, ⌈time / stride⌉)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (n, width) of series (n, channels, time), NaN where they have ended, by :func:`pool`."""
        features, mask = self.steps(x)
        return pool(features, mask, self.segments)


def filled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Series with zeros for NaN, and the mask (n, time) of the steps that have any value."""
    known = torch.isfinite(x)
    return torch.where(known, x, 0.0), known.any(1)


def pool(features: Tensor, mask: Tensor, segments: int) -> Tensor:
    """Means over equal parts of the known time, and the maximum over all: (n, depth, time) to (n, depth · (segments + 1)).

    One mean over all time would forget the order in which things happened.
    """
    count = mask.sum(1, keepdim=True).clamp_min(1)
    part = ((mask.cumsum(1) - 1).clamp_min(0) * segments // count).clamp_max(segments - 1)
    weight = functional.one_hot(part, segments).to(features.dtype) * mask[..., None].to(features.dtype)
    means = features @ (weight / weight.sum(1, keepdim=True).clamp_min(1))
    top = features.masked_fill(~mask[:, None], -torch.inf).amax(-1)
    return torch.cat([means.flatten(1), torch.where(torch.isfinite(top), top, 0.0)], 1)


def _strided(mask: Tensor, stride: int) -> Tensor:
    return mask if stride == 1 else functional.max_pool1d(mask[:, None].float(), stride, ceil_mode=True)[:, 0] > 0


class _Residual(nn.Module):
    """Three convolutions with batch norm and a shortcut (Wang, Yan and Oates, 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        sizes = ((inputs, 7, stride), (outputs, 5, 1), (outputs, 3, 1))
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv1d(i, outputs, k, s, padding=k // 2, bias=False), nn.BatchNorm1d(outputs))
            for i, k, s in sizes
        )
        self.short = nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        known = mask[:, None].to(x.dtype)
        short: Tensor = self.short(x)
        for i, layer in enumerate(self.body):
            x = layer(x) * known
            x = functional.relu(x) if i + 1 < len(self.body) else functional.relu(x + short) * known
        return x


class ResNet(SeriesEncoder):
    """ResNet1D: three residual blocks; the first and the second halve the time."""

    def __init__(self, channels: int, base: int = 32, segments: int = 4) -> None:
        super().__init__()
        self.depth, self.stride, self.segments = 2 * base, 4, segments
        sizes = ((channels, base, 2), (base, 2 * base, 2), (2 * base, 2 * base, 1))
        self.blocks = nn.ModuleList(_Residual(i, o, s) for i, o, s in sizes)
        self._strides = tuple(s for *_, s in sizes)

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = filled(x)
        for block, stride in zip(self.blocks, self._strides, strict=True):
            mask = _strided(mask, stride)
            x = block(x, mask)
        return x, mask


class _Inception(nn.Module):
    """Bottleneck, three convolutions of different lengths and a max-pool branch (Ismail Fawaz et al., 2020)."""

    def __init__(self, inputs: int, each: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.neck = nn.Conv1d(inputs, each, 1, bias=False)
        self.branches = nn.ModuleList(nn.Conv1d(each, each, k, padding=k // 2, bias=False) for k in kernels)
        self.pooled = nn.Conv1d(inputs, each, 1, bias=False)
        self.norm = nn.BatchNorm1d(each * (len(kernels) + 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        neck = self.neck(x)
        parts = [branch(neck) for branch in self.branches]
        missing = ~mask[:, None]
        top = functional.max_pool1d(x.masked_fill(missing, -torch.inf), 3, 1, 1).masked_fill(missing, 0.0)
        parts.append(self.pooled(top))
        return torch.relu(self.norm(torch.cat(parts, 1))).masked_fill(missing, 0.0)


class InceptionTime(SeriesEncoder):
    """One InceptionTime network: ``blocks`` inception modules with a shortcut over every three."""

    def __init__(
        self,
        channels: int,
        base: int = 16,
        blocks: int = 3,
        kernels: tuple[int, ...] = (9, 19, 39),
        segments: int = 4,
    ) -> None:
        super().__init__()
        self.depth, self.segments = base * (len(kernels) + 1), segments
        inputs = [channels, *[self.depth] * (blocks - 1)]
        self.blocks = nn.ModuleList(_Inception(i, base, tuple(kernels)) for i in inputs)
        self.shorts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(channels if i == 0 else self.depth, self.depth, 1, bias=False), nn.BatchNorm1d(self.depth))
            for i in range(0, blocks, 3)
        )  # fmt: skip

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = filled(x)
        short = x
        for i, block in enumerate(self.blocks):
            x = block(x, mask)
            if i % 3 == 2:
                x = torch.relu(x + self.shorts[i // 3](short)) * mask[:, None].to(x.dtype)
                short = x
        return x, mask


class PatchTransformer(SeriesEncoder):
    """Patches of ``patch`` steps as tokens of a transformer with sine positions (after PatchTST, Nie et al., 2023)."""

    def __init__(
        self, channels: int, base: int = 64, blocks: int = 2, heads: int = 4, patch: int = 8, segments: int = 4
    ) -> None:
        super().__init__()
        self.depth, self.stride, self.segments = base, patch, segments
        self.embed = nn.Conv1d(channels, base, patch, patch)
        layer = nn.TransformerEncoderLayer(base, heads, 2 * base, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, blocks, nn.LayerNorm(base), enable_nested_tensor=False)

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = filled(x)
        mask = _strided(mask, self.stride)
        x = functional.pad(x, (0, mask.shape[1] * self.stride - x.shape[-1]))
        tokens = self.embed(x).transpose(1, 2)
        tokens = tokens + _positions(tokens.shape[1], self.depth).to(tokens)
        ignored = ~mask
        ignored[:, 0] &= mask.any(1)  # attention over nothing would be NaN
        hidden = self.body(tokens, src_key_padding_mask=ignored)
        return hidden.transpose(1, 2), mask


def _positions(count: int, width: int) -> Tensor:
    """Sine and cosine positions, (count, width)."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(count)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class Projection(SeriesEncoder):
    """The values themselves through one linear map, as report 000's series arm; other lengths are interpolated."""

    def __init__(self, channels: int, base: int = 256, length: int = 256) -> None:
        super().__init__()
        self.depth, self.segments = base, 0
        self.length = length
        self.linear = nn.Linear(channels * length, base)

    def steps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, mask = filled(x)
        self.stride = x.shape[-1]
        if values.shape[-1] != self.length:
            values = functional.interpolate(values, self.length, mode="linear", align_corners=True)
        return self.linear(values.flatten(1))[..., None], mask.any(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x)[0][..., 0]


ENCODERS: dict[str, Callable[..., SeriesEncoder]] = {
    "resnet": ResNet,
    "inception": InceptionTime,
    "patch": PatchTransformer,
    "projection": Projection,
}


def build(name: str, channels: int, **options: Any) -> SeriesEncoder:
    """A new encoder by name; ``options`` are its own, such as ``base``.

    Raises:
        InputError: there is no such encoder or option.
    """
    if name not in ENCODERS:
        raise InputError(f"There is no series encoder {name}; there are: {', '.join(sorted(ENCODERS))}.")
    try:
        return ENCODERS[name](channels, **options)
    except TypeError as error:
        raise InputError(f"The series encoder {name} does not take these options: {error}.") from None


def build_described(described: Mapping[str, Any]) -> SeriesEncoder:
    """The encoder that :func:`describe` told of, with fresh weights."""
    return build(str(described["encoder"]), int(described["channels"]), **dict(described["options"]))


def describe(name: str, channels: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config.json`` of a checkpoint says of an encoder."""
    return {"encoder": name, "channels": channels, "options": dict(options)}


def save_encoder(folder: Path, net: SeriesEncoder, config: dict[str, Any], card: str) -> None:
    """Write a checkpoint; ``config`` holds what :func:`describe` gives, and what else the recipe tells."""
    checkpoint.save(folder, config, dict(net.state_dict()), card)


def load_encoder(folder: Path) -> SeriesEncoder:
    """The encoder of a checkpoint folder, at rest.

    Raises:
        WeightsError: a file is missing, altered, or of another kind.
    """
    config, tensors = checkpoint.load(folder)
    try:
        net = build_described(config)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise WeightsError(f"The settings of {folder.name} are not those of a series encoder ({error}).") from None
    checkpoint.load_state(net, tensors, folder.name)
    return net.eval()


def with_channels(net: SeriesEncoder, fresh: SeriesEncoder) -> SeriesEncoder:
    """``fresh`` (the same kind, another number of channels) with the weights of ``net``.

    Maps from channels repeat theirs in turn and are scaled so that sums stay of one size, as timm does with pictures.
    """
    state = fresh.state_dict()
    for name, value in net.state_dict().items():
        wanted = state[name]
        if value.shape == wanted.shape:
            state[name] = value
        elif value.ndim == wanted.ndim == 3 and value.shape[0] == wanted.shape[0]:
            turns = torch.arange(wanted.shape[1]) % value.shape[1]
            state[name] = value[:, turns] * (value.shape[1] / wanted.shape[1])
    fresh.load_state_dict(state)
    return fresh
