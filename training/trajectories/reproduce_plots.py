"""Pictures of report 000: price and volume beside posts, loss curves, examples, matches and their mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.trajectories.chroma import chromagrams
from training.series.plots import figure_of


def daily(path: Path, posts: NDArray[Any], close: NDArray[Any], volume: NDArray[Any]) -> None:
    """Close and volume, each beside posts a day on a second axis."""
    figure, fields = figure_of(2, 1, (8, 5))
    for axes, values, name in zip(fields, (close, volume), ("close", "volume"), strict=True):
        axes.plot(values, color="C0")
        axes.set_ylabel(name)
        other = axes.twinx()
        other.plot(posts, color="C1", linewidth=0.8)
        other.set_ylabel("posts a day")
    figure.savefig(path, dpi=90)


def curves(path: Path, rows: Mapping[str, Any]) -> None:
    """Training and validation loss of three coins × two arms, with ln B and its half as lines."""
    figure, grid = figure_of(3, 2, (10, 8))
    for axes, (name, row) in zip(grid.ravel(), rows.items(), strict=False):
        axes.set_title(name)
        if "curve" not in row:
            axes.text(0.1, 0.5, str(row.get("collapsed", ""))[:60])
            continue
        for key, label in (("curve", "training"), ("validation_curve", "validation")):
            steps, losses = np.array(row[key], dtype=float).T
            axes.plot(steps, losses, label=label)
        for level, label in ((np.log(32), "ln B"), (np.log(32) / 2, "½ ln B")):
            axes.axhline(level, color="0.6", linewidth=0.8, linestyle="--", label=label)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def examples(folder: Path, change: NDArray[np.float32]) -> None:
    """Six trajectories and their chromagrams."""
    figure, grid = figure_of(2, len(change), (13, 4))
    for column, (line, chroma) in enumerate(zip(change, chromagrams(torch.from_numpy(change), None), strict=True)):
        grid[0, column].plot(line)
        grid[1, column].imshow(chroma.numpy(), origin="lower", aspect="auto", cmap="magma")
        grid[1, column].axis("off")
    figure.savefig(folder / "000_examples.png", dpi=90)


def matches(folder: Path, chosen: Mapping[str, NDArray[np.float32]]) -> None:
    """Matched trajectories of each query with their mean, and nine of them as the pictures of report 000."""
    figure, fields = figure_of(1, len(chosen), (11, 4))
    for axes, (name, lines) in zip(fields, chosen.items(), strict=True):
        axes.plot(lines.T, color="0.75", linewidth=0.8)
        axes.plot(lines.mean(0), color="C0", linewidth=2)
        axes.set(title=f"matches of the {name} query and their mean", xlabel="minutes", ylabel="percent")
    figure.savefig(folder / "000_matches.png", dpi=90)
    for name, lines in chosen.items():
        figure, grid = figure_of(3, 3, (6, 6))
        for axes, line in zip(grid.ravel(), lines, strict=False):
            axes.imshow(
                chromagrams(torch.from_numpy(line[None]), None)[0].numpy(), origin="lower", aspect="auto", cmap="magma"
            )
            axes.axis("off")
        figure.savefig(folder / f"000_pictures_{name}.png", dpi=90)
