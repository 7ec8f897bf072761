"""What a series encoder must beat: the nearest neighbour by Euclidean distance and by DTW, and MiniRocket."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.encoders.minirocket import MiniRocket
from training.series.sets import SeriesSet

Labels = NDArray[np.int64]


def nearest(distances: Tensor, labels: Labels, truth: Labels) -> float:
    """Accuracy of the one nearest neighbour from distances (test, train)."""
    return float((labels[distances.argmin(1).numpy()] == truth).mean())


def common_length(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both without NaN (zeros) and padded to one length."""
    length = max(train.shape[-1], test.shape[-1])
    return tuple(torch.nn.functional.pad(x.nan_to_num(), (0, length - x.shape[-1])) for x in (train, test))  # type: ignore[return-value]


def euclidean(train: Tensor, test: Tensor) -> Tensor:
    """Distances (test, train) over all channels and steps."""
    a, b = common_length(train, test)
    return torch.cdist(b.flatten(1), a.flatten(1))


def dtw(train: Tensor, test: Tensor, window: float = 0.1) -> Tensor:
    """Dependent DTW distances (test, train): one path for all channels, within ``window`` of the length of the diagonal.

    Sweeps over anti-diagonals with all pairs at once; cost at (i, j) is the squared distance over channels.
    """
    a, b = common_length(train, test)
    length, reach = a.shape[-1], max(int(window * a.shape[-1]), 1)
    rows = [_dtw_row(series, a, length, reach) for series in b]
    return torch.stack(rows)


def _dtw_row(series: Tensor, others: Tensor, length: int, reach: int) -> Tensor:
    """Distances of one series (channels, time) to others (n, channels, time)."""
    infinite = torch.full((len(others), length + 1), torch.inf)
    before, last = infinite.clone(), infinite.clone()
    last_but_one = infinite.clone()
    last_but_one[:, 0] = 0
    for total in range(2, 2 * length + 1):
        low = max(1, total - length, -(-(total - reach) // 2))
        high = min(length, total - 1, (total + reach) // 2)
        i = torch.arange(low, high + 1)
        gap = series[:, i - 1][None] - others[:, :, total - i - 1]
        best = torch.minimum(torch.minimum(last[:, i - 1], last[:, i]), last_but_one[:, i - 1])
        before = infinite.clone()
        before[:, i] = gap.square().sum(1) + best
        last_but_one, last = last, before
    return last[:, length]


def ridge(train: Any, labels: Labels, test: Any) -> NDArray[np.float64]:
    """Scores (n, classes) of a ridge classifier whose penalty is chosen by leaving one out, as ROCKET's authors use."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10)))
    model.fit(np.asarray(train), labels)
    scores = np.asarray(model.decision_function(np.asarray(test)), dtype=np.float64)
    return np.stack([-scores, scores], 1) if scores.ndim == 1 else scores


def minirocket(data: SeriesSet, few: list[Labels], seeds: tuple[int, ...], features: int = 9996) -> dict[str, float]:
    """Accuracies on the test part: ``minirocket`` and ``minirocket_few_shot`` as means over seeds, and ``minirocket_sum``.

    Channels and biases are drawn from all training series without labels; ``few`` holds the labelled rows of each seed. The
    sum adds the ridge scores of every seed with and without first differences.
    """
    everything = np.arange(len(data.y))
    single, scarce = [], []
    total: Any = 0
    for seed, rows in zip(seeds, few, strict=True):
        for differences in (False, True):
            rocket = MiniRocket(features, differences=differences, seed=seed).fit(data.x)
            train, test = rocket(data.x).numpy(), rocket(data.test_x).numpy()
            scores = ridge(train, data.y, test)
            total = total + scores
            if not differences:
                single.append(_accuracy(scores, data, everything))
                scarce.append(_accuracy(ridge(train[rows], data.y[rows], test), data, rows))
    return {
        "minirocket": float(np.mean(single)),
        "minirocket_few_shot": float(np.mean(scarce)),
        "minirocket_sum": _accuracy(total, data, everything),
    }


def _accuracy(scores: Any, data: SeriesSet, rows: Labels) -> float:
    present = np.unique(data.y[rows])
    return float((present[np.asarray(scores).argmax(1)] == data.test_y).mean())
