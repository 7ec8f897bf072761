"""Scores of forecasts: ranking, quantile loss, calibration of a probability; numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def auc(labels: NDArray[np.bool_], scores: Doubles) -> float | None:
    """Area under the ROC curve with ties counted half; None when only one class occurs."""
    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return None
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return round(float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative)), 5)


def pinball(truth: Doubles, quantiles: Doubles, levels: Doubles) -> Doubles:
    """Twice the mean quantile loss of forecasts (n, levels) of truth (n): float64[n], which tends to the CRPS."""
    gap = truth[:, None] - quantiles
    return np.asarray(2 * np.maximum(levels * gap, (levels - 1) * gap).mean(axis=1), dtype=np.float64)


def reliability_error(probabilities: Doubles, labels: NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error of the probability of an event, over bins of equal counts."""
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(bins, len(labels)))
    gaps = [abs(probabilities[p].mean() - labels[p].mean()) * len(p) for p in parts]
    return float(np.sum(gaps) / len(labels))
