"""The precision that models run in is the one that is faster here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models import device


@pytest.fixture(autouse=True)
def timed_anew() -> Iterator[None]:
    device._half_is_faster.cache_clear()
    yield
    device._half_is_faster.cache_clear()


@pytest.mark.parametrize(("half", "chosen"), [(0.5, torch.bfloat16), (0.95, torch.float32), (1.7, torch.float32)])
def test_half_precision_must_pay(half: float, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor multiplies bfloat16 but not clearly faster, full precision stays."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(device, "_seconds", lambda x, weight: half if x.dtype == torch.bfloat16 else 1.0)
    assert device.half_or_full("cpu") == chosen


def test_emulated_half_precision_is_not_even_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the instructions the answer is known."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(device, "_seconds", lambda *_: pytest.fail("timed"))
    assert device.half_or_full("cpu") == torch.float32


def test_a_product_takes_time() -> None:
    """The probe multiplies for real."""
    assert device._seconds(torch.ones(64, 64), torch.ones(64, 64), times=2) > 0
