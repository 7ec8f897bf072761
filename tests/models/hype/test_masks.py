"""The mask path, on pictures made here: a bright figure before a dark ground."""

from __future__ import annotations

import numpy as np
import pytest

from domain.errors import WeightsError
from models.hype.masks import NamedMask, PersonMask, only


def figure() -> np.ndarray:
    """A red figure of 40 × 70 pixels in the middle of a noisy green ground."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 40, (120, 100, 3)).astype(np.uint8)
    picture[:, :, 1] += 60
    picture[25:95, 30:70] = rng.integers(180, 220, (70, 40, 3)) * np.array([1, 0.2, 0.2])
    return picture


def test_the_figure_is_kept_and_the_ground_is_black() -> None:
    """Most of the figure is in the mask and most of the ground is not; mask × picture blackens the rest."""
    picture = figure()
    mask = PersonMask().mask(picture)
    inside = np.zeros(picture.shape[:2], dtype=bool)
    inside[25:95, 30:70] = True
    assert mask.shape == picture.shape[:2]
    assert mask[inside].mean() > 0.9
    assert mask[~inside].mean() < 0.1
    cut = only(picture, mask)
    assert cut[~inside].mean() < picture[~inside].mean() / 5
    np.testing.assert_array_equal(cut[mask == 1], picture[mask == 1])


@pytest.mark.parametrize("picture", [np.zeros((64, 64, 3), np.uint8), np.full((8, 8, 3), 7, np.uint8)])
def test_nothing_to_part_keeps_the_whole(picture: np.ndarray) -> None:
    """A flat or tiny picture counts as a whole."""
    assert PersonMask().mask(picture).min() == 1


def test_an_unknown_model_is_one_sentence(tmp_path: object) -> None:
    """A folder without a model is a WeightsError that names it."""
    with pytest.raises(WeightsError, match="segmentation model"):
        NamedMask(str(tmp_path), ["dress"])
