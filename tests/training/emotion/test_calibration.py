"""What is fitted to a finished network: distortions brought back, absent classes left alone, the lexicon, thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.emotion.calibration import fit_lexicon, fit_mixture, fit_scale, fit_scale_and_bias, fit_thresholds


def test_calibration_recovers_a_known_distortion() -> None:
    """Logits that are too sharp by 3 and shifted by a bias are brought back."""
    torch.manual_seed(0)
    true = torch.randn(6000, 7) * 2
    labels = torch.distributions.Categorical(logits=true).sample()
    shift = torch.linspace(-1, 1, 7)
    scale, bias = fit_scale_and_bias(true * 3 - shift * 3, labels, 1e-6)
    assert scale == pytest.approx(1 / 3, rel=0.1)
    torch.testing.assert_close(bias - bias.mean(), shift, atol=0.15, rtol=0)


def test_absent_classes_get_no_bias() -> None:
    """A class that a set lacks is not pushed down for it."""
    logits = torch.randn(500, 7)
    _, bias = fit_scale_and_bias(logits, torch.randint(0, 5, (500,)))
    assert bias[5:].tolist() == [0, 0]


def test_a_second_voice_gets_the_share_it_deserves() -> None:
    """Where labels follow two voices the second one's share is found; where it only makes noise it gets none."""
    torch.manual_seed(0)
    first, second = torch.randn(6000, 7) * 2, torch.randn(6000, 7) * 2
    labels = torch.distributions.Categorical(logits=first + 0.5 * second).sample()
    assert fit_mixture(first, second, labels, 1e-6)[2] == pytest.approx(0.5, abs=0.05)
    assert fit_mixture(first + 0.5 * second, torch.randn(6000, 7), labels, 1e-6)[2] == pytest.approx(0, abs=0.05)
    assert fit_mixture(first, -second, labels, 1e-6)[2] == 0, "it never speaks against a label"


def test_the_lexicon_learns_words_that_settle_a_label() -> None:
    """Tokens seen with one label only speak for it; absent classes and unseen tokens say nothing; rows add up to 0."""
    lengths = torch.full((300,), 2)
    labels = torch.arange(300) % 3
    tokens = torch.stack([labels + 1, torch.full((300,), 9)], 1).flatten()
    found = fit_lexicon(tokens, lengths, labels, 12, 10.0)
    assert found[1:4].argmax(1).tolist() == [0, 1, 2]
    assert found[9].abs().max() < 0.1 < found[1, 0]
    assert not found[:, 3:].any()
    assert not found[10:].any()
    torch.testing.assert_close(found.sum(1), torch.zeros(12), atol=1e-3, rtol=0)


def test_a_stranger_gets_a_temperature_and_no_bias() -> None:
    """Logits that are twice as sure as they should be are halved; a source of weight 0 has no say."""
    torch.manual_seed(0)
    sound = torch.randn(6000, 7) * 1.5
    labels = torch.distributions.Categorical(logits=sound).sample()
    weights = (torch.arange(6000) < 4000).float()
    labels[4000:] = 0
    assert fit_scale(2 * sound, labels, weights) == pytest.approx(0.5, abs=0.03)


def test_thresholds_beat_one_half() -> None:
    """For a rare label with low scores the threshold goes down to where F1 is best."""
    truth = np.zeros((1000, 1))
    truth[:50] = 1
    scores = np.where(truth == 1, 0.3, 0.1) + np.random.default_rng(0).normal(0, 0.01, (1000, 1))
    assert 0.1 < fit_thresholds(scores, truth)[0] < 0.3
