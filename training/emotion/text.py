"""Fine-tune a text encoder for the emotion of a post: full or LoRA, balanced within each source, resumable.

``moodtape train emotion/text --data FOLDER --out FOLDER`` with the settings of configs/emotion/text.toml.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.errors import InputError
from models import device
from models.emotion.net import EmotionNet, Reading, load_net, new_net
from models.encoders.text import pool
from runtime.progress import progress
from training import registry
from training.emotion.calibrate import calibrate, card, measure, validate
from training.emotion.crossfit import Said, fold_of
from training.emotion.rows import Examples, batches, cached, examples, finest, said, thinned
from training.emotion.texts import Texts, load
from training.optim import Averager, EarlyStop, groups, load_run, save_run, schedule, soup
from training.registry import TrainOptions

SAVE_EVERY = 250
"""Steps between resumable states."""

TOLD_EVERY = 10
"""Steps between reports: to read the loss is to wait for the GPU."""

FITTED = ("style.", "calibration.", "lexicon")
"""What is fitted after training, and so not taken over from a checkpoint."""

HEADS = 0
"""Seed of the heads' first weights, the same for all runs, so that their mean is a network too."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What configs/emotion/text.toml says; the comments there explain each value."""

    sources: dict[str, int]
    encoder: str
    pooling: str = "first"
    max_tokens: int = 96
    seeds: tuple[int, ...] = (1,)
    threads: int = 1
    method: str = "full"
    lora_rank: int = 16
    precision: str = "bf16"
    batch_size: int = 48
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    layer_decay: float = 0.85
    freeze: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.06
    label_smoothing: float = 0.03
    class_power: float = 0.5
    alternate: int = 0
    multi_weight: float = 0.5
    fine_weight: float = 0.0
    unframed: float = 0.0
    named: float = 0.0
    token_drop: float = 0.0
    teachers: tuple[str, ...] = ()
    soft_labels: str = ""
    taught: dict[str, float] = field(default_factory=dict)
    shared: int = 0
    average_from: float = 0.7
    epochs: int = 2
    patience: int = 1
    max_steps: int = 0
    limits: dict[str, int] = field(default_factory=dict)
    start: str = ""
    lexicon: str = ""


def loss_of(
    reading: Reading, fine: Tensor | None, data: Examples, rows: NDArray[np.int64], settings: Settings
) -> Tensor:
    """Weighted cross-entropy on the labels plus binary cross-entropy where several may hold, on seven and finer labels."""
    index, place = torch.from_numpy(rows), reading.logits.device
    targets, weights = data.targets[index].to(place), data.weights[index].to(place)
    each = F.cross_entropy(reading.logits, targets, reduction="none", label_smoothing=settings.label_smoothing)
    loss = (each * weights).mean()
    parts = [(settings.multi_weight, reading.multi, data.multi[index])]
    if fine is not None:
        parts.append((settings.fine_weight, fine, data.fine[index]))
    for weight, logits, truth in parts:
        known = truth[:, 0] >= 0
        if known.any():
            part = F.binary_cross_entropy_with_logits(logits[known.to(place)], truth[known].to(place))
            loss = loss + weight * part * truth.shape[1]
    return loss


def train(settings: Settings, data: Path, run: Path, resume: bool = False) -> dict[int, EmotionNet]:
    """Train once per seed on the official splits in ``data``; returns the networks as :func:`fit` does, by seed.

    The first ``shared`` epochs are trained once, in the order of seed 0, and every seed goes on from there.
    """
    sets = {s: _cut(load(s, "train", data), settings) for s in settings.sources}
    held = {s: _cut(load(s, "val", data).single(), settings) for s in settings.sources}
    prepared = prepare(settings, sets)
    trunk = run / "shared"
    if settings.shared and not (resume and (trunk / "done").is_file()):
        fit(replace(settings, seeds=(0,)), sets, held, trunk, resume, prepared, settings.shared)
        (trunk / "done").touch()
    nets: dict[int, EmotionNet] = {}
    for seed in settings.seeds:
        own = run / f"seed-{seed}"
        begun = resume and (own / "run.safetensors").is_file()
        if settings.shared and not begun:
            own.mkdir(parents=True, exist_ok=True)
            shutil.copy(trunk / "run.safetensors", own)
        again = begun or settings.shared > 0 or (resume and not nets)
        nets[seed] = fit(replace(settings, seeds=(seed,)), sets, held, own, again, prepared)
    return nets


def prepare(settings: Settings, sets: dict[str, Texts]) -> Examples:
    """Tokenised rows, and the frozen layers' outputs for them, which all seeds and epochs share."""
    torch.set_num_threads(settings.threads)
    return examples(_begin(settings, sets), sets, settings)


def fit(
    settings: Settings,
    sets: dict[str, Texts],
    held: dict[str, Texts],
    run: Path,
    resume: bool = False,
    prepared: Examples | None = None,
    until: int | None = None,
) -> EmotionNet:
    """Train on ``sets`` with early stop on ``held``; returns the averaged network on the CPU, not yet calibrated.

    ``run`` holds the resumable state, and in history.json the validation figures after each epoch; ``until`` ends it
    after that epoch, in mid-schedule.
    """
    torch.set_num_threads(settings.threads)
    net = _begin(settings, sets)
    prepared = prepared or examples(net, sets, settings)
    if settings.method == "lora":
        net.encoder.model = _lora(net.encoder.model, settings.lora_rank)
    best = EarlyStop(settings.patience)
    state = _State(net, settings, sum(1 for _ in _order(prepared, settings, 0)))
    if resume:
        state.step = load_run(run, net, state.optimiser, state.average)
    for epoch in range(state.step // state.steps, until or settings.epochs):
        _epoch(state, prepared, epoch, run)
        figures = validate(state.average.apply(copy.deepcopy(net)), held)
        _remember(run / "history.json", epoch, figures)
        if best.stop(float(np.mean([f["macro_f1"] for f in figures.values()]))):
            break
    state.average.apply(net)
    if settings.fine_weight:
        del net.fine
    if settings.method == "lora":
        merge = cast(Any, net.encoder.model).merge_and_unload
        net.encoder.model = merge()
    return net.cpu().eval()


def _remember(path: Path, epoch: int, figures: dict[str, dict[str, float]]) -> None:
    told = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(told | {str(epoch + 1): figures}, indent=1) + "\n")


def _begin(settings: Settings, sets: dict[str, Texts]) -> EmotionNet:
    """A fresh network, or the encoder and heads of the checkpoint ``start``; heads begin alike whatever the seed."""
    torch.manual_seed(HEADS)
    net = new_net(settings.encoder, tuple(sets), settings.pooling)
    net.encoder.max_tokens = min(net.encoder.max_tokens, settings.max_tokens)
    if settings.start:
        trained, _ = load_net(Path(settings.start))
        own = net.state_dict()
        own |= {k: v for k, v in trained.state_dict().items() if not k.startswith(FITTED)}
        net.load_state_dict(own)
    if settings.fine_weight:
        net.add_module("fine", nn.Linear(net.encoder.width, finest(sets)))
    if cached(net, settings):
        model = cast(Any, net.encoder.model)
        for frozen in (model.embeddings, *model.encoder.layer[: settings.freeze]):
            frozen.requires_grad_(False)
    torch.manual_seed(settings.seeds[0])
    return net.to(device.choose())


class _State:
    """Optimiser, schedule and weight average of a run, and how far it has come."""

    def __init__(self, net: EmotionNet, settings: Settings, steps: int) -> None:
        self.net, self.settings, self.steps, self.step = net, settings, steps, 0
        self.total = min(steps * settings.epochs, settings.max_steps or steps * settings.epochs)
        self.optimiser = torch.optim.AdamW(groups(net, settings), weight_decay=settings.weight_decay, fused=True)
        self.average = Averager(net, int(settings.average_from * self.total))


def _order(data: Examples, settings: Settings, epoch: int) -> Iterator[NDArray[np.int64]]:
    rows = np.flatnonzero((data.turn < 0) | (data.turn == (epoch + settings.seeds[0]) % 2))
    return batches(data.ids, settings.batch_size, settings.seeds[0] * 1000 + epoch, rows)


def _epoch(state: _State, data: Examples, epoch: int, run: Path) -> None:
    net, settings = state.net.train(), state.settings
    place = next(net.parameters()).device.type
    with progress(f"epoch {epoch + 1}", state.steps) as report:
        for position, rows in enumerate(_order(data, settings, epoch)):
            if epoch * state.steps + position < state.step or state.step >= state.total:
                continue
            for group in state.optimiser.param_groups:
                group["lr"] = group["peak"] * schedule(state.step / state.total, settings.warmup)
            with torch.autocast(place, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = _step_loss(net, data, rows, settings, state.step)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            state.optimiser.step()
            state.optimiser.zero_grad(set_to_none=True)
            state.step += 1
            state.average.update(net, state.step)
            if state.step % TOLD_EVERY == 0 or position + 1 == state.steps:
                report(position + 1, f"loss {loss.item():.3f}")
            if state.step % SAVE_EVERY == 0 or state.step in (state.total, (epoch + 1) * state.steps):
                save_run(run, net, state.optimiser, state.average, state.step)


def _step_loss(net: EmotionNet, data: Examples, rows: NDArray[np.int64], settings: Settings, step: int) -> Tensor:
    if data.states is None:
        hidden, mask = net.encoder([data.ids[i] for i in rows])
        pooled = pool(hidden, mask, settings.pooling)
    else:
        draw = torch.Generator().manual_seed(settings.seeds[0] * 1_000_003 + step)  # a resumed run draws the same
        states = [thinned(data.states[i], settings.token_drop, draw) for i in rows]
        pooled = net.encoder.upper(states, settings.freeze, settings.pooling)
    fine = net.get_submodule("fine")(pooled) if settings.fine_weight else None
    return loss_of(net.heads(pooled, pooled), fine, data, rows, settings)


def _lora(model: nn.Module, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    return get_peft_model(model, config)


def _cut(texts: Texts, settings: Settings) -> Texts:
    limit = settings.limits.get(texts.source)
    if limit is None:
        return texts
    return texts.take(np.random.default_rng(0).permutation(len(texts))[:limit])


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Train each seed, average their weights, calibrate, measure on the official tests, write the checkpoint and card."""
    chosen = registry.settings(Settings, config)
    if chosen.lexicon and chosen.lexicon not in chosen.sources:
        raise InputError(f"lexicon names one of the sources {', '.join(chosen.sources)}, not {chosen.lexicon}.")
    members = train(chosen, options.data, options.out.with_name(options.out.name + ".run"), options.resume)
    nets = {f"seed {seed}": net for seed, net in members.items()}
    if len(nets) > 1:
        nets["mean"] = soup(list(members.values()))
    extras = {name: calibrate(net, chosen.sources, options.data, chosen.lexicon) for name, net in nets.items()}
    figures = {name: measure(net, extras[name], options.data) for name, net in nets.items()}
    *_, ships = nets
    described = {"encoder": chosen.encoder, "trained_on": list(chosen.sources), "lexicon": chosen.lexicon}
    nets[ships].save(options.out, extras[ships] | described | {"figures": figures[ships]}, card(figures, config))
    return figures


def cross_fit(config: dict[str, Any], data: Path, fold: int, folds: int, run: Path, resume: bool) -> Said:
    """What a network that has not seen them says of one fold's training rows, for the sources in ``taught``."""
    chosen = replace(registry.settings(Settings, config), soft_labels="", teachers=())
    sets = {s: _cut(load(s, "train", data), chosen) for s in chosen.sources}
    held = {s: _cut(load(s, "val", data).single(), chosen) for s in chosen.sources}
    out = {s: np.flatnonzero(fold_of(len(sets[s]), folds) == fold) for s in chosen.taught}
    left = {s: t.take(np.setdiff1d(np.arange(len(t)), out.get(s, []))) for s, t in sets.items()}
    net = fit(chosen, left, held, run, resume).to(device.choose())
    return {s: (rows, said(net, sets[s].take(rows)), sets[s].labels) for s, rows in out.items()}
