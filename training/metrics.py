"""Figures of classifiers: accuracy, macro-F1 over the classes that occur, ECE, confusion; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import EMOTIONS

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


def confusion(truth: Ints, predicted: Ints, classes: int = len(EMOTIONS)) -> Ints:
    """Counts (classes, classes): row = truth, column = prediction."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def f1_scores(counts: Ints) -> dict[str, Floats]:
    """Precision, recall and F1 per class from a confusion matrix; 0 where undefined."""
    hit = np.diag(counts).astype("float64")
    precision = hit / np.maximum(counts.sum(0), 1)
    recall = hit / np.maximum(counts.sum(1), 1)
    f1 = 2 * hit / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return {"precision": precision, "recall": recall, "f1": f1}


def macro_f1(truth: Ints, predicted: Ints) -> float:
    """Mean F1 over the classes that occur in the truth (a set without disgust is not punished for lacking it)."""
    counts = confusion(truth, predicted)
    present = counts.sum(1) > 0
    return float(f1_scores(counts)["f1"][present].mean())


def macro_f1_multilabel(truth: Floats, predicted: Floats) -> float:
    """Mean F1 over the labels; both arrays (n, labels) of 0 and 1."""
    hit = (truth * predicted).sum(0)
    return float(np.mean(2 * hit / np.maximum(truth.sum(0) + predicted.sum(0), 1)))


def ece(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Expected calibration error of the top label over equal-width bins (Guo et al., 2017)."""
    top = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    which = np.minimum((top * bins).astype(int), bins - 1)
    gaps = [abs(top[which == b].mean() - right[which == b].mean()) * (which == b).mean() for b in np.unique(which)]
    return float(np.sum(gaps))


def ece_by_chance(probabilities: Floats, draws: int = 200) -> float:
    """The ECE to expect of so few rows if the probabilities (n, classes) were right: the mean over drawn labels.

    A perfectly calibrated model does not come below this on average (Nixon et al., 2019, on the bias of binned ECE).
    """
    draw = np.random.default_rng(0)
    below = probabilities.cumsum(1)[:, :-1]
    labels = ((below < draw.random((len(below), 1))).sum(1) for _ in range(draws))
    return float(np.mean([ece(probabilities, drawn) for drawn in labels]))


def summary(probabilities: Floats, truth: Ints) -> dict[str, Any]:
    """n, accuracy, macro_f1, ece, per_class and confusion of probabilities (n, 7) against labels (n)."""
    predicted = probabilities.argmax(1).astype("int64")
    counts = confusion(truth, predicted)
    scores = f1_scores(counts)
    per_class = {
        label: {"n": int(counts[i].sum()), **{name: round(float(values[i]), 5) for name, values in scores.items()}}
        for i, label in enumerate(EMOTIONS)
    }
    return {
        "n": len(truth),
        "accuracy": round(float((predicted == truth).mean()), 5),
        "macro_f1": round(macro_f1(truth, predicted), 5),
        "ece": round(ece(probabilities, truth), 5),
        "ece_by_chance": round(ece_by_chance(probabilities), 5),
        "per_class": per_class,
        "confusion": {"labels": list(EMOTIONS), "counts": counts.tolist()},
    }


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


DAY = 86_400


def interval(
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    times: NDArray[np.int64],
    *,
    draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Central interval of ``sum(top) / sum(bottom)`` when whole days (UTC, by epoch seconds) are drawn with replacement."""
    _, day = np.unique(times // DAY, return_inverse=True)
    tops, bottoms = np.bincount(day, top), np.bincount(day, bottom)
    picks = np.random.default_rng(seed).integers(len(tops), size=(draws, len(tops)))
    ratios = tops[picks].sum(axis=1) / np.maximum(bottoms[picks].sum(axis=1), 1e-12)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of few values (seeds) by Student's t; both ends are the value itself where there is one only."""
    from scipy.stats import t

    given = np.asarray(values, dtype=np.float64)
    mean = float(given.mean())
    if len(given) < 2:
        return mean, mean
    half = float(t.ppf((1 + level) / 2, len(given) - 1) * given.std(ddof=1) / np.sqrt(len(given)))
    return mean - half, mean + half
