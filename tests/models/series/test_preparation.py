"""Preparation looks back only, is fitted on the training part, and every step can be off."""

from __future__ import annotations

import numpy as np
import pytest

from models.series.preparation import Preparation, decoded, forward_filled, moving_average

X = np.random.default_rng(0).normal(3, 2, (20, 3, 40))


def test_labels_of_bytes_become_text() -> None:
    """b'1.0' and '1.0' are the same class."""
    assert decoded(np.array([b"1.0", b"2.0"], dtype=object)).tolist() == ["1.0", "2.0"]
    assert decoded(np.array(["up"])).tolist() == ["up"]


def test_filling_is_causal() -> None:
    """A hole takes the value before it; a start without one and the end of a shorter series stay missing."""
    x = np.array([[[np.nan, 1, np.nan, np.nan, 4, np.nan]]])
    out = forward_filled(x)
    assert out[0, 0, 1:5].tolist() == [1, 1, 1, 4]
    assert np.isnan(out[0, 0, [0, 5]]).all()


@pytest.mark.parametrize(
    "options", [{"fill": True}, {"smooth": 5}, {"scale": "standard", "outliers": "zscore", "smooth": 3}]
)
def test_nothing_of_the_future_enters(options: dict[str, object]) -> None:
    """Changing a series from step 25 on changes nothing before it."""
    prepared = Preparation(**options).fit(X)  # type: ignore[arg-type]  # switches of several types
    later = X.copy()
    later[..., 25:] = 99
    assert np.array_equal(prepared(X)[..., :25], prepared(later)[..., :25])


def test_moving_average_is_the_mean_of_the_last_steps() -> None:
    """Of 1, 2, 3, 4 over two: 1, 1.5, 2.5, 3.5; a missing step is left out and stays missing."""
    assert moving_average(np.array([[[1.0, 2, 3, 4]]]), 2)[0, 0].tolist() == [1, 1.5, 2.5, 3.5]
    assert moving_average(np.array([[[1.0, np.nan, 3]]]), 2)[0, 0, [0, 2]].tolist() == [1, 3]


def test_all_off_changes_nothing() -> None:
    """The default hands the values through."""
    assert np.array_equal(Preparation().fit(X)(X), X.astype(np.float32))


def test_scale_is_that_of_the_training_part() -> None:
    """Train becomes mean 0, deviation 1; other data keep their difference from it."""
    prepared = Preparation(scale="standard").fit(X)
    assert prepared(X).mean() == pytest.approx(0, abs=1e-5)
    assert prepared(X).std() == pytest.approx(1, abs=1e-3)
    assert prepared(X + 2).mean() == pytest.approx(1, abs=0.1)
    ranged = Preparation(scale="minmax").fit(X)(X)
    assert (ranged.min(), ranged.max()) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.parametrize("rule", ["zscore", "iqr"])
def test_outliers_are_pulled_to_the_bound(rule: str) -> None:
    """A spike of a thousand comes down; the middle of the values stays."""
    spiked = X.copy()
    spiked[0, 0, 5] = 1000
    prepared = Preparation(outliers=rule, bound=4)
    prepared.fit(X)
    out = prepared(spiked)
    assert out[0, 0, 5] < 30
    assert np.allclose(out[0, 0, 6:], X[0, 0, 6:])


def test_a_channel_that_repeats_another_goes() -> None:
    """Of a, b and 2a + noise, the third is dropped."""
    x = X.copy()
    x[:, 2] = 2 * x[:, 0] + 0.01 * x[:, 1]
    assert Preparation(drop_correlated=0.95).fit(x)(x).shape[1] == 2
    assert Preparation(drop_correlated=0.95).fit(X)(X).shape[1] == 3
