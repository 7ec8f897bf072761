"""Report 004, pretraining of the series encoder: every method on the gestures, other sets, transfer, candles.

``moodtape reproduce 004 --data FOLDER --out FOLDER`` writes 004.json, 004.md and pictures. The report prints no figure of its
own, so published anchors stand beside ours. Finished parts are kept in 004.parts.json: the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.encoders.series import SeriesEncoder, build, load_encoder, with_channels
from models.series.methods.masked import Masked, adapted
from training.registry import ReproduceOptions, TrainOptions
from training.runs import Parts
from training.series import candle_use, evaluate, plots, probes, recipe, sets
from training.series.recipe import SeriesSettings
from training.series.reproduce_table import markdown
from training.series.sets import SeriesSet

REPORT = "004"
STEPS = 150
"""Of each pretraining, with batches of 60 series."""

GESTURES = "UWaveGestureLibrary"
ACTIVITY = ("BasicMotions", "RacketSports", "Epilepsy")
OTHERS = (*ACTIVITY, "ERing", "NATOPS", "Libras")
MAIN = ("vicreg",)
REST = ("simclr", "masked", "barlow_twins", "simsiam", "moco", "ssgan", "clip")
CHANGES = [["jitter", 0.5, 1.0], ["time_warp", 0.5, 1.0], ["block_out", 0.1, 0.5]]
"""Chosen among four lists by a probe within the training part of the gestures."""

PUBLISHED = {"ROCKET / MiniRocket": 0.94, "TS2Vec": 0.906, "SimMTM from activity": 0.80, "TF-C from activity": 0.76}


def run(options: ReproduceOptions) -> dict[str, Any]:
    """All parts, one after the other; with ``quick`` two seeds and a quarter of the steps."""
    options.out.mkdir(parents=True, exist_ok=True)
    work = _Work(options)
    seeds = list(range(options.seed, options.seed + (2 if options.quick else 5)))
    result: dict[str, Any] = {"report": REPORT, "quick": options.quick, "seeds": seeds, "published": PUBLISHED}
    gestures = work.load(GESTURES)
    result["baselines"] = {GESTURES: work.parts.get(f"{GESTURES}/baselines", partial(evaluate.floors, gestures))}
    result["gestures"] = {name: work.over(name, gestures, seeds) for name in ("random", "scratch", *MAIN)}
    result["gestures"] |= {name: work.over(name, gestures, seeds[:1]) for name in REST}
    result["gains"] = {name: gains(result["gestures"], name) for name in (*MAIN, *REST)}
    result["test_time"] = work.parts.get("test time", lambda: work.test_time(gestures, seeds[:1]))
    result["others"] = {}
    for name in OTHERS:
        data = work.load(name)
        result["baselines"][name] = work.parts.get(f"{name}/baselines", partial(evaluate.floors, data))
        result["others"][name] = {kind: work.over(kind, data, seeds[:1]) for kind in ("random", "scratch", "vicreg")}
    result["transfer"] = {
        f"{a} to {b}": work.parts.get(f"transfer/{a}/{b}", partial(work.transfer, a, b, seeds[:1]))
        for a, b in [*((GESTURES, name) for name in ACTIVITY), *((name, GESTURES) for name in ACTIVITY)]
    }
    result["candles"] = work.parts.get("candles", lambda: candle_use.run(options, work.quick))
    _draw(work, gestures, seeds[0], options.out)
    (options.out / "004.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "004.md").write_text(markdown(result))
    return result


class _Work:
    """Pretrained encoders and figures, kept on disk as they come."""

    def __init__(self, options: ReproduceOptions) -> None:
        self.options, self.quick = options, options.quick
        tag = f"seed {options.seed}{', quick' * options.quick}"
        self.parts = Parts(options.out / "004.parts.json", tag)

    def load(self, name: str) -> SeriesSet:
        return sets.load(sets.find(self.options.data, name))

    def choice(self, method: str, data: SeriesSet, seed: int) -> SeriesSettings:
        steps = STEPS // 4 if self.quick else STEPS
        chosen = SeriesSettings(data=data.name, method=method, steps=steps, seed=seed, batch_size=60)
        return replace(chosen, augmentations=[] if method in ("masked", "ssgan") else CHANGES)

    def encoder(self, method: str, data: SeriesSet, seed: int) -> SeriesEncoder:
        """Pretrained now, or loaded; ``random`` is not trained at all."""
        choice = self.choice(method, data, seed)
        torch.manual_seed(seed)
        if method == "random":
            return build(choice.encoder, data.channels, **choice.encoder_options)
        folder = self.options.out / "encoders" / f"{data.name}-{method}-{seed}"
        if not (folder / "model.safetensors").is_file():
            recipe.run(
                {name: getattr(choice, name) for name in choice.__slots__},
                TrainOptions(self.options.data, folder),
            )
        return load_encoder(folder)

    def over(self, kind: str, data: SeriesSet, seeds: Sequence[int]) -> dict[str, Any]:
        """Each figure of a method over seeds: its values, their mean and interval."""
        rows = [self.parts.get(f"{data.name}/{kind}/{seed}", partial(self.figures, kind, data, seed)) for seed in seeds]
        return {
            name: {**evaluate.spread([r[name] for r in rows]), "values": [r[name] for r in rows]} for name in rows[0]
        }

    def figures(self, kind: str, data: SeriesSet, seed: int) -> dict[str, float]:
        choice = self.choice(kind, data, seed)
        if kind == "scratch":
            return evaluate.scratch(choice.encoder, choice.encoder_options, data, seed)
        return evaluate.figures(self.encoder(kind, data, seed), data, seed)

    def transfer(self, first: str, second: str, seeds: Sequence[int]) -> dict[str, Any]:
        """Pretrained on one set without labels, fine-tuned and probed on another, channels repeated where they differ."""
        data, origin = self.load(second), self.load(first)
        rows = []
        for seed in seeds:
            net = self.encoder("vicreg", origin, seed)
            choice = self.choice("vicreg", data, seed)
            fresh = build(choice.encoder, data.channels, **choice.encoder_options)
            rows.append(evaluate.figures(with_channels(net, fresh), data, seed))
        return {name: evaluate.spread([r[name] for r in rows]) for name in rows[0]}

    def test_time(self, data: SeriesSet, seeds: Sequence[int]) -> dict[str, Any]:
        """Masked pretraining, then a probe on vectors as they are and after masked steps on each batch of the test part."""
        rows = []
        for seed in seeds:
            choice = self.choice("masked", data, seed)
            place = self.options.out / "encoders" / "test-time" / str(seed)
            method, _ = recipe.pretrain(choice, recipe.source(choice, self.options.data), place)
            if not isinstance(method, Masked):
                raise TypeError("test-time training needs masked modelling")
            train = probes.vectors(method.encoder, data.x)
            plain = probes.probe(train, data.y, probes.vectors(method.encoder, data.test_x), data.test_y)
            parts = [adapted(method, part, seed=seed) for part in torch.split(data.test_x, 32)]
            after = probes.probe(train, data.y, torch.cat(parts).numpy(), data.test_y)
            rows.append({"plain": plain, "adapted": after, "gain": after - plain})
        return {name: evaluate.spread([r[name] for r in rows]) for name in rows[0]}


def gains(rows: dict[str, Any], name: str) -> dict[str, Any]:
    """What a method gains by seed: few labels over random weights and over training from scratch; fine-tuning over scratch."""
    count = rows[name]["few_shot"]["n"]

    def over(other: str, figure: str) -> dict[str, Any]:
        mine, theirs = (np.array(rows[k][figure]["values"][:count]) for k in (name, other))
        return evaluate.spread((mine - theirs).tolist())

    return {
        "few_shot over random": over("random", "few_shot"),
        "few_shot over scratch": over("scratch", "few_shot"),
        "probe over random": over("random", "probe"),
        "fine_tune over scratch": over("scratch", "fine_tune"),
    }


def _draw(work: _Work, data: SeriesSet, seed: int, out: Path) -> None:
    curves = {}
    for method in (*MAIN, *REST):
        config = json.loads((out / "encoders" / f"{data.name}-{method}-{seed}" / "config.json").read_text())
        curves[method] = config["measured"]["curve"]
    plots.curves(out / "004_curves.png", curves)
    net = work.encoder("vicreg", data, seed)
    plots.dissection(out / "004_dissection.png", net, data)
    plots.correlation(out / "004_correlation.png", probes.vectors(net, data.x))
    whole = evaluate.figures(net, data, seed, tuned=False)["probe"]
    lost = []
    for channel in range(data.channels):
        without = replace_channel(data, channel)
        lost.append(whole - evaluate.figures(net, without, seed, tuned=False)["probe"])
    plots.importance(out / "004_importance.png", [f"channel {c}" for c in range(data.channels)], np.array(lost))


def replace_channel(data: SeriesSet, channel: int) -> SeriesSet:
    """The set with one channel at zero, in both parts."""
    x, test = data.x.clone(), data.test_x.clone()
    x[:, channel], test[:, channel] = 0, 0
    return replace(data, x=x, test_x=test)
