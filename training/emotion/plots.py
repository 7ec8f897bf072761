"""The plots of report 002: class counts, lengths, top words, word clouds, confusion matrices, accuracy by length."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import EMOTIONS
from training.emotion.labelled import Labelled
from training.metrics import confusion

Ints = NDArray[np.int64]
TOP = 7
CLOUD = 40
_WORD = re.compile(r"[a-z']{3,}")
_STOP = frozenset(
    _WORD.findall(
        """the and that you for was are but with have this not from they his her had has she him been just what all out about
        would when can will there their them who get one were your more how than then its it's i'm don't very some because
        other into over only also even being could name"""
    )
)


def draw_all(folder: Path, rows: Labelled, probabilities: NDArray[np.float32]) -> list[str]:
    """Write every plot that the rows allow as PNG; returns the file names."""
    folder.mkdir(parents=True, exist_ok=True)
    predicted = probabilities.argmax(1).astype(np.int64)
    counts = confusion(rows.labels, predicted)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figures = {
        "class_counts": _class_counts(rows.labels, predicted),
        "confusion_counts": _matrix(counts, "d", "Confusion in counts"),
        "confusion_shares": _matrix(shares, ".2f", "Confusion in shares of the true class"),
    }
    if rows.texts is not None:
        words = [_WORD.findall(text.lower()) for text in rows.texts]
        figures["lengths"] = _lengths(words, rows.labels)
        figures["accuracy_by_length"] = _accuracy_by_length(words, predicted == rows.labels)
        for name, labels in (("true", rows.labels), ("predicted", predicted)):
            counted = _word_counts(words, labels)
            figures[f"top_words_{name}"] = _top_words(counted, name)
            figures[f"word_clouds_{name}"] = _clouds(counted, name)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    return [f"{name}.png" for name in figures]


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7, 4)) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def _class_counts(truth: Ints, predicted: Ints) -> Any:
    figure, axes = _figure()
    places = np.arange(len(EMOTIONS))
    for offset, labels, name in ((-0.2, truth, "true"), (0.2, predicted, "predicted")):
        axes.bar(places + offset, np.bincount(labels, minlength=len(EMOTIONS)), 0.4, label=name)
    axes.set_xticks(places, EMOTIONS)
    axes.set_ylabel("posts")
    axes.legend()
    return figure


def _matrix(values: NDArray[Any], form: str, title: str) -> Any:
    figure, axes = _figure(size=(6.4, 5.4))
    axes.imshow(values, cmap="Blues")
    middle = values.max() / 2
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, format(value, form), ha="center", va="center", color="white" if value > middle else "black")
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=30)
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def _lengths(words: list[list[str]], labels: Ints) -> Any:
    figure, axes = _figure()
    sizes = np.array([len(w) for w in words])
    present = [k for k in range(len(EMOTIONS)) if (labels == k).any()]
    axes.boxplot([sizes[labels == k] for k in present], showfliers=False)
    axes.set_xticks(range(1, len(present) + 1), [EMOTIONS[k] for k in present])
    axes.set_ylabel("words per post")
    return figure


def _accuracy_by_length(words: list[list[str]], right: NDArray[np.bool_]) -> Any:
    figure, axes = _figure()
    sizes = np.array([len(w) for w in words])
    edges = np.unique(np.quantile(sizes, np.linspace(0, 1, 9)))
    for low, high in pairwise(edges):
        inside = (sizes >= low) & ((sizes < high) | (high == edges[-1]))
        if inside.any():
            share = right[inside].mean()
            error = 1.96 * np.sqrt(share * (1 - share) / inside.sum())
            axes.errorbar((low + high) / 2, share, yerr=error, fmt="o", color="C0", capsize=3)
    axes.set(xlabel="words per post", ylabel="accuracy (95 % interval)", ylim=(0, 1.02))
    return figure


def _word_counts(words: list[list[str]], labels: Ints) -> list[Counter[str]]:
    counted: list[Counter[str]] = [Counter() for _ in EMOTIONS]
    for row, label in zip(words, labels, strict=True):
        counted[label].update(set(row) - _STOP)
    return counted


def _top_words(counted: list[Counter[str]], name: str) -> Any:
    figure, grid = _figure(2, 4, (12, 5.5))
    for axes, label, counter in zip(grid.flat, EMOTIONS, counted, strict=False):
        top = counter.most_common(TOP)[::-1]
        axes.barh([word for word, _ in top], [count for _, count in top])
        axes.set_title(f"{label} ({name})")
    grid.flat[-1].axis("off")
    return figure


def _clouds(counted: list[Counter[str]], name: str) -> Any:
    """The commonest words in the middle and largest, none over another."""
    figure, grid = _figure(2, 4, (16, 9))
    for axes, label, counter in zip(grid.flat, EMOTIONS, counted, strict=False):
        top = counter.most_common(CLOUD)
        sizes = [7 + 15 * np.sqrt(count / top[0][1]) for _, count in top]
        for i, (x, y) in enumerate(_places([word for word, _ in top], sizes)):
            axes.text(x, y, top[i][0], fontsize=sizes[i], color=f"C{i % 10}", ha="center", va="center")
        axes.set(xlim=(-150, 150), ylim=(-140, 140), title=f"{label} ({name})")
        axes.axis("off")
    grid.flat[-1].axis("off")
    return figure


def _places(words: list[str], sizes: list[float]) -> list[tuple[float, float]]:
    """Centres in points: each word goes out along a spiral until its box is free of those before it."""
    boxes: list[tuple[float, float, float, float]] = []
    for word, size in zip(words, sizes, strict=True):
        width, height = 0.68 * size * len(word), 1.25 * size
        angle = 0.0
        while True:
            x, y = 1.6 * angle * np.cos(angle), 1.2 * angle * np.sin(angle)
            if all(abs(x - u) > (width + w) / 2 or abs(y - v) > (height + h) / 2 for u, v, w, h in boxes):
                break
            angle += 0.15
        boxes.append((x, y, width, height))
    return [(x, y) for x, y, _, _ in boxes]
