"""Every series encoder behind one interface (any length, channels, NaN endings), and MiniRocket by a plain reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InputError
from models.encoders.minirocket import KERNELS, MiniRocket, convolve, dilations
from models.encoders.series import ENCODERS, build

NAMES = sorted(ENCODERS)
ALONG_TIME = [name for name in NAMES if name != "projection"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "length"), [(1, 24), (3, 97), (6, 30)])
def test_any_length_and_channels(name: str, channels: int, length: int) -> None:
    """Vectors are (n, width) and finite, also where series have ended or are all missing."""
    torch.manual_seed(0)
    net = build(name, channels)
    x = torch.randn(5, channels, length)
    x[1, :, length // 2 :] = torch.nan
    x[2] = torch.nan
    vectors = net(x)
    assert vectors.shape == (5, net.width)
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    """No part of an encoder is idle."""
    torch.manual_seed(0)
    net = build(name, 2)
    net(torch.randn(6, 2, 64)).square().sum().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []


@pytest.mark.parametrize("name", ALONG_TIME)
def test_missing_steps_at_the_end_do_not_count(name: str) -> None:
    """A NaN ending changes nothing: the vector is that of the shorter series (lengths are multiples of the stride)."""
    torch.manual_seed(0)
    net = build(name, 2).eval()
    short = torch.randn(3, 2, 64)
    long = torch.cat([short, torch.full((3, 2, 32), torch.nan)], 2)
    assert torch.allclose(net(short), net(long), atol=1e-5)


@pytest.mark.parametrize("name", ALONG_TIME)
def test_steps_keep_time(name: str) -> None:
    """Features along time are (n, depth, ⌈time / stride⌉) with a mask of that length."""
    net = build(name, 2)
    features, mask = net.steps(torch.randn(4, 2, 50))
    assert features.shape == (4, net.depth, -(-50 // net.stride))
    assert mask.shape == (4, -(-50 // net.stride))
    assert mask.all()


def test_an_unknown_encoder_or_option_is_named() -> None:
    """The message lists what there is."""
    with pytest.raises(InputError, match="resnet"):
        build("lstm", 3)
    with pytest.raises(InputError, match="colour"):
        build("resnet", 3, colour=1)


def test_minirocket_kernels_sum_to_zero() -> None:
    """84 different kernels of -1 and 2, as in the paper."""
    assert len({tuple(k) for k in KERNELS.tolist()}) == 84
    assert np.array_equal(KERNELS.sum(1), np.zeros(84))


def test_minirocket_convolution_is_the_plain_one() -> None:
    """Each kernel's output equals a loop over its nine taps."""
    torch.manual_seed(0)
    rows = torch.randn(2, 84, 40)
    ours = convolve(rows, 3)
    for k in (0, 17, 83):
        for t in (0, 11, 20, 39):
            places = [t + 3 * (i - 4) for i in range(9)]
            plain = sum(KERNELS[k][i] * float(rows[1, k, p]) for i, p in enumerate(places) if 0 <= p < rows.shape[-1])
            assert float(ours[1, k, t]) == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("differences", [False, True])
def test_minirocket_features_are_shares_and_repeat(differences: bool) -> None:
    """Values lie in 0 to 1, the same seed gives the same features, batches do not matter, other lengths are taken."""
    torch.manual_seed(0)
    x = torch.randn(12, 3, 60)
    x[3, :, 40:] = torch.nan
    rocket = MiniRocket(1008, differences=differences, seed=4).fit(x)
    features = rocket(x)
    assert features.shape == (12, rocket.width)
    assert 900 <= rocket.width <= 1100
    assert ((features >= 0) & (features <= 1)).all()
    again = MiniRocket(1008, differences=differences, seed=4).fit(x)(x, batch=5)
    assert torch.equal(features, again)
    assert rocket(torch.randn(2, 3, 80)).shape == (2, rocket.width)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(9, 600), features=st.integers(84, 10_000))
def test_dilated_kernels_fit_into_the_series(length: int, features: int) -> None:
    """The longest kernel is no longer than the series, and every kernel gets its share of the biases."""
    steps, shares = dilations(length, features)
    assert 8 * max(steps) <= max(length - 1, 8)
    assert sum(shares) == max(features // 84, 1)
    assert min(shares) >= 1 or len(shares) > features // 84
