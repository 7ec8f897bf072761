"""Recipe of the text emotion: an encoder is fine-tuned in full or by LoRA, classes balanced within each source.

``moodtape train emotion/text --data FOLDER --out FOLDER`` with the settings of configs/emotion/text.toml.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from domain.errors import InputError
from domain.types import EMOTIONS
from models import device
from models.emotion.net import EmotionNet, Reading, load_net, new_net
from models.encoders.text import pool
from training import registry, runs
from training.emotion.calibration import calibrate, measure, validate
from training.emotion.crossfit import SoftLabel, fold_of
from training.emotion.rows import Examples, Settings, batches, cached, examples, finest, predict, thinned
from training.emotion.texts import Texts, load
from training.loop import Loop, LoopOptions, Objective
from training.optim import groups, schedule, soup
from training.registry import TrainOptions
from training.runs import frozen

AVERAGED_EVERY = 20
"""Steps between the weights that enter their mean; flatter minima carry over better to unseen sources."""

FITTED = ("calibration.", "lexicon")
"""What is fitted after training, and so not taken over from a checkpoint."""

HEADS = 0
"""Seed of the heads' first weights, the same for all runs: only networks from one start can be averaged."""


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
        begun = resume and runs.begun(own)
        if settings.shared and not begun:
            own.mkdir(parents=True, exist_ok=True)
            shutil.copy(trunk / runs.STATE, own)
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

    ``run`` is the folder of the run (training/runs.py); ``until`` ends it after that epoch, in mid-schedule.
    """
    torch.set_num_threads(settings.threads)
    net = _begin(settings, sets)
    prepared = prepared or examples(net, sets, settings)
    if settings.method == "lora":
        net.encoder.model = _lora(net.encoder.model, settings.lora_rank)
    loop = _loop(net, prepared, held, run, settings, until)
    loop.run(resume)
    trained: EmotionNet = loop.averaged()
    if settings.fine_weight:
        del trained.fine
    if settings.method == "lora":
        merge = cast(Any, trained.encoder.model).merge_and_unload
        trained.encoder.model = merge()
    return trained.cpu().eval()


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


def _loop(
    net: EmotionNet, data: Examples, held: dict[str, Texts], run: Path, settings: Settings, until: int | None
) -> Loop[NDArray[np.int64]]:
    steps = len(_order(data, settings, 0)) * settings.epochs
    total = min(steps, settings.max_steps or steps)
    optimizer = torch.optim.AdamW(
        groups(net, settings.learning_rate, settings.head_learning_rate, settings.layer_decay),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / total, settings.warmup))
    options = LoopOptions(
        epochs=until or settings.epochs,
        max_steps=settings.max_steps,
        seed=settings.seeds[0],
        precision=settings.precision,
        monitor="macro_f1",
        patience=settings.patience,
        average_from=int(settings.average_from * total),
        average_every=AVERAGED_EVERY,
        unsaved=frozen(net),
    )

    def evaluate(read: EmotionNet) -> dict[str, Any]:
        figures = validate(read, held)
        return {"macro_f1": float(np.mean([f["macro_f1"] for f in figures.values()])), "sources": figures}

    objective = Objective(partial(_step_loss, net, data, settings), optimizer, scheduler)
    return Loop(net, objective, partial(_order, data, settings), run, options, evaluate, AveragedModel(net))


def _order(data: Examples, settings: Settings, epoch: int) -> list[NDArray[np.int64]]:
    rows = np.flatnonzero((data.turn < 0) | (data.turn == (epoch + settings.seeds[0]) % 2))
    return list(batches(data.ids, settings.batch_size, settings.seeds[0] * 1000 + epoch, rows))


def _step_loss(net: EmotionNet, data: Examples, settings: Settings, rows: NDArray[np.int64]) -> Tensor:
    if data.states is None:
        hidden, mask = net.encoder([data.ids[i] for i in rows])
        pooled = pool(hidden, mask, settings.pooling)
    else:
        states = [thinned(data.states[i], settings.token_drop, torch.default_generator) for i in rows]
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


def cross_fit(
    config: dict[str, Any], data: Path, fold: int, folds: int, run: Path, resume: bool
) -> dict[str, SoftLabel]:
    """Predict one fold's training rows of the sources in ``taught`` with a network trained on the other folds."""
    chosen = replace(registry.settings(Settings, config), soft_labels="", teachers=())
    sets = {s: _cut(load(s, "train", data), chosen) for s in chosen.sources}
    held = {s: _cut(load(s, "val", data).single(), chosen) for s in chosen.sources}
    out = {s: np.flatnonzero(fold_of(len(sets[s]), folds) == fold) for s in chosen.taught}
    left = {s: t.take(np.setdiff1d(np.arange(len(t)), out.get(s, []))) for s, t in sets.items()}
    net = fit(chosen, left, held, run, resume).to(device.choose())
    return {s: SoftLabel(rows, predict(net, sets[s].take(rows)), sets[s].labels) for s, rows in out.items()}


CARD = """---
license: apache-2.0
language: en
pipeline_tag: text-classification
---
# moodtape emotion-text

Reads {labels} from short English posts. MiniLM-L6 (`all-MiniLM-L6-v2`, Apache-2.0), fine-tuned above its lowest layers; its
word embeddings are unchanged and stay in the package they came in, whose sha256 `config.json` records. Weights float16.

Trained on: dair_emotion train (16,000; "educational and research purposes"), GoEmotions train (Apache-2.0), slang.tsv and
spoken.tsv (written for moodtape, training/emotion). `love` of dair_emotion counts as joy in training and is left out of its
test. MELD (GPL-3) is used as a test only: nothing is trained or fitted on any split of it. Calibrated on the
validation splits.

{table}

Each cell: accuracy / macro-F1 / ECE (15 bins, top label), for several labels macro-F1 alone. {ships} ships. Were its
probabilities exactly right, so few texts would still show an ECE of {chance} on average. The kind of text is not told to
the model. MELD (television dialogue) is unseen.{shared}{lexicon} Labels that hold together share a text's target; where
the settings name teachers or soft labels, the mean probabilities of those networks have the share that `taught` gives.
GoEmotions' own 28 labels are an auxiliary task that is not saved; the head of independent labels is fitted to the
finished features.

Limits: English only; sarcasm is caught where it resembles that of the slang set; dair_emotion has no neutral and no disgust, so
sentences beginning "i feel" are seldom called neutral. The sentence vector is the mean over the last layer of the same
encoder: nothing holds it near the base's vectors. Not a statement about a person's state of mind.

Settings: `{settings}`
"""


def card(figures: dict[str, dict[str, Any]], config: dict[str, Any]) -> str:
    """The checkpoint's README with measured figures by network and test; the last network is the one that ships."""
    *_, ships = figures
    rows = [f"| test | n | {' | '.join(figures)} |", "|---" * (2 + len(figures)) + "|"]
    for test, shown in figures[ships].items():
        cells = (
            " / ".join(str(by[test][k]) for k in ("accuracy", "macro_f1", "ece") if k in by[test])
            for by in figures.values()
        )
        rows.append(f"| {test} | {shown['n']} | {' | '.join(cells)} |")
    settings = ", ".join(f"{key} = {value}" for key, value in config.items())
    shared = config.get("shared", 0)
    chance = ", ".join(
        f"{by['ece_by_chance']} ({test})" for test, by in figures[ships].items() if "ece_by_chance" in by
    )
    lexicon = f" Beside the network stands a lexicon learned from {config['lexicon']}." if config.get("lexicon") else ""
    notes = f" The seeds share their first {shared} of {config.get('epochs')} epochs." if shared else ""
    fields = {
        "shared": notes,
        "lexicon": lexicon,
        "labels": ", ".join(EMOTIONS),
        "table": "\n".join(rows),
        "settings": settings,
        "chance": chance,
    }
    return CARD.format(**fields, ships="The mean of the seeds' weights" if len(figures) > 1 else f"“{ships}”")
