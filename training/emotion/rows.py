"""Settings and training rows of the text emotion: sources joined and balanced, tokenised, and batched by length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from domain.types import EMOTIONS
from models.device import half_or_full
from models.emotion.net import EmotionNet, load_net
from models.encoders.packed import packable
from training.emotion import crossfit
from training.emotion.texts import Texts, class_weights, varied

Ids = list[list[int]]


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
    precision: Literal["bf16", "fp32"] = "bf16"
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


@dataclass(frozen=True, slots=True)
class Examples:
    """Tokenised training rows.

    ``targets`` (n, 7): target probabilities, summing to 1 (0 for a row without a label). Several labels of a row share it;
    a part may come from teachers, who read the text as it was published. ``weights`` (n): balance the classes of a source; a
    class that the source lacks has weight 0. ``multi`` (n, 7) and ``fine`` (n, 28): independent labels, 0 or 1, or −1 where
    only one label was asked for. ``turn`` (n): 0 or 1, whether even or odd epochs see the row, −1 for all. ``states``: the
    frozen layers' outputs, where they are kept.
    """

    ids: Ids
    targets: Tensor
    weights: Tensor
    multi: Tensor
    fine: Tensor
    turn: NDArray[np.int64]
    states: list[Tensor] | None = None


def examples(net: EmotionNet, sets: dict[str, Texts], settings: Settings) -> Examples:
    """Join the sources, each repeated as often as the settings say, with its classes balanced.

    Raises:
        InputError: a share in ``taught`` is not between 0 and 1.
    """
    if wrong := [source for source, share in settings.taught.items() if not 0 <= share <= 1]:
        raise InputError(f"taught gives each source a share from 0 to 1; look at {', '.join(wrong)}.")
    ids: Ids = []
    states: list[Tensor] | None = [] if cached(net, settings) else None
    columns: list[tuple[NDArray[Any], ...]] = []
    for source, texts in sets.items():
        rng = np.random.default_rng(0)
        turn = _turns(texts.labels, settings.alternate, rng)
        targets = _targets(texts, settings)
        weights = targets @ class_weights(texts.labels[turn < 1], settings.class_power)
        several = (texts.multi.sum(1) > 1).any()
        multi = texts.multi if several else np.full_like(texts.multi, -1)
        fine = np.full((len(texts), finest(sets)), -1, np.float32) if texts.fine is None else texts.fine
        rows = net.encoder.tokenise(varied(texts, settings.unframed, settings.named, rng).texts)
        times = settings.sources[source]
        ids += rows * times
        if states is not None:
            states += net.encoder.eval().lower(rows, settings.freeze) * times
        columns += [(targets, weights, multi, fine, turn)] * times
    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    tensors = [torch.from_numpy(part) for part in joined[:4]]
    return Examples(ids, tensors[0], tensors[1], tensors[2], tensors[3], joined[4], states)


def _targets(texts: Texts, settings: Settings) -> NDArray[np.float32]:
    """Target probabilities, float32[n, 7]: the labels, mixed with the teachers' mean prediction where they have a share.

    Ensemble distillation (Hinton et al., 2015): labels are noisy, and the mean of several networks is less so.
    """
    own = texts.multi / np.maximum(texts.multi.sum(1, keepdims=True), 1)
    share = settings.taught.get(texts.source, 0.0) if settings.teachers or settings.soft_labels else 0.0
    if share:
        taught = [predict(load_net(Path(folder))[0], texts) for folder in settings.teachers]
        if settings.soft_labels:
            taught.append(crossfit.read(Path(settings.soft_labels), texts.source, texts.labels))
        own = (1 - share) * own + share * np.mean(taught, axis=0)
    return np.asarray(own, np.float32)


def predict(net: EmotionNet, texts: Texts) -> NDArray[np.float32]:
    """A trained network's uncalibrated probabilities, float32[n, 7]."""
    logits = net.eval().infer(net.encoder.tokenise(texts.texts), half_or_full("cpu")).logits
    return np.asarray(torch.softmax(logits.float(), 1).cpu().numpy(), np.float32)


def thinned(states: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """Token states (tokens, width) without a random share of the inner ones; the first and the last token stay.

    Texts of equal length stay of equal length, as the packed layers need them.
    """
    inner = len(states) - 2
    gone = round(share * inner)
    if gone < 1:
        return states
    kept = torch.randperm(inner, generator=draw)[: inner - gone].sort().values + 1
    return states[torch.cat([torch.tensor([0]), kept, torch.tensor([inner + 1])])]


def finest(sets: dict[str, Texts]) -> int:
    """How many finer labels the sources bring, an auxiliary task; 0 without any."""
    return max(0 if texts.fine is None else texts.fine.shape[1] for texts in sets.values())


def cached(net: EmotionNet, settings: Settings) -> bool:
    """Whether the frozen layers' outputs can be kept: trained whole, an architecture that is packed, no ``max`` pooling."""
    return settings.method == "full" and settings.pooling != "max" and packable(net.encoder.model)


def _turns(labels: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """0 or 1 for the two halves of each class of more than ``most`` rows, −1 for all other rows."""
    turn = np.full(len(labels), -1)
    for label in range(len(EMOTIONS)):
        members = rng.permutation(np.flatnonzero(labels == label))
        if 0 < most < len(members):
            even = members[: len(members) // 2 * 2]
            turn[even] = np.arange(len(even)) % 2
    return turn


def batches(ids: Ids, size: int, seed: int, rows: NDArray[np.int64] | None = None) -> Iterator[NDArray[np.int64]]:
    """Index batches of similar length in random order: sorted within shuffled blocks of 50 batches."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ids) if rows is None else rows)
    lengths = np.array([len(row) for row in ids])
    cut: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * 50):
        block = order[start : start + size * 50]
        block = block[np.argsort(lengths[block], kind="stable")]
        cut += [block[i : i + size] for i in range(0, len(block), size)]
    for i in rng.permutation(len(cut)):
        yield cut[i]
