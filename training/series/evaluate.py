"""Series encoders on labelled sets: probe, neighbours, few labels, fine-tuning, beside random weights and baselines.

``moodtape evaluate series --data FILE.npz --artifacts FOLDER`` scores the encoder of a checkpoint folder (channels that do
not fit are adapted); without one, only what it would have to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domain.errors import InputError
from models.checkpoint import load_config
from models.encoders.series import SeriesEncoder, build, build_described, load_encoder, with_channels
from runtime.progress import progress
from training.metrics import student
from training.registry import EvaluateOptions
from training.series import baselines, sets
from training.series.probes import Tuning, few, few_probe, neighbours, probe, tune, vectors
from training.series.sets import SeriesSet

SCRATCH = Tuning(epochs=60, rate=3e-3, head_rate=3e-3)
"""Training from scratch: more epochs than fine-tuning, because it begins with nothing."""


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures by set; with ``plots``, network dissection and correlation of features as pictures.

    Raises:
        InputError: no file is given.
    """
    if not options.data:
        raise InputError("Say which sets to score: --data FILE.npz, several times if you like.")
    result: dict[str, Any] = {}
    for path in options.data:
        data = sets.load(path)
        row: dict[str, Any] = {"n": len(data.test_y), "classes": len(data.classes), "baselines": floors(data)}
        if options.artifacts:
            encoder = fitting(options.artifacts, data.channels)
            row["encoder"] = figures(encoder, data, options.seed)
            row["random"] = figures(untrained(options.artifacts, data.channels, options.seed), data, options.seed)
            if options.plots:
                from training.series.plots import correlation, dissection

                dissection(options.plots / f"{data.name}_dissection.png", encoder, data)
                correlation(options.plots / f"{data.name}_correlation.png", vectors(encoder, data.x))
        result[data.name] = row
    return {"sets": result}


def fitting(folder: Path, channels: int) -> SeriesEncoder:
    """The encoder of a checkpoint for series of so many channels."""
    net, config = load_encoder(folder), load_config(folder)
    if channels == config["channels"]:
        return net
    return with_channels(net, build_described(config | {"channels": channels})).eval()


def untrained(folder: Path, channels: int, seed: int) -> SeriesEncoder:
    """The same kind of encoder with random weights."""
    torch.manual_seed(seed)
    return build_described(load_config(folder) | {"channels": channels})


def figures(encoder: SeriesEncoder, data: SeriesSet, seed: int, *, tuned: bool = True) -> dict[str, float]:
    """Accuracies on the test part: ``probe``, ``knn``, ``few_shot`` (five labels a class) and, if asked, ``fine_tune``."""
    train, test = vectors(encoder, data.x), vectors(encoder, data.test_x)
    found = {
        "probe": probe(train, data.y, test, data.test_y),
        "knn": neighbours(train, data.y, test, data.test_y),
        "few_shot": few_probe(encoder, data),
    }
    if tuned:
        found["fine_tune"] = tune(encoder, data, np.arange(len(data.y)), Tuning(), seed)
    return {name: round(value, 4) for name, value in found.items()}


def scratch(name: str, options: dict[str, Any], data: SeriesSet, seed: int) -> dict[str, float]:
    """The same encoder trained on labels alone, all of them and five a class (one draw per seed)."""
    torch.manual_seed(seed)
    encoder = build(name, data.channels, **options)
    return {
        "fine_tune": round(tune(encoder, data, np.arange(len(data.y)), SCRATCH, seed), 4),
        "few_shot": round(tune(encoder, data, few(data.y, seed), SCRATCH, seed), 4),
    }


def floors(data: SeriesSet, seeds: Sequence[int] = (0, 1, 2)) -> dict[str, float]:
    """What needs no training: one nearest neighbour, and MiniRocket singly, from few labels and as a sum of several."""
    with progress(f"baselines of {data.name}", 3) as report:
        near = baselines.nearest(baselines.euclidean(data.x, data.test_x), data.y, data.test_y)
        report(1)
        warped = baselines.nearest(baselines.dtw(data.x, data.test_x), data.y, data.test_y)
        report(2)
        rockets = baselines.minirocket(data, [few(data.y, seed) for seed in seeds], tuple(seeds))
        report(3)
    majority = float(np.bincount(data.test_y).max() / len(data.test_y))
    found = {"majority": majority, "euclidean": near, "dtw": warped, **rockets}
    return {name: round(value, 4) for name, value in found.items()}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds with a 95 % interval by Student's t."""
    low, high = student(values)
    return {"mean": round(float(np.mean(values)), 4), "interval": [round(low, 4), round(high, 4)], "n": len(values)}
