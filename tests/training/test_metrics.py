"""Scores agree with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import auc, interval, pinball, reliability_error


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auc_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    """The share of (positive, negative) pairs ranked rightly, ties half; None with one class."""
    labels, scores = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    pairs = [np.sign(p - n) / 2 + 0.5 for p in scores[labels] for n in scores[~labels]]
    found = auc(labels, scores)
    assert (found is None) == (not pairs)
    if pairs:
        assert found == pytest.approx(np.mean(pairs), abs=1e-5)


def test_pinball_tends_to_the_crps_of_a_normal() -> None:
    """For a standard normal forecast and truth 0 the CRPS is (√2 - 1) / √π."""
    levels = (np.arange(999) + 1) / 1000
    draws = np.sort(np.random.default_rng(0).normal(size=200_001))
    quantiles = draws[(levels * 200_001).astype(int)]
    found = pinball(np.zeros(1), quantiles[None], levels)[0]
    assert found == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi), rel=0.01)


def test_reliability_error_of_a_biased_forecast() -> None:
    """A forecast that says 0.5 of what happens one time in five is off by 0.3; a true one by next to nothing."""
    labels = np.arange(1000) % 5 == 0
    assert reliability_error(np.full(1000, 0.5), labels.astype(float)) == pytest.approx(0.3, abs=0.01)
    assert reliability_error(np.full(1000, 0.2), labels.astype(float)) < 0.01


def test_days_are_drawn_whole() -> None:
    """Rows of one day move together: a thousand copies of each day do not narrow the interval."""
    rng = np.random.default_rng(0)
    values, times = rng.normal(1, 1, 30), np.arange(30) * 86_400
    once = interval(values, np.ones(30), times)
    copies = interval(np.repeat(values, 1000), np.ones(30_000), np.repeat(times, 1000))
    assert once[0] < values.mean() < once[1]
    assert copies == pytest.approx(once)
