"""What is fitted to a finished network by likelihood: temperature, class bias and lexicon per style of text; thresholds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.types import EMOTIONS
from models.emotion.net import bag
from training.metrics import Floats, macro_f1_multilabel
from training.optim import minimise


def fit_scale_and_bias(logits: Tensor, labels: Tensor, penalty: float = 1e-3) -> tuple[float, Tensor]:
    """Inverse temperature and bias (7) that maximise the likelihood of labels (n) given logits (n, 7).

    Classes without a label in the set keep bias 0: their absence says something of the set, not of language.
    """
    scale, bias, _ = fit_mixture(logits, torch.zeros_like(logits), labels, penalty)
    return scale, bias


def fit_mixture(logits: Tensor, lexical: Tensor, labels: Tensor, penalty: float = 1e-3) -> tuple[float, Tensor, float]:
    """As :func:`fit_scale_and_bias`, and the weight (≥ 0) of second logits, ``lexical`` (n, 7), that are added to them."""
    log_scale = torch.zeros(1, requires_grad=True)
    share = torch.zeros(1, requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    present = (torch.bincount(labels, minlength=len(EMOTIONS)) > 0).float()

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(logits * log_scale.exp() + lexical * share + bias * present, labels)
        return value + penalty * (bias.square().sum() + log_scale.square().sum() + share.square().sum())

    minimise([log_scale, share, bias], loss)
    if share < 0:
        return fit_mixture(logits, torch.zeros_like(lexical), labels, penalty)
    return float(log_scale.exp().detach()), (bias * present).detach(), float(share.detach())


def fit_lexicon(tokens: Tensor, lengths: Tensor, labels: Tensor, vocabulary: int, strength: float) -> Tensor:
    """A row for each token, (vocabulary, 7), whose :func:`models.emotion.net.bag` tells labels (n) from tokens.

    Multinomial logistic regression of at most 150 steps; ``strength`` is the weight of the likelihood against the squared
    norm, scikit-learn's C. Started from zeros, the rows of absent classes stay 0.
    """
    weight = torch.zeros(vocabulary, len(EMOTIONS), requires_grad=True)
    present = torch.bincount(labels, minlength=len(EMOTIONS)) > 0

    def loss() -> Tensor:
        logits = bag(weight, tokens, lengths).masked_fill(~present, float("-inf"))
        value = nn.functional.cross_entropy(logits, labels)
        return value + weight.square().sum() / (2 * strength * len(labels))

    minimise([weight], loss, 150, tolerance=1e-7)
    return weight.detach()


def fit_style(features: Tensor, styles: Tensor, head: nn.Linear, steps: int = 200) -> None:
    """Train a linear head in place to tell styles (n) from features (n, width), each style weighing the same."""
    counts = torch.bincount(styles, minlength=head.out_features).clamp_min(1)
    weights = counts.sum() / (counts * head.out_features)
    mean, std = features.mean(0), features.std(0) + 1e-6
    standard = (features - mean) / std
    layer = nn.Linear(head.in_features, head.out_features)

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(layer(standard), styles, weight=weights.float())
        return value + 1e-3 * layer.weight.square().sum()

    minimise(layer.parameters(), loss, steps)
    with torch.no_grad():
        head.weight.copy_(layer.weight / std)
        head.bias.copy_(layer.bias - (layer.weight / std) @ mean)


def fit_independent(features: Tensor, truth: Tensor, start: nn.Linear, head: nn.Linear, steps: int = 100) -> None:
    """Train a linear head in place for independent labels (n, k) of features (n, width), drawn to where ``start`` stands."""
    weight, bias = (p.detach().clone().requires_grad_(True) for p in (start.weight, start.bias))

    def loss() -> Tensor:
        value = nn.functional.binary_cross_entropy_with_logits(features @ weight.T + bias, truth)
        return value + 1e-4 * (weight - start.weight.detach()).square().sum()

    minimise([weight, bias], loss, steps)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def fit_thresholds(scores: Floats, truth: Floats) -> NDArray[np.float64]:
    """Per label, the score above which it is claimed, for the best F1; both arrays (n, 7)."""
    best = np.zeros(truth.shape[1])
    for k in range(truth.shape[1]):
        candidates = np.quantile(scores[:, k], np.linspace(0.4, 0.998, 160))
        gains = [macro_f1_multilabel(truth[:, k : k + 1], (scores[:, k : k + 1] > c).astype(float)) for c in candidates]
        best[k] = candidates[int(np.argmax(gains))]
    return best


def margins(probabilities: Floats) -> Floats:
    """Distance between the two largest probabilities of each row (n, 7) → (n)."""
    ordered = np.sort(probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]
