"""Chromagrams equal librosa's; pictures are those of the report; losses keep their formulas."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from models.trajectories.chroma import chromagrams, filters, pictures
from models.trajectories.losses import info_nce, siglip, soft_targets


def walks(count: int = 24) -> torch.Tensor:
    steps = torch.randn(count, 256, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.05
    return steps - steps[:, :1]


@pytest.mark.parametrize("tuning", [0.0, 0.25, None])
def test_equal_to_librosa(tuning: float | None) -> None:
    """|STFT(256)|, hop 64, 4 kHz, twelve classes: 12 × 5 numbers within 1e-5, with given and with estimated tuning."""
    librosa = pytest.importorskip("librosa")
    x = walks()
    ours = chromagrams(x, tuning)
    assert ours.shape == (24, 12, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa warns of frames without peaks
        theirs = [
            librosa.feature.chroma_stft(S=np.abs(librosa.stft(row, n_fft=256)), sr=4000, n_fft=256, tuning=tuning)
            for row in x.numpy()
        ]
    assert np.abs(ours.numpy() - np.stack(theirs)).max() < 1e-5


def test_filters_are_twelve_classes() -> None:
    """(12, 129), no negative weight, every class heard."""
    bank = filters(0.0)
    assert bank.shape == (12, 129)
    assert bank.min() >= 0
    assert (bank.sum(1) > 0).all()


def test_chroma_drops_the_scale() -> None:
    """Ten times the move gives the same chromagram (the report's picture cannot tell them apart); nothing gives zeros."""
    x = walks()
    assert torch.allclose(chromagrams(x), chromagrams(10 * x), atol=1e-5)
    assert chromagrams(torch.zeros(2, 256)).abs().max() == 0


@pytest.mark.parametrize("drawn", [True, False])
def test_pictures_are_for_image_encoders(drawn: bool) -> None:
    """(n, 3, size, size) in ImageNet's scale; different chromagrams give different pictures."""
    made = pictures(chromagrams(walks(4)), 64, drawn=drawn)
    assert made.shape == (4, 3, 64, 64)
    assert -2.2 < float(made.min()) < float(made.max()) < 2.7
    assert (made[0] - made[1]).abs().max() > 0.1


def test_a_constant_scores_ln_b_with_the_reports_loss() -> None:
    """Spec 000: 3.466 for a batch of 32, and half of it for a one-sided hub."""
    constant = torch.ones(32, 8)
    assert float(soft_targets(constant, constant)) == pytest.approx(math.log(32), rel=1e-5)
    unit = torch.nn.functional.normalize(torch.ones(32, 8), dim=1)
    series, texts = unit.clone(), unit
    series[0] *= 100
    assert float(soft_targets(texts, series)) == pytest.approx(math.log(32) / 2, rel=0.02)


def test_the_targets_gradient_is_a_switch() -> None:
    """Detached or not, the value is the same and the gradient is not."""
    given = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for detach in (False, True):
        texts, series = (side.clone().requires_grad_() for side in given)
        loss = soft_targets(texts, series, detach=detach)
        loss.backward()
        found.append((float(loss.detach()), texts.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert not torch.allclose(found[0][1], found[1][1])  # type: ignore[arg-type]


def test_info_nce_and_siglip_by_hand() -> None:
    """Against loops, with an extra positive and a pair that is left out."""
    a, b = torch.nn.functional.normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2)), dim=2)
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    skip = torch.zeros(3, 3, dtype=torch.bool)
    skip[2, 0] = skip[0, 2] = True
    scale, bias = torch.tensor(5.0), torch.tensor(-1.0)
    logits = (5 * a @ b.T).tolist()
    total, pairwise = 0.0, 0.0
    for rows, kept in ((logits, same), (list(map(list, zip(*logits, strict=True))), same.T)):
        for i in range(3):
            below = sum(math.exp(rows[i][j]) for j in range(3) if not skip[i, j])
            positives = [j for j in range(3) if kept[i, j]]
            total -= sum(math.log(math.exp(rows[i][j]) / below) for j in positives) / len(positives) / 6
    for i in range(3):
        for j in range(3):
            if not skip[i, j]:
                sign = 1 if same[i, j] else -1
                pairwise += math.log(1 + math.exp(-sign * (logits[i][j] - 1))) / 3
    assert float(info_nce(a, b, scale, same, skip)) == pytest.approx(total, rel=1e-4)
    assert float(siglip(a, b, scale, bias, same, skip)) == pytest.approx(pairwise, rel=1e-4)
