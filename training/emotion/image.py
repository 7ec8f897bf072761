"""Recipe of the picture emotion: an encoder is fine-tuned for the mood of a face, and to tell faces from all else.

``moodtape train emotion/image --data FOLDER --out FOLDER`` with the settings of configs/emotion/image.toml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf
from torch.optim.lr_scheduler import LambdaLR

from domain.types import EMOTIONS
from models import device
from models.checkpoint import WEIGHTS, load_state, load_weights, save
from models.encoders.image import ImageEncoder, MoodNet
from training.emotion.crossfit import SoftLabel, fold_of
from training.emotion.face_views import Batch, Pool, Settings, draw, gather
from training.emotion.faces import Faces, load, scenes
from training.emotion.image_calibration import calibrate, card, figures, outputs, refresh, rejected, scores
from training.loop import Loop, LoopOptions, Objective
from training.optim import exponential_mean
from training.registry import TrainOptions, settings

FOLDER = "face_emotion"
SCENES = 6000
"""Faceless pictures kept at hand; every batch draws its impostors from them."""


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Train the picture model, calibrate it, measure it on the hold-outs, save it in float16 into ``options.out``."""
    chosen = settings(Settings, config)
    sets = {name: load(options.data / FOLDER / f"{name}.parquet") for name in chosen.sources}
    work = options.out.with_name(options.out.name + ".run")
    photos = [options.data / name for name in chosen.backgrounds if (options.data / name).is_dir()]
    return finish(chosen, sets, train(chosen, sets, photos, work, options.resume), photos, options.out)


def finish(chosen: Settings, sets: dict[str, Faces], net: MoodNet, photos: Sequence[Path], out: Path) -> dict[str, Any]:
    """Calibrate and measure a trained network, in the float16 it ships in, and write its checkpoint folder."""
    net.load_state_dict({name: _halved(value) for name, value in net.state_dict().items()})
    calibrated = calibrate(outputs(net, sets, "validation"))
    measured = figures(outputs(net, sets, "holdout"), calibrated["temperature"])
    fresh = scenes(400, chosen.seed + 1)
    rejections = rejected(net, sets, fresh, calibrated["whole_threshold"], chosen.seed)
    config: dict[str, Any] = {
        "labels": list(EMOTIONS),
        "encoder": net.encoder.settings,
        "size": net.size,
        "mirror": True,
        **calibrated,
        "holdout": measured,
        "rejected": rejections,
        "training": asdict(chosen),
    }
    readme = card(chosen, net.size, sets, measured, rejections, [p.name for p in photos])
    save(out, config, net.state_dict(), readme, torch.float16)
    return {"holdout": measured, "rejected": rejections, **calibrated}


def train(chosen: Settings, sets: dict[str, Faces], backgrounds: Sequence[Path], folder: Path, resume: bool) -> MoodNet:
    """Train and return, on the CPU, the averaged network that did best on validation; calibration is the caller's next step."""
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(chosen.threads)
    net = MoodNet(ImageEncoder.from_name(chosen.encoder, chosen.pretrained), chosen.sizes[-1][1])
    if chosen.start:
        load_state(net, load_weights(Path(chosen.start) / WEIGHTS), chosen.start)
    place = device.choose()
    net = net.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    pool = gather(chosen, sets, scenes(SCENES, chosen.seed, backgrounds), place)
    loop = _loop(net, pool, sets, chosen, folder)
    loop.run(resume)
    averaged: MoodNet = loop.averaged()
    best = loop.best(averaged).eval()
    best.size = loop.report.best_figures["size"]
    if chosen.refreshed:
        same = replace(chosen, sizes=((0.0, best.size),))
        refresh(best, (draw(pool, same, loop.step + i)[0] for i in range(chosen.refreshed)))
    return best.cpu()


def _loop(net: MoodNet, pool: Pool, sets: dict[str, Faces], chosen: Settings, folder: Path) -> Loop[int]:
    average = exponential_mean(net, chosen.average_decay)
    for name, parameter in net.encoder.body.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(chosen.frozen)))
    trained = [p for p in net.parameters() if p.requires_grad]
    decayed = {"params": [p for p in trained if p.ndim > 1], "weight_decay": chosen.weight_decay}
    plain = {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decayed, plain], lr=chosen.learning_rate, fused=True)
    options = LoopOptions(
        seed=chosen.seed,
        precision="fp32" if pool.crops.device.type == "cpu" else "bf16",
        clip=2.0,
        monitor="score",
        patience=chosen.patience,
        evaluate_every=chosen.check_every,
        save_every=chosen.check_every,
        title="faces",
    )

    def evaluate(read: MoodNet) -> dict[str, Any]:
        read.size = chosen.size_at(loop.step - 1)
        figures = scores(read, sets, "validation")
        score = float(np.mean([accuracy + f1 for accuracy, f1 in figures.values()]))
        return {"score": score, "size": read.size, "validation": figures}

    def loss(step: int) -> Tensor:
        return losses(net, draw(pool, chosen, step), chosen)

    objective = Objective(loss, optimizer, LambdaLR(optimizer, chosen.rate_at))
    loop = Loop(net, objective, lambda epoch: range(chosen.steps), folder, options, evaluate, average)
    return loop


def losses(net: MoodNet, batch: Batch, chosen: Settings) -> Tensor:
    """Cross-entropy of the mood over the faces, plus weighted binary cross-entropy of face or not over all."""
    pictures, targets, flags = batch
    moods, faces = net(pictures)
    mood = nnf.cross_entropy(moods[: len(targets)], targets, label_smoothing=chosen.label_smoothing)
    return mood + chosen.face_weight * nnf.binary_cross_entropy_with_logits(faces, flags)


def _halved(value: Tensor) -> Tensor:
    return value.half().float() if value.is_floating_point() else value


def cross_fit(
    config: dict[str, Any], data: Path, fold: int, folds: int, run: Path, resume: bool
) -> dict[str, SoftLabel]:
    """Predict one fold's training faces of the sources in ``taught`` with a network trained on the other folds."""
    chosen = replace(settings(Settings, config), soft_labels="")
    sets = {name: load(data / FOLDER / f"{name}.parquet") for name in chosen.sources}
    photos = [data / name for name in chosen.backgrounds if (data / name).is_dir()]
    own = {name: np.flatnonzero(sets[name].part == "train") for name in chosen.taught}
    out = {name: np.flatnonzero(fold_of(len(rows), folds) == fold) for name, rows in own.items()}
    for name, rows in out.items():
        part = sets[name].part.astype("U10")
        part[own[name][rows]] = "fold"
        sets[name] = replace(sets[name], part=part)
    net = train(chosen, sets, photos, run, resume).to(device.choose())
    predicted = outputs(net, {name: sets[name] for name in out}, "fold")
    return {
        name: SoftLabel(rows, predicted[name].moods.softmax(1).numpy(), sets[name].labels[own[name]])
        for name, rows in out.items()
    }
