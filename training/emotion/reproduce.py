"""Report 002, emotion of a post: its figures, ours on a mixture like its own, and ours on the official tests.

``moodtape reproduce 002 --data FOLDER --out FOLDER`` writes 002.json and 002.md. Two models are trained per row: words
counted (TF-IDF with logistic regression, fitted by stochastic gradients) and a fine-tuned encoder with the settings of
configs/emotion/text.toml. What is finished is kept in 002.parts.json: the same command goes on after an interruption.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.device import half_or_full
from models.manifest import ARTIFACTS
from runtime.progress import progress
from training import registry, runs
from training.emotion.calibration import fit_scale_and_bias
from training.emotion.reproduce_tables import REPORTED, TRAIN, halves, joined, markdown, mixture, without_words
from training.emotion.rows import Settings
from training.emotion.text import fit
from training.emotion.texts import Texts, load
from training.metrics import macro_f1
from training.registry import ReproduceOptions

REPORT = "002"
Predict = Callable[[list[str]], NDArray[np.float32]]
Figures = dict[str, dict[str, Any]]
QUICK = 2500
"""Training texts of the encoder with ``quick``; counted words always see all."""

COST = {"epochs": 2, "freeze": 3, "learning_rate": 2e-4, "patience": 6, "start": ""}
"""What differs from the shipped recipe: from the base encoder, whose lower half stays, so that five trainings stay cheap."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model as a function from texts to log-probabilities (n, 7), and its validation figures by epoch."""

    name: str
    predict: Predict
    epochs: dict[str, Any]


Train = Callable[[str, Texts, Texts], Trained]


def run(options: ReproduceOptions) -> dict[str, Any]:
    """All rows for both models; the report's numbers beside."""
    options.out.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, Train] = {"words counted": _counted, "encoder": _encoder(options)}
    tag = f"seed {options.seed}{', quick' * options.quick}{', faithful' * options.faithful}"
    parts = _Parts(options.out / "002.parts.json", tag)
    rows: Figures = {}
    wanted = [(name, group) for name in kinds for group in GROUPS if (name, group) != ("encoder", "sources")]
    with progress("report 002", len(wanted)) as report:
        for done, (name, group) in enumerate(wanted, 1):
            key = f"{name}/{group}"
            if key not in parts.done:
                parts.add(key, GROUPS[group](kinds[name], options))
            for row, value in parts.done[key].items():
                rows.setdefault(row, {"report": REPORTED.get(row)})[name] = value
            report(done, key)
    result = {"report": REPORT, "quick": options.quick, "seed": options.seed, "rows": rows, "picture": _picture()}
    (options.out / "002.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "002.md").write_text(markdown(result, QUICK if options.quick else None))
    return result


class _Parts:
    """Finished groups of rows on disk; those of other options are not taken up."""

    def __init__(self, path: Path, tag: str) -> None:
        kept = json.loads(path.read_text()) if path.is_file() else {}
        self.path, self.tag = path, tag
        self.done: dict[str, Figures] = kept["done"] if kept.get("tag") == tag else {}

    def add(self, key: str, figures: Figures) -> None:
        self.done[key] = figures
        self.path.write_text(json.dumps({"tag": self.tag, "done": self.done}, indent=1) + "\n")


def _random(train: Train, options: ReproduceOptions) -> Figures:
    fitted, held = _random_split(options)
    model = train("random", fitted, held)
    scored = _score(model, held) | {"epochs": model.epochs}
    return {"mixture, random split": scored, "words removed, not retrained": _score(model, without_words(held))}


def _random_split(options: ReproduceOptions) -> tuple[Texts, Texts]:
    everything = mixture(options.data, ("train", "val", "test"), TRAIN + 5535, options.seed)
    return halves(everything, len(everything) * TRAIN // (TRAIN + 5535), options.seed)


def _removed(train: Train, options: ReproduceOptions) -> Figures:
    fitted, held = (without_words(texts) for texts in _random_split(options))
    return {"words removed, retrained": _score(train("removed", fitted, held), held)}


def _official(train: Train, options: ReproduceOptions) -> Figures:
    fitted = mixture(options.data, ("train",), TRAIN, options.seed)
    model = train("official", fitted, mixture(options.data, ("val",), 5000, options.seed))
    rows = {"mixture, official test": _score(model, mixture(options.data, ("test",), 5535, options.seed))}
    for source in ("dair", "goemotions"):
        test = load(source, "test", options.data).single()
        known = _with_bias(model, load(source, "val", options.data).single())
        rows[f"mixture-trained, {source} whole test"] = _score(model, test)
        rows[f"mixture-trained, {source} whole test, source known"] = _score(known, test)
    return rows


def _left_out(source: str, other: str) -> Callable[[Train, ReproduceOptions], Figures]:
    def figures(train: Train, options: ReproduceOptions) -> Figures:
        fitted, validation = (load(source, split, options.data).single() for split in ("train", "val"))
        alone = train(source, fitted, validation)
        return {
            f"trained on {source} only, {test} test": _score(alone, load(test, "test", options.data).single())
            for test in (source, other)
        }

    return figures


def _sources(_train: Train, options: ReproduceOptions) -> Figures:
    """How well counted words tell dair_emotion from GoEmotions: the leak behind the report's figure."""
    parts = {
        split: [load(source, split, options.data).single() for source in ("dair", "goemotions")]
        for split in ("train", "test")
    }
    sets = {}
    for split, (diary, comments) in parts.items():
        n = min(len(diary), len(comments), 6000)
        labels = np.repeat([0, 1], n).astype(np.int64)
        sets[split] = joined("sources", diary.texts[:n] + comments.texts[:n], labels)
    return {"telling the two sets apart": _score(_counted("sources", sets["train"], sets["test"]), sets["test"])}


GROUPS: dict[str, Callable[[Train, ReproduceOptions], Figures]] = {
    "random": _random,
    "official": _official,
    "dair": _left_out("dair", "goemotions"),
    "goemotions": _left_out("goemotions", "dair"),
    "removed": _removed,
    "sources": _sources,
}


def _picture() -> dict[str, Any]:
    """Held-back figures of the shipped picture model, as its config records them."""
    path = ARTIFACTS / "emotion-image" / "config.json"
    return dict(json.loads(path.read_text()).get("holdout", {})) if path.is_file() else {}


def _score(model: Trained, texts: Texts) -> dict[str, float]:
    predicted = model.predict(texts.texts).argmax(1).astype(np.int64)
    counts = np.bincount(texts.labels, minlength=7)
    return {
        "n": len(texts),
        "accuracy": round(float((predicted == texts.labels).mean()), 4),
        "macro_f1": round(macro_f1(texts.labels, predicted), 4),
        "majority": round(float(counts.max() / counts.sum()), 4),
    }


def _with_bias(model: Trained, validation: Texts) -> Trained:
    """The same model with the class bias of one source, fitted on its validation split."""
    logits = torch.from_numpy(model.predict(validation.texts))
    scale, bias = fit_scale_and_bias(logits, torch.from_numpy(validation.labels))
    absent = np.where(np.bincount(validation.labels, minlength=7) == 0, -1e3, 0).astype(np.float32)
    return Trained(model.name, lambda texts: model.predict(texts) * scale + bias.numpy() + absent, {})


def _counted(_name: str, train: Texts, _validation: Texts) -> Trained:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        SGDClassifier("log_loss", alpha=4e-6, max_iter=40, class_weight="balanced", random_state=0),
    )
    model.fit(train.texts, train.labels)

    def predict(texts: list[str]) -> NDArray[np.float32]:
        out = np.full((len(texts), 7), -30.0, np.float32)
        out[:, model.classes_] = model.predict_log_proba(texts)
        return out

    return Trained("words counted", predict, {})


def _encoder(options: ReproduceOptions) -> Train:
    _, config = registry.load_config("emotion/text")
    plain = {
        "sources": {"mixture": 1},
        "alternate": 0,
        "multi_weight": 0.0,
        "fine_weight": 0.0,
        "unframed": 0.0,
        "named": 0.0,
    }
    own = {"epochs": 6} if options.faithful else {"epochs": 1} if options.quick else {}
    settings = registry.settings(Settings, config | COST | plain | own)

    def train(name: str, texts: Texts, validation: Texts) -> Trained:
        chosen = texts.take(np.arange(min(len(texts), QUICK))) if options.quick else texts
        run = options.out / "run" / name
        net = fit(settings, {"mixture": chosen}, {"mixture": validation}, run, runs.begun(run))
        epochs = {str(line["epoch"]): line["figures"]["sources"]["mixture"] for line in runs.evaluations(run)}
        runs.clear(run)

        def predict(rows: list[str]) -> NDArray[np.float32]:
            logits = net.infer(net.encoder.tokenise(rows), half_or_full("cpu")).logits
            return np.asarray(torch.log_softmax(logits, -1).numpy(), np.float32)

        return Trained("encoder", predict, epochs)

    return train
