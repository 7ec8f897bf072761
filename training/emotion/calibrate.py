"""After training: calibration on the validation splits, figures on the test splits, and the card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from domain.types import EMOTIONS
from models.emotion.net import EmotionNet, Reading, claims, flat
from training.emotion.calibration import fit_independent, fit_lexicon, fit_mixture, fit_style, fit_thresholds, margins
from training.emotion.texts import INDEX, Texts, load
from training.metrics import ece, ece_by_chance, macro_f1, macro_f1_multilabel

UNSURE_SHARE = 0.08
"""Share of validation texts that are called unsure because their two best emotions are too close."""

STYLE_TEXTS = 2000
MULTI_TEXTS = 16000
STRENGTH = 30.0
"""How freely the lexicon learns, scikit-learn's C; of 10, 30 and 100 the best on dair_emotion's validation."""

PENALTY = 5.0
"""Strength of the pull to “no change”, in texts; it matters for small validation sets only."""

SHOWN = ("accuracy", "macro_f1", "ece")

MELD = "text_emotion/meld.parquet"


def infer(net: EmotionNet, texts: Sequence[str]) -> Reading:
    """Raw outputs of the network for many texts, in bfloat16 as it is served."""
    return net.eval().infer(net.encoder.tokenise(texts), torch.bfloat16)


def validate(net: EmotionNet, held: dict[str, Texts]) -> dict[str, dict[str, float]]:
    """Per source: macro-F1, accuracy and loss on the validation set, uncalibrated."""
    out = {}
    for source, texts in held.items():
        logits = infer(net, texts.texts).logits.float().cpu()
        predicted = logits.argmax(1).numpy()
        out[source] = {
            "loss": round(float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(texts.labels))), 4),
            "accuracy": round(float((predicted == texts.labels).mean()), 4),
            "macro_f1": round(macro_f1(texts.labels, predicted), 4),
        }
    return out


def calibrate(
    net: EmotionNet, sources: Sequence[str] | dict[str, int], data: Path, lexicon: str = ""
) -> dict[str, Any]:
    """Fit the style head, temperature, bias, thresholds and margin on validation data; returns what config.json holds.

    ``lexicon`` names the source, if any, whose training rows the lexicon is learned from and in whose style it counts.
    """
    if lexicon:
        learn_lexicon(net, load(lexicon, "train", data))
    _style_head(net, {source: load(source, "train", data) for source in sources})
    several = list(sources).index("goemotions") if "goemotions" in sources else 0
    _multi_head(net, load(list(sources)[several], "train", data))
    held = [load(source, "val", data) for source in sources]
    readings = [infer(net, texts.texts) for texts in held]
    for texts, reading in zip(held, readings, strict=True):
        mixture(net, texts, reading, lexicon)
    scores = torch.sigmoid(readings[several].multi).numpy()
    return {
        "unsure_margin": unsure_margin(net, readings),
        "thresholds": [round(float(t), 5) for t in fit_thresholds(scores, held[several].multi)],
    }


def mixture(net: EmotionNet, texts: Texts, reading: Reading, lexicon: str) -> None:
    """Fit one style's temperature and bias in place, and how much the lexicon counts where it was learned from the style."""
    single = torch.from_numpy(texts.labels) >= 0
    labels = torch.from_numpy(texts.labels)[single]
    lexical = reading.lexical if texts.source == lexicon else torch.zeros_like(reading.lexical)
    scale, bias, share = fit_mixture(
        reading.logits.clone()[single], lexical.clone()[single], labels, PENALTY / len(labels)
    )
    i = net.styles.index(texts.source)
    with torch.no_grad():
        net.calibration["inverse_temperature"][i] = scale
        net.calibration["bias"][i] = bias
        net.calibration["lexical"][i] = share


def unsure_margin(net: EmotionNet, readings: Sequence[Reading]) -> float:
    """The margin that a share :data:`UNSURE_SHARE` of these texts stay under."""
    close = [margins(net.probabilities(reading).numpy()) for reading in readings]
    return round(float(np.quantile(np.concatenate(close), UNSURE_SHARE)), 4)


def learn_lexicon(net: EmotionNet, texts: Texts) -> None:
    """Fit what each token says by itself, in place."""
    chosen = texts.single()
    tokens, lengths = flat(net.encoder.tokenise(chosen.texts), torch.device("cpu"))
    labels = torch.from_numpy(chosen.labels)
    with torch.enable_grad():
        net.lexicon.data = fit_lexicon(tokens, lengths, labels, net.encoder.vocabulary, STRENGTH)


def _style_head(net: EmotionNet, sets: dict[str, Texts]) -> None:
    rng = np.random.default_rng(0)
    features, styles = [], []
    for i, texts in enumerate(sets.values()):
        chosen = texts.take(rng.permutation(len(texts))[:STYLE_TEXTS])
        features.append(pooled(net, chosen.texts))
        styles.append(torch.full((len(chosen),), i))
    with torch.enable_grad():
        fit_style(torch.cat(features), torch.cat(styles), net.style)


def _multi_head(net: EmotionNet, texts: Texts) -> None:
    """Fit the head of independent labels to the finished features, from the single-label head on."""
    chosen = texts.take(np.random.default_rng(0).permutation(len(texts))[:MULTI_TEXTS])
    features, truth = pooled(net, chosen.texts), torch.from_numpy(chosen.multi)
    with torch.enable_grad():
        fit_independent(features, truth, net.head, net.multi)


def pooled(net: EmotionNet, texts: Sequence[str]) -> torch.Tensor:
    """What the heads see: float32 (n, width)."""
    first, mean = net.encoder.eval().encode(net.encoder.tokenise(texts), torch.bfloat16)
    return (first if net.pooling == "first" else mean).clone()


def measure(net: EmotionNet, extra: dict[str, Any], data: Path) -> dict[str, Any]:
    """Figures on the official test splits and on MELD, which is never trained on; the source is not told to the model."""
    out: dict[str, Any] = {}
    for name in ("dair", "goemotions", "slang"):
        texts = load(name, "test", data).single()
        out[name] = score(net, texts)
    several = load("goemotions", "test", data)
    claimed = claims(torch.sigmoid(infer(net, several.texts).multi).numpy(), extra["thresholds"])
    out["goemotions_multilabel"] = {
        "n": len(several),
        "macro_f1": round(macro_f1_multilabel(several.multi, claimed.astype(float)), 4),
    }
    if (data / MELD).is_file():
        frame = pd.read_parquet(data / MELD)
        frame = frame[frame["split"] == "test"]
        labels = np.array([INDEX[label] for label in frame["label"]], np.int64)
        out["meld"] = score(net, Texts("meld", frame["text"].tolist(), labels))
    return out


def score(net: EmotionNet, texts: Texts, source: str | None = None) -> dict[str, Any]:
    """n, accuracy, macro-F1 and ECE of the calibrated probabilities."""
    probabilities = net.probabilities(infer(net, texts.texts), source).numpy()
    predicted = probabilities.argmax(1).astype(np.int64)
    return {
        "n": len(texts),
        "accuracy": round(float((predicted == texts.labels).mean()), 4),
        "macro_f1": round(macro_f1(texts.labels, predicted), 4),
        "ece": round(ece(probabilities, texts.labels), 4),
        "ece_by_chance": round(ece_by_chance(probabilities), 4),
    }


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
        cells = (" / ".join(str(by[test][k]) for k in SHOWN if k in by[test]) for by in figures.values())
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
