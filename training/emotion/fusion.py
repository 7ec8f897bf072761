"""Fit the pooling of words and picture on synthetic pairs, a share of which contradict each other.

A pair is a held-back text with its label and a held-back face that shows that label or, at the rate ``conflict``, another
one; what the words mean is the truth. Fitting uses validation texts and one half of the held-back faces, measuring the
official test texts and the other half. The parts are read by the models that ship.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.errors import MoodtapeError
from domain.types import EMOTIONS
from models.emotion.fusion import EmotionFusion, Pool
from models.emotion.text import EmotionTextReader
from models.manifest import ARTIFACTS
from training import registry
from training.emotion.calibration import fit_scale_and_bias
from training.emotion.evaluate import in_batches
from training.emotion.texts import load
from training.metrics import ece, macro_f1
from training.optim import minimise
from training.registry import TrainOptions

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
FACES = ("face_emotion/fer2013_48.parquet", "face_emotion/muxspace_128.parquet")
PARTS = 1500
"""Most texts and most faces of each set and role; more does not move 22 parameters."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What configs/emotion/fusion.toml says; the comments there explain each value."""

    seed: int = 1
    conflict: float = 0.25
    pairs: int = 12000
    penalty: float = 1e-3
    unsure_margin: float = 0.08
    tests: tuple[float, ...] = (0.0, 0.25, 0.5)
    artifacts: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Calibrated probabilities (n, 7) of one kind of input, and what they should say (n)."""

    probabilities: Floats
    labels: Ints


@dataclass(frozen=True, slots=True)
class Pairs:
    """Probabilities of both parts, each (n, 7), and the truth (n)."""

    text: Floats
    image: Floats
    labels: Ints


def make_pairs(text: Part, image: Part, conflict: float, count: int, rng: np.random.Generator) -> Pairs:
    """``count`` pairs; texts as they come, faces drawn within the label wanted."""
    present = np.unique(image.labels)
    rows = rng.choice(np.flatnonzero(np.isin(text.labels, present)), count)
    truth = text.labels[rows]
    shown = truth.copy()
    for i in np.flatnonzero(rng.random(count) < conflict):
        shown[i] = rng.choice(present[present != truth[i]])
    faces = np.empty(count, np.int64)
    for label in present:
        faces[shown == label] = rng.choice(np.flatnonzero(image.labels == label), int((shown == label).sum()))
    return Pairs(text.probabilities[rows], image.probabilities[faces], truth)


def fit(pairs: Pairs, penalty: float) -> Pool:
    """Weights and bias of greatest likelihood, drawn to (words 1, no shift, doubt 0.12, no bias) by ``penalty``."""
    pool = Pool()
    start = [p.detach().clone() for p in pool.parameters()]
    text, image, labels = map(torch.from_numpy, (pairs.text, pairs.image, pairs.labels))

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(pool(text, image), labels)
        return value + penalty * sum((p - s).square().sum() for p, s in zip(pool.parameters(), start, strict=True))

    minimise(pool.parameters(), loss, 200)
    return pool


Rule = Callable[[Floats, Floats], Floats]


def rules(pairs: Pairs, pool: Pool, without_conflict: Pool) -> dict[str, Rule]:
    """What the pooling is compared with; the class bias of the single part is fitted on the same pairs."""
    _, bias = fit_scale_and_bias(torch.from_numpy(np.log(pairs.text.clip(1e-4))), torch.from_numpy(pairs.labels))

    def pooled(by: Pool) -> Rule:
        return lambda t, i: _softmax(by(torch.from_numpy(t), torch.from_numpy(i)).detach().numpy())

    return {
        "text": lambda t, _i: t,
        "text + bias": lambda t, _i: _softmax(np.log(t.clip(1e-4)) + bias.numpy()),
        "image": lambda _t, i: i,
        "equal average": lambda t, i: (t + i) / 2,
        "learned without conflict": pooled(without_conflict),
        "learned (ships)": pooled(pool),
    }


def table(chosen: dict[str, Rule], text: Part, image: Part, settings: Settings) -> dict[str, Any]:
    """Accuracy, macro-F1 and ECE of every rule at every share of conflict."""
    out: dict[str, Any] = {}
    for conflict in settings.tests:
        pairs = make_pairs(text, image, conflict, settings.pairs // 2, np.random.default_rng(settings.seed + 1))
        out[f"conflict {conflict:.0%}"] = {
            name: scores(rule(pairs.text, pairs.image), pairs.labels) for name, rule in chosen.items()
        }
    return out


def scores(probabilities: Floats, labels: Ints) -> dict[str, float]:
    """Accuracy, macro-F1 and ECE."""
    predicted = probabilities.argmax(1).astype(np.int64)
    return {
        "accuracy": round(float((predicted == labels).mean()), 4),
        "macro_f1": round(macro_f1(labels, predicted), 4),
        "ece": round(ece(probabilities, labels), 4),
    }


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit, measure at several shares of conflict, and write the checkpoint with its card."""
    chosen = registry.settings(Settings, config)
    artifacts = Path(chosen.artifacts) if chosen.artifacts else ARTIFACTS
    fitting, testing = (texts(options.data, split, artifacts, chosen.seed) for split in ("val", "test"))
    faces_fit, faces_test = faces(options.data, artifacts, chosen.seed)
    rng = np.random.default_rng(chosen.seed)
    pairs = make_pairs(fitting, faces_fit, chosen.conflict, chosen.pairs // 2, rng)
    pool = fit(pairs, chosen.penalty)
    agreeing = make_pairs(fitting, faces_fit, 0.0, chosen.pairs // 2, rng)
    figures = table(rules(pairs, pool, fit(agreeing, chosen.penalty)), testing, faces_test, chosen)
    EmotionFusion(pool, chosen.unsure_margin).save(options.out, card(figures, pool))
    return figures


def texts(data: Path, split: str, artifacts: Path, seed: int) -> Part:
    """Readings of held-back texts of dair_emotion and GoEmotions."""
    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")
    rng = np.random.default_rng(seed)
    sets = [load(source, split, data).single() for source in ("dair", "goemotions")]
    sets = [texts.take(np.sort(rng.permutation(len(texts))[:PARTS])) for texts in sets]
    words = [text for texts in sets for text in texts.texts]
    readings = in_batches(f"texts, {split}", reader.read, words, [len(w) for w in words])
    return Part(np.stack([r.probabilities for r in readings]), np.concatenate([texts.labels for texts in sets]))


def faces(data: Path, artifacts: Path, seed: int) -> tuple[Part, Part]:
    """Readings of faces that the picture model was not trained on, in two halves; unreadable ones are left out."""
    from models.emotion.image import ImageMoodReader

    reader = ImageMoodReader.from_pretrained(artifacts / "emotion-image")
    rng = np.random.default_rng(seed)
    probabilities, labels = [], []
    for name in FACES:
        frame = pd.read_parquet(data / name)
        frame = frame[(frame["split"] != "train") & frame["label"].isin(EMOTIONS)]
        frame = frame.iloc[np.sort(rng.permutation(len(frame))[: 2 * PARTS])]
        pictures = frame["jpeg"].tolist()
        readings = in_batches(f"faces, {name}", reader.read, pictures, [len(p) for p in pictures])
        for reading, label in zip(readings, frame["label"], strict=True):
            if not isinstance(reading, MoodtapeError) and reading.probabilities is not None:
                probabilities.append(reading.probabilities)
                labels.append(EMOTIONS.index(label))
    order = rng.permutation(len(labels))
    matrix, truth = np.stack(probabilities).astype(np.float32), np.array(labels, np.int64)
    halves = np.array_split(order, 2)
    return Part(matrix[halves[0]], truth[halves[0]]), Part(matrix[halves[1]], truth[halves[1]])


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float32)


def card(figures: dict[str, Any], pool: Pool) -> str:
    """The checkpoint's README with measured figures."""
    lines = ["| pairs in conflict | rule | accuracy | macro-F1 | ECE |", "|---|---|---|---|---|"]
    for conflict, by_rule in figures.items():
        for name, f in by_rule.items():
            lines.append(
                f"| {conflict.removeprefix('conflict ')} | {name} | {f['accuracy']} | {f['macro_f1']} | {f['ece']} |"
            )
    weights = [
        f"| {label} | {t:.2f} | {i:.2f} | {b:.2f} |"
        for label, t, i, b in zip(
            EMOTIONS, pool.text_weight.tolist(), pool.image_shift.tolist(), pool.bias.tolist(), strict=True
        )
    ]
    return CARD.format(table="\n".join(lines), weights="\n".join(weights), doubt=pool.doubt.item())


CARD = """---
license: apache-2.0
---
# moodtape emotion-fusion

Joins the emotion of words and picture: `p ∝ exp(bias + w · log p_text + log((1 − doubt) · q + doubt / 7))` with
`q ∝ exp(shift) · p_image` and a doubt of {doubt:.2f}. A missing part leaves the other one as it is calibrated:
without a picture the rows `text` hold, without words those of `image` at 0 % conflict.

No data set of posts with a caption, a face and one label was at hand: the pairs are synthetic, a held-back text (dair_emotion,
GoEmotions) with a held-back face (FER2013, muxspace) of the same label or, at the stated rate, of another. The words' label
is the truth. Fitted on validation texts and half of the faces, measured on test texts and the other half.

{table}

| emotion | weight of words | shift of picture | bias |
|---|---|---|---|
{weights}
"""
