"""Fine-tune a picture encoder for the mood of a face, and for telling faces from everything else; resumable.

``moodtape train emotion/image --data FOLDER --out FOLDER`` with the settings of configs/emotion/image.toml.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.optim.swa_utils import AveragedModel

from domain.errors import InputError
from domain.types import EMOTIONS
from models import device
from models.checkpoint import WEIGHTS, load_state, load_weights, save
from models.encoders.image import DEFAULT, ImageEncoder, MoodNet
from runtime.progress import progress
from training.emotion.crossfit import Said, fold_of
from training.emotion.face_views import Batch, Pool, draw, gather
from training.emotion.faces import Faces, load, scenes
from training.emotion.image_calibrate import calibrate, card, figures, outputs, refresh, rejected, scores
from training.registry import TrainOptions, settings

FOLDER = "face_emotion"
TOLD_EVERY = 10
"""Steps between reports: to read the loss is to wait for the GPU."""

_Tensors = tuple[Tensor, ...] | list[Tensor]
SCENES = 6000
"""Faceless pictures kept at hand; every batch draws its impostors from them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What configs/emotion/image.toml says; the comments there explain each value."""

    sources: dict[str, float]
    encoder: str = DEFAULT
    pretrained: bool = True
    seed: int = 1
    threads: int = 2
    steps: int = 4500
    batch_size: int = 64
    impostors: int = 8
    sizes: Sequence[tuple[float, int]] = ((0.0, 64),)
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 100
    decay: float = 0.35
    label_smoothing: float = 0.05
    mixup: float = 0.15
    class_power: float = 0.3
    face_weight: float = 0.3
    average_decay: float = 0.998
    check_every: int = 500
    patience: int = 4
    frozen: Sequence[str] = ()
    backgrounds: Sequence[str] = ()
    refreshed: int = 40
    start: str = ""
    soft_labels: str = ""
    taught: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def size_at(self, step: int) -> int:
        """Input side in pixels at a step."""
        return [size for share, size in self.sizes if step >= share * self.steps][-1]

    def rate_at(self, step: int) -> float:
        """Factor on the learning rate: up, level, then straight down to 2 %; a run may be lengthened while it is level."""
        return max(0.02, min((step + 1) / self.warmup, 1.0, (1 - step / self.steps) / self.decay))


class Run:
    """Network, its running mean, optimiser and how far they came; one folder on disk."""

    def __init__(self, net: MoodNet, settings: Settings, folder: Path) -> None:
        self.net, self.settings, self.folder = net, settings, folder
        self.mean = AveragedModel(net, multi_avg_fn=_average(settings.average_decay), use_buffers=True)
        for name, parameter in net.encoder.body.named_parameters():
            parameter.requires_grad_(not name.startswith(tuple(settings.frozen)))
        trained = [p for p in net.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim > 1]
        plain = [p for p in trained if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            fused=True,
        )
        self.step = 0
        self.best = -1.0
        self.left = settings.patience

    def save(self) -> None:
        """Write everything a resumed run needs, without pickle; the file appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"mean.{name}": value for name, value in self.mean.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
        told = json.dumps({"step": self.step, "best": self.best, "left": self.left})
        part = self.folder / "run.safetensors.part"
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, part, {"progress": told})
        part.replace(self.folder / "run.safetensors")

    def resume(self) -> None:
        """Go back to the last saved step.

        Raises:
            InputError: there is nothing to resume.
        """
        path = self.folder / "run.safetensors"
        if not path.is_file():
            raise InputError(f"There is no run to resume in {self.folder}; start without --resume.")
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["progress"])
        self.step, self.best, self.left = int(told["step"]), float(told["best"]), int(told["left"])
        self.net.load_state_dict(_below(tensors, "net."))
        self.mean.load_state_dict(_below(tensors, "mean."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimiser.").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})


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
    turned_down = rejected(net, sets, fresh, calibrated["whole_threshold"], chosen.seed)
    told: dict[str, Any] = {
        "labels": list(EMOTIONS),
        "encoder": net.encoder.settings,
        "size": net.size,
        "mirror": True,
        **calibrated,
        "holdout": measured,
        "rejected": turned_down,
        "training": asdict(chosen),
    }
    readme = card(chosen, net.size, sets, measured, turned_down, [p.name for p in photos])
    save(out, told, net.state_dict(), readme, torch.float16)
    return {"holdout": measured, "rejected": turned_down, **calibrated}


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
    state = Run(net, chosen, folder)
    if resume:
        state.resume()
    with progress("faces", chosen.steps) as report:
        while state.step < chosen.steps and state.left > 0:
            loss = _step(state, pool)
            if state.step % TOLD_EVERY == 0 or state.step == chosen.steps:
                report(state.step, f"loss {float(loss):.3f} best {state.best:.4f}")
            if state.step % chosen.check_every == 0 or state.step == chosen.steps:
                _check(state, sets)
    best = best_net(chosen, folder).to(place)
    if chosen.refreshed:
        same = replace(chosen, sizes=((0.0, best.size),))
        refresh(best, (draw(pool, same, state.step + i)[0] for i in range(chosen.refreshed)))
    return best.cpu()


def best_net(chosen: Settings, folder: Path) -> MoodNet:
    """The network whose validation was best so far in a run's folder."""
    with safe_open(folder / "best.safetensors", "pt") as file:
        size = int(file.metadata()["size"])
    net = MoodNet(ImageEncoder.from_name(chosen.encoder, pretrained=False), size)
    net.load_state_dict(load_file(folder / "best.safetensors"))
    return net.eval()


def losses(net: MoodNet, batch: Batch, chosen: Settings) -> Tensor:
    """Cross-entropy of the mood over the faces, plus weighted binary cross-entropy of face or not over all."""
    pictures, targets, flags = batch
    moods, faces = net(pictures)
    mood = nnf.cross_entropy(moods[: len(targets)], targets, label_smoothing=chosen.label_smoothing)
    return mood + chosen.face_weight * nnf.binary_cross_entropy_with_logits(faces, flags)


def _step(state: Run, pool: Pool) -> Tensor:
    chosen = state.settings
    state.net.train()
    for group in state.optimiser.param_groups:
        group["lr"] = chosen.learning_rate * chosen.rate_at(state.step)
    kind = pool.crops.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu"):
        loss = losses(state.net, draw(pool, chosen, state.step), chosen)
    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
    nn.utils.clip_grad_norm_(state.net.parameters(), 2.0)
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    state.step += 1
    state.mean.update_parameters(state.net)
    return loss.detach()


def _check(state: Run, sets: dict[str, Faces]) -> None:
    net: Any = state.mean.module
    net.size = state.settings.size_at(state.step - 1)
    found = scores(net, sets, "validation")
    score = float(np.mean([accuracy + f1 for accuracy, f1 in found.values()]))
    state.left = state.settings.patience if score > state.best else state.left - 1
    if score > state.best:
        state.best = score
        state.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.contiguous().clone() for name, value in net.state_dict().items()}
        save_file(tensors, state.folder / "best.safetensors", {"size": str(net.size)})
    state.save()
    with (state.folder / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": state.step, "size": net.size, "score": score, "validation": found}) + "\n")


def _average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential mean that forgets the untrained start faster than ``decay`` alone would."""

    def mean(averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, max(1 - decay, 9 / (9 + int(count))))
        else:
            torch._foreach_copy_(averaged, current)

    return mean


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _halved(value: Tensor) -> Tensor:
    return value.half().float() if value.is_floating_point() else value


def cross_fit(config: dict[str, Any], data: Path, fold: int, folds: int, run: Path, resume: bool) -> Said:
    """What a network that has not seen them says of one fold's training faces, for the sources in ``taught``."""
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
    said = {
        name: found.moods.softmax(1).numpy() for name, found in outputs(net, {n: sets[n] for n in out}, "fold").items()
    }
    return {name: (rows, said[name], sets[name].labels[own[name]]) for name, rows in out.items()}
