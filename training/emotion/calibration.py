"""After training the text emotion: calibration on the validation splits, figures on the test splits.

Temperature, class bias and lexicon per style of text are fitted by likelihood, and one temperature for texts of no known
style; thresholds by F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.types import EMOTIONS
from models.device import half_or_full
from models.emotion.net import EmotionNet, Reading, bag, claims, flat
from training.emotion.texts import INDEX, Texts, load
from training.metrics import Floats, ece, ece_by_chance, macro_f1, macro_f1_multilabel
from training.optim import minimise

UNSURE_SHARE = 0.08
"""Share of validation texts that are called unsure because their two best emotions are too close."""

UNSEEN = ("emtract_stocktwits", "tweeteval_emotion", "brighter_eng", "semeval2018_ec", "emoevent_en", "covidemo")
"""Sources that no weight is trained on: their texts say how sure to be of a stranger's, which is all that is fitted on them."""
UNSEEN_TEXTS = 2000
MULTI_TEXTS = 16000
STRENGTH = 30.0
"""How freely the lexicon learns, scikit-learn's C; of 10, 30 and 100 the best on dair_emotion's validation."""

PENALTY = 5.0
"""Strength of the pull to “no change”, in texts; it matters for small validation sets only."""

MELD = "text_emotion/meld.parquet"


def infer(net: EmotionNet, texts: Sequence[str]) -> Reading:
    """Raw outputs of the network for many texts, in the precision that is served here."""
    return net.eval().infer(net.encoder.tokenise(texts), half_or_full("cpu"))


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
    """Fit temperatures, biases, thresholds and margin on held-back data; returns what config.json holds.

    A text of no known kind is calibrated on :data:`UNSEEN`, or without them on the validation texts. ``lexicon`` names the
    source, if any, whose training rows the lexicon is learned from and in whose style it counts.
    """
    if lexicon:
        learn_lexicon(net, load(lexicon, "train", data))
    several = list(sources).index("goemotions") if "goemotions" in sources else 0
    _multi_head(net, load(list(sources)[several], "train", data))
    held = [load(source, "val", data) for source in sources]
    readings = [infer(net, texts.texts) for texts in held]
    for texts, reading in zip(held, readings, strict=True):
        mixture(net, texts, reading, lexicon)
    strangers = unseen(data)
    calibrate_unknown(net, strangers or held)
    scores = torch.sigmoid(readings[several].multi).numpy()
    return {
        "unsure_margin": unsure_margin(net, [infer(net, texts.texts) for texts in strangers] or readings),
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


def unseen(data: Path) -> list[Texts]:
    """What strangers write: at most 2,000 labelled texts of each source that nothing is trained on, as far as there are any."""
    out, rng = [], np.random.default_rng(0)
    for source in UNSEEN:
        path = data / "text_emotion" / f"{source}.parquet"
        if path.is_file():
            frame = pd.read_parquet(path)
            frame = frame[frame["label"].isin(INDEX) & (frame["split"] != "test")]
            held = frame[frame["split"] == "train"] if (frame["split"] == "train").any() else frame
            labels = np.array([INDEX[label] for label in held["label"]], np.int64)
            several = np.eye(len(EMOTIONS), dtype=np.float32)[labels]
            texts = Texts(source, held["text"].astype(str).tolist(), labels, several)
            out.append(texts.take(rng.permutation(len(texts))[:UNSEEN_TEXTS]))
    return out


def calibrate_unknown(net: EmotionNet, held: Sequence[Texts]) -> None:
    """Fit, in place, the temperature of a text whose kind is not known; each source weighs the same."""
    logits = torch.cat([infer(net, texts.texts).logits.float().clone() for texts in held])
    weights = torch.cat([torch.full((len(texts),), 1 / len(texts)) for texts in held])
    labels = torch.cat([torch.from_numpy(texts.labels) for texts in held])
    known = labels >= 0
    with torch.enable_grad():
        scale = fit_scale(logits[known], labels[known], weights[known])
    with torch.no_grad():
        net.calibration["unknown"].fill_(scale)


def _multi_head(net: EmotionNet, texts: Texts) -> None:
    """Fit the head of independent labels to the finished features, from the single-label head on."""
    chosen = texts.take(np.random.default_rng(0).permutation(len(texts))[:MULTI_TEXTS])
    features, truth = pooled(net, chosen.texts), torch.from_numpy(chosen.multi)
    with torch.enable_grad():
        fit_independent(features, truth, net.head, net.multi)


def pooled(net: EmotionNet, texts: Sequence[str]) -> torch.Tensor:
    """What the heads see: float32 (n, width)."""
    first, mean = net.encoder.eval().encode(net.encoder.tokenise(texts), half_or_full("cpu"))
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


def fit_scale_and_bias(logits: Tensor, labels: Tensor, penalty: float = 1e-3) -> tuple[float, Tensor]:
    """Inverse temperature and bias (7) that maximise the likelihood of labels (n) given logits (n, 7).

    Classes without a label in the set keep bias 0: their absence says something of the set, not of language.
    """
    scale, bias, _ = fit_mixture(logits, torch.zeros_like(logits), labels, penalty)
    return scale, bias


def fit_mixture(logits: Tensor, lexical: Tensor, labels: Tensor, penalty: float = 1e-3) -> tuple[float, Tensor, float]:
    """As :func:`fit_scale_and_bias`, and the weight (≥ 0) of second logits, ``lexical`` (n, 7), that are added to them."""
    log_scale = torch.zeros(1, requires_grad=True)
    share = torch.zeros(1, requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    present = (torch.bincount(labels, minlength=len(EMOTIONS)) > 0).float()

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(logits * log_scale.exp() + lexical * share + bias * present, labels)
        return value + penalty * (bias.square().sum() + log_scale.square().sum() + share.square().sum())

    minimise([log_scale, share, bias], loss)
    if share < 0:
        return fit_mixture(logits, torch.zeros_like(lexical), labels, penalty)
    return float(log_scale.exp().detach()), (bias * present).detach(), float(share.detach())


def fit_lexicon(tokens: Tensor, lengths: Tensor, labels: Tensor, vocabulary: int, strength: float) -> Tensor:
    """A row for each token, (vocabulary, 7), whose :func:`models.emotion.net.bag` tells labels (n) from tokens.

    Multinomial logistic regression of at most 150 steps; ``strength`` is the weight of the likelihood against the squared
    norm, scikit-learn's C. Started from zeros, the rows of absent classes stay 0.
    """
    weight = torch.zeros(vocabulary, len(EMOTIONS), requires_grad=True)
    present = torch.bincount(labels, minlength=len(EMOTIONS)) > 0

    def loss() -> Tensor:
        logits = bag(weight, tokens, lengths).masked_fill(~present, float("-inf"))
        value = nn.functional.cross_entropy(logits, labels)
        return value + weight.square().sum() / (2 * strength * len(labels))

    minimise([weight], loss, 150, tolerance=1e-7)
    return weight.detach()


def fit_scale(logits: Tensor, labels: Tensor, weights: Tensor) -> float:
    """The inverse temperature of logits (n, 7) for the best likelihood of labels (n) weighted by ``weights``.

    No class is shifted: what share of texts is neutral differs from source to source, and a stranger's is not known.
    """
    log_scale = torch.zeros(1, requires_grad=True)

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(logits * log_scale.exp(), labels, reduction="none")
        return (value * weights).sum() / weights.sum()

    minimise([log_scale], loss)
    return float(log_scale.exp().detach())


def fit_independent(features: Tensor, truth: Tensor, start: nn.Linear, head: nn.Linear, steps: int = 100) -> None:
    """Train a linear head in place for independent labels (n, k) of features (n, width), drawn to where ``start`` stands."""
    weight, bias = (p.detach().clone().requires_grad_(True) for p in (start.weight, start.bias))

    def loss() -> Tensor:
        value = nn.functional.binary_cross_entropy_with_logits(features @ weight.T + bias, truth)
        return value + 1e-4 * (weight - start.weight.detach()).square().sum()

    minimise([weight, bias], loss, steps)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def fit_thresholds(scores: Floats, truth: Floats) -> NDArray[np.float64]:
    """Per label, the score above which it is claimed, for the best F1; both arrays (n, 7)."""
    best = np.zeros(truth.shape[1])
    for k in range(truth.shape[1]):
        candidates = np.quantile(scores[:, k], np.linspace(0.4, 0.998, 160))
        gains = [macro_f1_multilabel(truth[:, k : k + 1], (scores[:, k : k + 1] > c).astype(float)) for c in candidates]
        best[k] = candidates[int(np.argmax(gains))]
    return best


def margins(probabilities: Floats) -> Floats:
    """Distance between the two largest probabilities of each row (n, 7) → (n)."""
    ordered = np.sort(probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]
