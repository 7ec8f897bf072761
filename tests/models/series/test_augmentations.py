"""Augmentations: the spec's formulas hold, endings stay, and what would turn candles is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InputError
from models.series import augmentations as a

settings.register_profile("series", max_examples=25, deadline=None)
settings.load_profile("series")

seeds = st.integers(0, 10_000)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(8, 80))


def series(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(a.AUGMENTATIONS))
def test_shape_endings_and_seed(name: str) -> None:
    """Shape and NaN endings stay, the input is not written to, and the seed decides everything."""
    x = series((4, 3, 40), 1)
    x[2, :, 25:] = torch.nan
    kept = x.clone()
    first = a.AUGMENTATIONS[name](x, 0.3, generator(7))
    assert first.shape == x.shape
    assert torch.equal(torch.isnan(first), torch.isnan(x))
    assert torch.equal(x.nan_to_num(), kept.nan_to_num())
    assert torch.equal(first.nan_to_num(), a.AUGMENTATIONS[name](x, 0.3, generator(7)).nan_to_num())


@given(shapes, seeds)
def test_flips_undo_themselves(shape: tuple[int, int, int], seed: int) -> None:
    """Each flip twice is the series itself; once, time runs backwards, channels swap, the sign turns."""
    x = series(shape, seed)
    g = generator(seed)
    for flip in (a.time_flip, a.channel_flip, a.sign_flip):
        assert torch.equal(flip(flip(x, 1, g), 1, g), x)
    assert torch.equal(a.time_flip(x, 1, g), x.flip(2))
    assert torch.equal(a.channel_flip(x, 1, g), x.flip(1))
    assert torch.equal(a.sign_flip(x, 1, g), -x)


@given(shapes, seeds, st.floats(0, 1))
def test_block_out_hides_one_window(shape: tuple[int, int, int], seed: int, amount: float) -> None:
    """Exactly round(λT) steps are zero, next to one another, the same in every channel; the rest is untouched."""
    x = series(shape, seed) + 10
    out = a.block_out(x, amount, generator(seed))
    hidden = (out == 0).all(1)
    assert torch.equal(hidden, (out == 0).any(1))
    assert (hidden.sum(1) == round(shape[2] * amount)).all()
    assert (hidden.int().diff(dim=1) == 1).sum(1).max() <= 1
    assert torch.equal(torch.where(out == 0, x, out), x)


@given(shapes, seeds, st.floats(0, 2))
def test_noise_stays_within_its_bound(shape: tuple[int, int, int], seed: int, amount: float) -> None:
    """|noise| ≤ λσ of each channel."""
    x = series(shape, seed)
    moved = (a.noise(x, amount, generator(seed)) - x).abs()
    assert (moved <= amount * x.std(-1, unbiased=False, keepdim=True) + 1e-5).all()


@given(seeds, st.floats(0.2, 1), st.integers(8, 80))
def test_crop_of_a_line_is_a_slower_line(seed: int, amount: float, length: int) -> None:
    """A ramp cropped and stretched is a ramp of slope λ inside the old values: resized, not padded."""
    ramp = torch.arange(length, dtype=torch.float32).expand(3, 1, length)
    out = a.crop(ramp, amount, generator(seed))
    assert torch.allclose(out.diff(dim=-1), torch.tensor(amount), atol=1e-3)
    assert (out >= -1e-4).all()
    assert (out <= length - 1 + 1e-4).all()


@given(shapes, seeds, st.floats(0.1, 2))
def test_magnitude_warp_is_the_formula(shape: tuple[int, int, int], seed: int, amount: float) -> None:
    """x ∘ λ(1 + sin(2πnt/T + θ)): one factor for all channels, between 0 and 2λ, whose mean over a period is λ."""
    out = a.magnitude_warp(torch.ones(shape), amount, generator(seed))
    assert torch.allclose(out, out[:, :1].expand_as(out))
    assert (out >= -1e-5).all()
    assert (out <= 2 * amount + 1e-5).all()
    assert torch.allclose(out.mean(-1), torch.tensor(amount), atol=1e-4)


@given(seeds, st.floats(0, 0.9), st.integers(8, 80))
def test_time_warp_is_monotone_both_ways(seed: int, amount: float, length: int) -> None:
    """Of a ramp: it still rises everywhere, both ends stay."""
    ramp = torch.arange(length, dtype=torch.float32).expand(4, 1, length)
    out = a.time_warp(ramp, amount, generator(seed))
    assert (out.diff(dim=-1) >= -1e-3).all()
    assert torch.allclose(out[..., 0], torch.tensor(0.0), atol=1e-3)
    assert torch.allclose(out[..., -1], torch.tensor(float(length - 1)), atol=1e-2)


def test_time_warp_runs_ahead_and_lags() -> None:
    """Over many series both directions occur (the report's only shifts forward)."""
    ramp = torch.arange(50, dtype=torch.float32).expand(64, 1, 50)
    moved = a.time_warp(ramp, 0.8, generator(0)) - ramp
    assert moved.max() > 1
    assert moved.min() < -1


@given(shapes, seeds, st.floats(0, 1))
def test_smooth_is_the_kernel_along_time(shape: tuple[int, int, int], seed: int, amount: float) -> None:
    """Equal to numpy's convolution with (λ/2, 1 - λ, λ/2) along time with repeated ends."""
    x = series(shape, seed)
    out = a.smooth(x, amount, generator(seed))
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1)), mode="edge")
    plain = amount / 2 * (padded[..., :-2] + padded[..., 2:]) + (1 - amount) * padded[..., 1:-1]
    assert np.allclose(out.numpy(), plain, atol=1e-5)


def test_jitter_has_its_deviation() -> None:
    """N(0, 0.05)."""
    x = torch.zeros(20, 3, 500)
    assert float(a.jitter(x, 0.05, generator(0)).std()) == pytest.approx(0.05, rel=0.03)


def test_candles_keep_their_direction() -> None:
    """Flips of time and sign are refused for directed series, unknown names always."""
    with pytest.raises(InputError, match="direction"):
        a.Augment([("time_flip", 1, 0.5)], directed=True)
    with pytest.raises(InputError, match="jitter"):
        a.Augment([("rotate", 1, 0.5)])
    assert a.Augment([("time_flip", 1, 1)])(torch.arange(4.0).reshape(1, 1, 4), generator(0))[0, 0, 0] == 3


def test_probability_is_per_series() -> None:
    """At one half, some series of a batch change and some do not."""
    x = series((200, 1, 16), 3)
    out = a.Augment([("sign_flip", 1, 0.5)])(x, generator(1))
    assert 60 < int((out != x).any(2).any(1).sum()) < 140
