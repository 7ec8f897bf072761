"""Pretraining of a series encoder: one recipe, method × encoder × augmentations × data.

``moodtape train series/NAME --data FOLDER --out FOLDER``. ``data`` names labelled sets (their training series, without labels)
or is ``candles``: windows of 256 minutes below the folder, before ``until``. Resumable; the encoder is what is saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domain.errors import InputError
from models.device import half_or_full
from models.encoders.series import SeriesEncoder, build, describe, save_encoder
from models.series import methods
from models.series.augmentations import Augment
from models.series.preparation import Preparation
from training import runs
from training.loop import Loop, LoopOptions, Objective
from training.registry import TrainOptions, settings
from training.series import sets
from training.series.candles import windows_below

SAVE_EVERY = 100
"""Steps between saved states of a run."""

GENTLE = [["jitter", 0.05, 0.8], ["crop", 0.8, 0.8], ["time_warp", 0.5, 0.5], ["noise", 0.2, 0.5]]


@dataclass(frozen=True, slots=True)
class SeriesSettings:
    """What one pretraining does.

    ``data``: a set's name or ``candles``; ``encoder`` and ``encoder_options``: of :mod:`models.encoders.series`; ``method`` and
    ``method_options``: of :mod:`models.series.methods`; ``augmentations``: ``[name, amount, probability]`` in order;
    ``preparation``: switches of :class:`models.series.preparation.Preparation`; ``precision``: fp32, bf16, or auto (bf16
    where the device multiplies it faster); ``windows``: most candle windows; ``until``: no candle from this ISO time on.
    """

    data: str = "UWaveGestureLibrary"
    method: str = "vicreg"
    encoder: str = "resnet"
    encoder_options: dict[str, Any] = field(default_factory=lambda: {"base": 16})
    method_options: dict[str, Any] = field(default_factory=dict)
    augmentations: list[list[Any]] = field(default_factory=lambda: [list(row) for row in GENTLE])
    preparation: dict[str, Any] = field(default_factory=dict)
    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    precision: str = "auto"
    windows: int = 500_000
    until: str = "2025-01-01T00:00:00+00:00"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Series to pretrain on: ``rows`` gives (series, partner or None) of row numbers."""

    count: int
    channels: int
    rows: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    directed: bool = False
    partner: int = 0


def source(choice: SeriesSettings, folder: Path) -> Source:
    """The data that the settings name."""
    if choice.data == "candles":
        held = windows_below(folder, choice.windows, choice.until, choice.seed)
        return Source(len(held), held.channels, lambda rows: (held.rows(rows.numpy()), None), directed=True)
    found = sets.load(sets.find(folder, choice.data), Preparation(**choice.preparation))
    labels = found.one_hot()
    return Source(len(found.x), found.channels, lambda rows: (found.x[rows], labels[rows]), partner=len(found.classes))


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Pretrain on what is under ``options.data`` and save the encoder into ``options.out``."""
    choice = settings(SeriesSettings, config)
    method, report = pretrain(
        choice, source(choice, options.data), options.out.with_name(options.out.name + ".run"), options.resume
    )
    channels = int(report["channels"])
    about = describe(choice.encoder, channels, choice.encoder_options)
    config_out = {**about, "settings": asdict(choice), "measured": report}
    save_encoder(options.out, method.encoder, config_out, card(choice, report))
    return report


def pretrain(
    choice: SeriesSettings, data: Source, folder: Path, resume: bool = False
) -> tuple[methods.Method, dict[str, Any]]:
    """The pretrained method and what is to be told of the run: steps, seconds, parameters and the loss by step."""
    torch.manual_seed(choice.seed)
    options = dict(choice.method_options) | ({"partner": data.partner} if choice.method == "clip" else {})
    augment = Augment([(str(n), float(a), float(p)) for n, a, p in choice.augmentations], directed=data.directed)
    encoder = build(choice.encoder, data.channels, **choice.encoder_options)
    method = methods.build(choice.method, encoder, data.channels, augment, **options)
    loop = _loop(choice, data, method, folder)
    done = loop.run(resume)
    curve = [[line["step"], round(line["loss"], 5)] for line in runs.read_log(folder) if "loss" in line]
    report = {
        "method": choice.method,
        "sees_labels": method.sees_labels,
        "series": data.count,
        "channels": data.channels,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "steps": done.step,
        "seconds": done.seconds,
        "peak_mb": runs.peak_mb(),
        "precision": loop.options.precision,
        "loss": curve[-1][1] if curve else None,
        "curve": curve,
    }
    return method, report


def _loop(choice: SeriesSettings, data: Source, method: methods.Method, folder: Path) -> Loop[Tensor]:
    size = min(choice.batch_size, data.count)
    if size < 2:
        raise InputError("Pretraining needs at least two series in a batch.")
    learned = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, choice.learning_rate, weight_decay=choice.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, choice.learning_rate, total_steps=choice.steps + 1)

    def loss(rows: Tensor) -> Tensor:
        method.after_step()  # of the step before; at the first it changes nothing
        series, partner = data.rows(rows)
        return method.loss(series, torch.default_generator, partner)

    def batches(_epoch: int) -> list[Tensor]:
        """A whole run as one epoch: row numbers, each series once before any comes again."""
        per = max(data.count // size, 1)
        rounds = -(-choice.steps // per)
        drawn = [torch.split(torch.randperm(data.count)[: per * size], size) for _ in range(rounds)]
        return [rows for each in drawn for rows in each][: choice.steps]

    every = max(choice.steps // 50, 1)
    options = LoopOptions(
        epochs=1,
        seed=choice.seed,
        precision=_precision(choice.precision),
        clip=5.0,
        log_every=every,
        save_every=SAVE_EVERY,
        title=f"{choice.method} on {choice.data}, part",
    )
    return Loop(method, Objective(loss, optimizer, schedule), batches, folder, options)


def _precision(wanted: str) -> Any:
    if wanted != "auto":
        return wanted
    return "bf16" if half_or_full("cpu") == torch.bfloat16 else "fp32"


def encoder_of(choice: SeriesSettings, data: Source, folder: Path) -> tuple[SeriesEncoder, Mapping[str, Any]]:
    """As :func:`pretrain`, only the encoder."""
    method, report = pretrain(choice, data, folder)
    return method.encoder, report


def card(choice: SeriesSettings, report: Mapping[str, Any]) -> str:
    """The model card."""
    seen = "with class names" if report["sees_labels"] else "without labels"
    changes = ", ".join(f"{name} {amount} (p {p})" for name, amount, p in choice.augmentations) or "none"
    return f"""# Series encoder {choice.encoder}, pretrained by {choice.method}

{report["parameters"]} parameters, {report["channels"]} channel(s), pretrained {seen} on {report["series"]} series of
{choice.data}: {report["steps"]} steps of {choice.batch_size} in {report["seconds"]} s ({report["precision"]},
seed {choice.seed}), last loss {report["loss"]}. Augmentations: {changes}. Method options: {json.dumps(choice.method_options)}.

What it is worth is measured by `moodtape evaluate series` and `moodtape reproduce 004`, beside random weights.
"""


def seeds_of(count: int, first: int = 0) -> list[int]:
    """Seeds for repeated runs."""
    return np.arange(first, first + count).tolist()
