"""The scan proposes candidates: its errors stay below what it states, in both precisions, and its floors are floors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import device as scan
from models.device import Scan, floor_of


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_products_are_within_their_slack(dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64: the stated largest error holds for few and many rows, also for a query that is one of them."""
    monkeypatch.setattr(scan, "LARGE", 100 if dtype else 10**9)
    monkeypatch.setattr(scan, "half_or_full", lambda device: dtype)
    vectors = unit(500, 1)
    queries = np.concatenate([unit(20, 2), vectors[:5]])
    made = Scan(vectors)
    assert (made.slack == scan.HALF) is (dtype == torch.bfloat16)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    error = np.abs(made.products(queries) - exact).max()
    assert error <= made.slack
    assert bool(error > scan.EXACT) is (dtype == torch.bfloat16)


def test_many_vectors_lie_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU scans its own copy."""
    monkeypatch.setattr(scan, "LARGE", 100)
    many = Scan(unit(200, 1), "meta")._many
    assert many is not None
    assert many.is_meta


@pytest.mark.parametrize("count", [81, 500, 1300, 100_000])
def test_enough_scores_reach_the_floor(count: int) -> None:
    """At least ``depth`` scores are at or above it, and for many scores not many more."""
    scores = np.random.default_rng(3).normal(size=count).astype(np.float32)
    reached = int((scores >= floor_of(scores, 80)).sum())
    assert 80 <= reached <= 160
