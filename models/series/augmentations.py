"""Augmentations of series by the formulas of report 004; each takes (n, channels, time) and returns the same shape.

Every function is ``f(x, amount, generator)``; what it draws, it draws for each series alone. NaN marks the end of a series
that is shorter than its batch, and stays where it was. ``TURNING`` names those that destroy direction: off for candles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from domain.errors import InputError

Augmentation = Callable[[Tensor, float, Generator], Tensor]
Choice = tuple[str, float, float]
"""Name, amount, and the probability with which a series is changed."""


def lengths(x: Tensor) -> Tensor:
    """Steps of each series up to its last known one, int64 (n); at least 1."""
    known = torch.isfinite(x).any(1)
    steps = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return torch.where(known, steps, 0).amax(1).clamp_min(1)


def resample(x: Tensor, places: Tensor) -> Tensor:
    """Linear interpolation of (n, channels, time) at places (n, time) in steps; past a series' end it stays as it is."""
    ends = lengths(x)[:, None]
    steps = torch.arange(x.shape[-1], device=x.device)[None]
    inside = steps < ends
    places = torch.minimum(places.clamp_min(0), (ends - 1).to(places.dtype))
    low = places.floor().long()
    high = torch.minimum(low + 1, ends - 1)
    share = (places - low)[:, None].to(x.dtype)
    first, second = (x.gather(-1, i[:, None].expand_as(x)) for i in (low, high))
    between = torch.where(share > 0, first * (1 - share) + second * share, first)
    return torch.where(inside[:, None], between, x)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(len(x), 1, generator=generator, device=x.device)


def time_flip(x: Tensor, _amount: float, _generator: Generator) -> Tensor:
    """The series read backwards."""
    ends = lengths(x)[:, None]
    return resample(x, (ends - 1 - torch.arange(x.shape[-1], device=x.device)[None]).to(torch.float32))


def channel_flip(x: Tensor, _amount: float, _generator: Generator) -> Tensor:
    """The channels in the opposite order."""
    return x.flip(1)


def sign_flip(x: Tensor, _amount: float, _generator: Generator) -> Tensor:
    """-x; the report's snippet calls this a flip."""
    return -x


def block_out(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """A random window of ``amount`` · T steps set to zero."""
    ends = lengths(x)[:, None]
    size = (ends * amount).round().long()
    start = (_uniform(x, generator) * (ends - size + 1)).long()
    steps = torch.arange(x.shape[-1], device=x.device)[None]
    hidden = (steps >= start) & (steps < start + size)
    return torch.where(hidden[:, None] & torch.isfinite(x), 0.0, x)


def noise(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """X + ``amount`` · σ ∘ U(-1, 1), σ the standard deviation of each channel of each series."""
    known = torch.isfinite(x)
    count = known.sum(-1, keepdim=True).clamp_min(1)
    mean = torch.where(known, x, 0.0).sum(-1, keepdim=True) / count
    spread = (torch.where(known, x - mean, 0.0).square().sum(-1, keepdim=True) / count).sqrt()
    return x + amount * spread * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)


def crop(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """A random window of ``amount`` · T steps, stretched back to T by linear interpolation."""
    ends = lengths(x)[:, None].to(torch.float32)
    span = (ends - 1) * amount
    start = _uniform(x, generator) * (ends - 1 - span)
    share = torch.arange(x.shape[-1], device=x.device)[None] / (ends - 1).clamp_min(1)
    return resample(x, start + share * span)


def magnitude_warp(x: Tensor, amount: float, generator: Generator, waves: float = 1.0) -> Tensor:
    """X ∘ λ(1 + sin(2πnt/T + θ)), θ drawn for each series, λ = ``amount``, n = ``waves``."""
    phase = 2 * torch.pi * _uniform(x, generator)
    share = torch.arange(x.shape[-1], device=x.device)[None] / lengths(x)[:, None]
    factor = amount * (1 + torch.sin(2 * torch.pi * waves * share + phase))
    return x * factor[:, None].to(x.dtype)


def time_warp(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Time read along a monotone map that runs ahead or lags by turns, with both ends kept; ``amount`` < 1."""
    share = torch.arange(x.shape[-1], device=x.device)[None] / (lengths(x)[:, None] - 1).clamp_min(1)
    phase = 2 * torch.pi * _uniform(x, generator)
    waves = torch.randint(1, 4, (len(x), 1), generator=generator, device=x.device)
    angle = 2 * torch.pi * waves
    warped = share + amount * (torch.sin(angle * share + phase) - torch.sin(phase)) / angle
    return resample(x, warped * (lengths(x)[:, None] - 1))


def smooth(x: Tensor, amount: float, _generator: Generator) -> Tensor:
    """Convolution along time with (λ/2, 1 - λ, λ/2), λ = ``amount``; the first and last step stand in beyond the ends."""
    steps = torch.arange(x.shape[-1], device=x.device)[None].to(torch.float32)
    before, after = resample(x, (steps - 1).expand(len(x), -1)), resample(x, (steps + 1).expand(len(x), -1))
    return (1 - amount) * x + amount / 2 * (before + after)


def jitter(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """X + N(0, ``amount``); the report's is 0.05."""
    return x + amount * torch.randn(x.shape, generator=generator, device=x.device)


AUGMENTATIONS: dict[str, Augmentation] = {
    f.__name__: f
    for f in (
        time_flip, channel_flip, sign_flip, block_out, noise, crop, magnitude_warp, time_warp, smooth, jitter,
    )
}  # fmt: skip
TURNING = frozenset({"time_flip", "sign_flip"})


class Augment:
    """Several augmentations one after the other, each with its probability for every series."""

    def __init__(self, choices: Sequence[Choice], *, directed: bool = False) -> None:
        """Check the names; ``directed`` series (candles) refuse those of :data:`TURNING`.

        Raises:
            InputError: an augmentation is unknown, or turns series whose direction matters.
        """
        for name, *_ in choices:
            if name not in AUGMENTATIONS:
                raise InputError(f"There is no augmentation {name}; there are: {', '.join(sorted(AUGMENTATIONS))}.")
            if directed and name in TURNING:
                raise InputError(f"The augmentation {name} would destroy the direction of candles; leave it out.")
        self.choices = [(AUGMENTATIONS[name], amount, probability) for name, amount, probability in choices]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of every series (n, channels, time)."""
        for change, amount, probability in self.choices:
            chosen = torch.rand(len(x), 1, 1, generator=generator, device=x.device) < probability
            x = torch.where(chosen, change(x, amount, generator), x)
        return x
