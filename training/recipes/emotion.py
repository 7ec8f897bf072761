"""Fine-tune a text encoder for the emotion of a post: full or LoRA, balanced within each source, resumable.

``moodtape train emotion-text --data FOLDER --out FOLDER`` with the settings of configs/emotion-text.toml.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from numpy.typing import NDArray
from torch import Tensor, nn

from models.emotion_net import EmotionNet, Reading, load_net, new_net
from models.encoders.text import TextEncoder, pool
from training import registry
from training.data.emotion import Texts, class_weights, load
from training.emotion_finish import calibrate, card, infer, measure
from training.metrics import macro_f1
from training.optim import Averager, groups, load_run, save_run, schedule
from training.progress import progress
from training.registry import TrainOptions

Ids = list[list[int]]
SAVE_EVERY = 250
"""Steps between resumable states."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What configs/emotion-text.toml says; the comments there explain each value."""

    sources: dict[str, int]
    encoder: str
    pooling: str = "first"
    max_tokens: int = 96
    seed: int = 1
    threads: int = 1
    method: str = "full"
    lora_rank: int = 16
    precision: str = "bf16"
    batch_size: int = 48
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    layer_decay: float = 0.8
    weight_decay: float = 0.01
    warmup: float = 0.06
    label_smoothing: float = 0.03
    class_power: float = 0.5
    multi_weight: float = 0.5
    keep_weight: float = 1.0
    keep_every: int = 4
    average_from: float = 0.7
    epochs: int = 2
    patience: int = 1
    max_steps: int = 0
    limits: dict[str, int] = field(default_factory=dict)
    start: str = ""


@dataclass(frozen=True, slots=True)
class Examples:
    """Tokenised training rows.

    ``targets`` (n, 7) sum to 1, shared evenly where several labels hold; ``weights`` (n) even out classes; ``multi`` (n, 7)
    is 0 or 1, −1 where only one label was asked for.
    """

    ids: Ids
    targets: Tensor
    weights: Tensor
    multi: Tensor


def examples(net: EmotionNet, sets: dict[str, Texts], settings: Settings) -> Examples:
    """Join the sources; a source is repeated as often as settings say and its classes weigh evenly within it."""
    ids: Ids = []
    columns: list[tuple[NDArray[np.float32], ...]] = []
    for source, texts in sets.items():
        targets = texts.multi / np.maximum(texts.multi.sum(1, keepdims=True), 1)
        weights = targets @ class_weights(texts.labels, settings.class_power)
        multi = texts.multi if source == "goemotions" else np.full_like(texts.multi, -1)
        ids += net.encoder.tokenise(texts.texts) * settings.sources[source]
        columns += [(targets, weights, multi)] * settings.sources[source]
    return Examples(ids, *(torch.from_numpy(np.concatenate(parts)) for parts in zip(*columns, strict=True)))


def batches(ids: Ids, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Index batches of similar length in random order: sorted within shuffled blocks of 50 batches."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ids))
    lengths = np.array([len(row) for row in ids])
    cut: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * 50):
        block = order[start : start + size * 50]
        block = block[np.argsort(lengths[block], kind="stable")]
        cut += [block[i : i + size] for i in range(0, len(block), size)]
    for i in rng.permutation(len(cut)):
        yield cut[i]


def loss_of(reading: Reading, data: Examples, rows: NDArray[np.int64], settings: Settings) -> Tensor:
    """Weighted cross-entropy on the labels plus binary cross-entropy where several may hold."""
    index = torch.from_numpy(rows)
    targets, weights, multi = data.targets[index], data.weights[index], data.multi[index]
    each = F.cross_entropy(reading.logits, targets, reduction="none", label_smoothing=settings.label_smoothing)
    loss = (each * weights).mean()
    known = multi[:, 0] >= 0
    if known.any():
        loss = loss + settings.multi_weight * F.binary_cross_entropy_with_logits(reading.multi[known], multi[known]) * 7
    return loss


def train(settings: Settings, data: Path, run: Path, resume: bool = False) -> EmotionNet:
    """Train on the official splits in ``data``; returns the network as :func:`fit` does."""
    sets = {s: _cut(load(s, "train", data), settings) for s in settings.sources}
    held = {s: _cut(load(s, "val", data).single(), settings) for s in settings.sources}
    return fit(settings, sets, held, run, resume)


def fit(
    settings: Settings, sets: dict[str, Texts], held: dict[str, Texts], run: Path, resume: bool = False
) -> EmotionNet:
    """Train on ``sets`` with early stop on ``held``; returns the averaged network, not yet calibrated.

    ``run`` holds the resumable state.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    net = _begin(settings, tuple(sets))
    net.encoder.max_tokens = min(net.encoder.max_tokens, settings.max_tokens)
    keeper = TextEncoder.from_name(settings.encoder, settings.max_tokens).eval() if settings.keep_weight else None
    if settings.method == "lora":
        net.encoder.model = _lora(net.encoder.model, settings.lora_rank)
    prepared = examples(net, sets, settings)
    best = _Best(settings.patience)
    state = _State(net, settings, -(-len(prepared.ids) // settings.batch_size))
    if resume:
        state.step = load_run(run, net, state.optimiser, state.average)
    for epoch in range(state.step // state.steps, settings.epochs):
        _epoch(state, prepared, keeper, epoch, run)
        if best.stop(validate(state.average.apply(copy.deepcopy(net)), held)):
            break
    state.average.apply(net)
    if settings.method == "lora":
        merge = cast(Any, net.encoder.model).merge_and_unload
        net.encoder.model = merge()
    return net.eval()


def _begin(settings: Settings, styles: tuple[str, ...]) -> EmotionNet:
    """A fresh network, or the encoder and heads of the checkpoint ``start``."""
    net = new_net(settings.encoder, styles, settings.pooling)
    if settings.start:
        trained, _ = load_net(Path(settings.start))
        own = net.state_dict()
        own |= {k: v for k, v in trained.state_dict().items() if not k.startswith(("style.", "calibration."))}
        net.load_state_dict(own)
    return net


class _State:
    """Optimiser, schedule and weight average of a run, and how far it has come."""

    def __init__(self, net: EmotionNet, settings: Settings, steps: int) -> None:
        self.net, self.settings, self.steps, self.step = net, settings, steps, 0
        self.total = min(steps * settings.epochs, settings.max_steps or steps * settings.epochs)
        self.optimiser = torch.optim.AdamW(groups(net, settings), weight_decay=settings.weight_decay)
        self.average = Averager(net, int(settings.average_from * self.total))


def _epoch(state: _State, data: Examples, keeper: TextEncoder | None, epoch: int, run: Path) -> None:
    net, settings = state.net.train(), state.settings
    with progress(f"epoch {epoch + 1}", state.steps) as report:
        for position, rows in enumerate(batches(data.ids, settings.batch_size, settings.seed * 1000 + epoch)):
            if epoch * state.steps + position < state.step or state.step >= state.total:
                continue
            for group in state.optimiser.param_groups:
                group["lr"] = group["peak"] * schedule(state.step / state.total, settings.warmup)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = _step_loss(net, data, rows, keeper if state.step % settings.keep_every == 0 else None, settings)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            state.optimiser.step()
            state.optimiser.zero_grad(set_to_none=True)
            state.step += 1
            state.average.update(net, state.step)
            report(position + 1, f"loss {loss.item():.3f}")
            if state.step % SAVE_EVERY == 0 or state.step in (state.total, (epoch + 1) * state.steps):
                save_run(run, net, state.optimiser, state.average, state.step)


def _step_loss(
    net: EmotionNet, data: Examples, rows: NDArray[np.int64], keeper: TextEncoder | None, settings: Settings
) -> Tensor:
    ids = [data.ids[i] for i in rows]
    reading: Reading = net(ids)
    loss = loss_of(reading, data, rows, settings)
    if keeper is not None:
        with torch.no_grad():
            hidden, mask = keeper(ids)
            target = pool(hidden, mask, "mean")
        far = 1 - F.cosine_similarity(reading.mean, target)
        loss = loss + settings.keep_weight * settings.keep_every * far.mean()
    return loss


def validate(net: EmotionNet, held: dict[str, Texts]) -> float:
    """Mean macro-F1 over the sources' validation sets, uncalibrated."""
    scores = [macro_f1(texts.labels, infer(net, texts.texts).logits.argmax(1).numpy()) for texts in held.values()]
    return float(np.mean(scores))


class _Best:
    """Early stop: after ``patience`` epochs without a better score."""

    def __init__(self, patience: int) -> None:
        self.best, self.left, self.patience = -1.0, patience, patience

    def stop(self, score: float) -> bool:
        self.left = self.patience if score > self.best else self.left - 1
        self.best = max(self.best, score)
        return self.left <= 0


def _lora(model: nn.Module, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    return get_peft_model(model, config)


def _cut(texts: Texts, settings: Settings) -> Texts:
    limit = settings.limits.get(texts.source)
    if limit is None:
        return texts
    return texts.take(np.random.default_rng(settings.seed).permutation(len(texts))[:limit])


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Train, calibrate, measure on the official tests and write the checkpoint with its card."""
    chosen = registry.settings(Settings, config)
    net = train(chosen, options.data, options.out.with_name(options.out.name + ".run"), options.resume)
    extra = calibrate(net, chosen.sources, options.data)
    figures = measure(net, extra, options.data)
    described = {"encoder": chosen.encoder, "trained_on": list(chosen.sources), "seed": chosen.seed, "figures": figures}
    net.save(options.out, extra | described, card(figures, config))
    return figures
