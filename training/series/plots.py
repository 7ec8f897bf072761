"""Pictures of report 004: loss curves, network dissection, correlation of features, importance of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.encoders.series import SeriesEncoder
from training.series.probes import vectors
from training.series.sets import SeriesSet

UNITS = 12


def figure_of(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7, 4)) -> tuple[Any, Any]:
    """A figure without a window, and its fields."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def curves(path: Path, by_method: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Loss by step of every method, each in a field of its own: their losses are not comparable."""
    rows = -(-len(by_method) // 4)
    figure, grid = figure_of(rows, 4, (13, 2.6 * rows))
    fields = np.atleast_1d(grid).ravel()
    for axes, (name, points) in zip(fields, by_method.items(), strict=False):
        steps, losses = np.array(points, dtype=float).T
        axes.plot(steps, losses)
        axes.set(title=name, xlabel="step")
    for axes in fields[len(by_method) :]:
        axes.axis("off")
    figure.savefig(path, dpi=90)


def selectivity(encoder: SeriesEncoder, data: SeriesSet) -> NDArray[np.float64]:
    """(width, classes): mean of each unit over the test series of a class, in its standard deviations from its mean."""
    found = vectors(encoder, data.test_x).astype(np.float64)
    standard = (found - found.mean(0)) / np.maximum(found.std(0), 1e-9)
    return np.stack([standard[data.test_y == c].mean(0) for c in range(len(data.classes))], 1)


@torch.inference_mode()
def dissection(path: Path, encoder: SeriesEncoder, data: SeriesSet) -> None:
    """Which units answer to which class, and for the most selective of them the series that excites each most."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = selectivity(encoder, data)
    order = np.argsort(-np.abs(chosen).max(1))[:UNITS]
    figure, (left, right) = figure_of(1, 2, (11, 4.5))
    left.imshow(chosen[order], cmap="coolwarm", vmin=-2, vmax=2, aspect="auto")
    left.set_xticks(range(len(data.classes)), data.classes, rotation=45)
    left.set_yticks(range(len(order)), [f"unit {u}" for u in order])
    left.set_title("mean response by class, standard deviations")
    best = vectors(encoder, data.test_x)[:, order].argmax(0)
    for row, place in enumerate(best):
        line = data.test_x[place, 0].numpy()
        right.plot(line / max(np.nanmax(np.abs(line)), 1e-9) / 2 - row, linewidth=0.9)
    right.set_yticks([-r for r in range(len(order))], [data.classes[data.test_y[p]] for p in best])
    right.set_title("the series that excites each most (first channel)")
    figure.savefig(path, dpi=90)


def correlation(path: Path, features: NDArray[np.float32]) -> float:
    """Correlation matrix of features as a picture; returns the mean absolute correlation off the diagonal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    moving = features[:, features.std(0) > 1e-9]
    matrix: NDArray[np.float64] = np.atleast_2d(np.corrcoef(moving.T))
    figure, axes = figure_of(size=(5.4, 4.6))
    figure.colorbar(axes.imshow(matrix, cmap="coolwarm", vmin=-1, vmax=1))
    axes.set_title("correlation of features")
    figure.savefig(path, dpi=90)
    count = len(matrix)
    return float((np.abs(matrix).sum() - count) / max(count * (count - 1), 1))


def importance(path: Path, names: Sequence[str], values: NDArray[np.float64]) -> None:
    """Bars of how much accuracy falls when a channel is taken away."""
    figure, axes = figure_of(size=(6, 3))
    axes.bar(list(names), values)
    axes.set_ylabel("accuracy lost without it")
    figure.savefig(path, dpi=90)
