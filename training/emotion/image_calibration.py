"""After training the picture model: temperature and thresholds on validation parts, figures on hold-outs, the card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional as nnf

from domain.types import EMOTIONS
from models.encoders.image import MoodNet, prepare
from training.emotion import face_views
from training.emotion.faces import Crops, Faces
from training.metrics import ece, macro_f1

TAKEN = 0.995
"""Share of validation faces that must pass as a whole-picture crop; the threshold on the face head follows from it."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw logits of the network for one part of one source: moods (n, 7), faces (n,), labels (n,)."""

    moods: Tensor
    faces: Tensor
    labels: NDArray[np.int64]


@torch.no_grad()
def refresh(net: MoodNet, batches: Iterable[Tensor]) -> None:
    """Take the batch-norm statistics anew from prepared batches: averaged weights deserve their own (Izmailov et al., 2018)."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for pictures in batches:
        net(pictures)
    net.eval()


@torch.inference_mode()
def infer(net: MoodNet, crops: Crops, batch: int = 128) -> tuple[Tensor, Tensor]:
    """Mood logits (n, 7) and face logits (n,) of crops uint8 (n, h, w), the mean of a crop and its mirror as served."""
    net.eval()
    moods, faces = [], []
    device = next(net.parameters()).device
    for start in range(0, len(crops), batch):
        block = torch.from_numpy(np.ascontiguousarray(crops[start : start + batch]))
        pictures = prepare(block[:, None].to(device), net.size)
        (mood, face), (other_mood, other_face) = net(pictures), net(pictures.flip(3))
        moods.append((mood + other_mood) / 2)
        faces.append((face + other_face) / 2)
    return torch.cat(moods).cpu(), torch.cat(faces).cpu()


def outputs(net: MoodNet, sets: dict[str, Faces], part: str) -> dict[str, Outputs]:
    """The network's logits for one part of every source."""
    return {name: Outputs(*infer(net, faces.of(part)[0]), faces.of(part)[1]) for name, faces in sets.items()}


def scores(net: MoodNet, sets: dict[str, Faces], part: str) -> dict[str, tuple[float, float]]:
    """Accuracy and macro-F1 of every source's part."""
    scored = {}
    for name, out in outputs(net, sets, part).items():
        guess = out.moods.argmax(1).numpy()
        scored[name] = (float((guess == out.labels).mean()), macro_f1(out.labels, guess))
    return scored


def calibrate(held: dict[str, Outputs]) -> dict[str, float]:
    """Temperature by likelihood, each source weighing the same, and the two thresholds on the chance to be a face.

    ``whole_threshold`` lets 99.5 % of each source's faces pass where a small picture is tried as one face, because data
    sets hold some that are hardly faces. ``box_threshold`` is for boxes that a cascade proposed, whose faces are plain:
    98 % of the plainest source's pass, and it is at least as strict as even odds.
    """
    candidates = np.geomspace(0.4, 3.0, 120)
    losses = [
        np.mean([float(nnf.cross_entropy(o.moods / t, torch.from_numpy(o.labels))) for o in held.values()])
        for t in candidates
    ]
    passing = min(float(o.faces.sigmoid().quantile(1 - TAKEN)) for o in held.values())
    plain = max(float(o.faces.sigmoid().quantile(0.02)) for o in held.values())
    return {
        "temperature": round(float(candidates[int(np.argmin(losses))]), 4),
        "whole_threshold": round(min(passing, 0.5), 4),
        "box_threshold": round(min(max(plain, 0.5), 0.95), 4),
    }


def figures(tested: dict[str, Outputs], temperature: float) -> dict[str, dict[str, float]]:
    """n, accuracy, the commonest label's share, macro-F1 and ECE of the calibrated probabilities for every source."""
    figures_of = {}
    for name, out in tested.items():
        probabilities = (out.moods / temperature).softmax(1).numpy()
        guess = probabilities.argmax(1).astype(np.int64)
        figures_of[name] = {
            "n": len(guess),
            "accuracy": round(float((guess == out.labels).mean()), 4),
            "majority": round(float(np.bincount(out.labels).max() / len(guess)), 4),
            "macro_f1": round(macro_f1(out.labels, guess), 4),
            "ece": round(ece(probabilities, out.labels), 4),
        }
    return figures_of


def rejected(net: MoodNet, sets: dict[str, Faces], faceless: Crops, threshold: float, seed: int) -> dict[str, float]:
    """Share turned down by the face head at ``threshold``: unseen drawn scenes, and spoilt views of hold-out faces."""
    crops = np.concatenate([faces.of("holdout")[0][: len(faceless)] for faces in sets.values()])
    crops = crops[np.random.default_rng(seed).permutation(len(crops))[: len(faceless)]]
    scenes = torch.from_numpy(faceless[: len(crops)])[:, None]
    generator = Generator().manual_seed(seed)
    views = face_views.impostors(torch.from_numpy(crops)[:, None], scenes, net.size, generator)
    with torch.inference_mode():
        chances = net.eval()(prepare(views, net.size))[1].sigmoid()
    rejections = (chances < threshold).float()
    kinds = ("scene", "shuffled", "misplaced", "turned")
    return {kind: round(float(rejections[number::4].mean()), 4) for number, kind in enumerate(kinds)}


CARD = """---
license: apache-2.0
pipeline_tag: image-classification
---
# moodtape emotion-image

Reads {labels} from faces. {encoder}, ImageNet weights, fine-tuned on grey face crops of {size} × {size} pixels
({frozen}); a second head tells whether a crop is one upright face. Weights float16.

Trained on (rows of the seven labels, after twins of held-back pictures were dropped):

{data}

- muxspace faces: Apache-2.0. FER2013: the terms of the original were not verified; no picture of either is contained here.
- Faceless pictures: drawn by training/emotion/faces.py{photos}.

The hold-outs are the rows that the sets themselves do not call "train"; validation (temperature, thresholds, the choice of
the checkpoint) is cut from their training rows by digest. Training rows that correlate ≥ {twin} with a held-back picture,
mirrored or not, are left out ({dropped}).

{table}

A run opens the hold-outs once, after its last step and last choice. Figures of the model shipped before this one were known
when these settings were chosen.

ECE: 15 bins, top label. The figures are the network's on whole crops, the mean of a crop and its mirror as served;
`python -m benchmarks.faces` measures the path through the reader, where an abstention counts as wrong, beside both packaged
readers `fer` and `face-api`. Spoilt hold-out pictures turned down by the face head: {rejected}.

Limits: posed and press pictures; {scarce} are scarce, so their figures are rough. Labels are what others
saw in a face; people agree with those of FER2013 in about 65 % of cases (Goodfellow et al., 2013). Not a statement about a
person's state of mind, and not for decisions about people. Fairness over age, skin and sex has not been measured.

Settings: `{settings}`
"""


def card(
    settings: Any,
    size: int,
    sets: dict[str, Faces],
    measured: dict[str, dict[str, float]],
    rejections: dict[str, float],
    photos: Sequence[str],
) -> str:
    """The checkpoint's README with measured figures."""
    from training.emotion.faces import TWIN

    parts = ("train", "validation", "holdout")
    data = ["| set | " + " | ".join(parts) + " |", "|---|---|---|---|"]
    data += [
        f"| {n} | " + " | ".join(str(int((f.part == part).sum())) for part in parts) + " |" for n, f in sets.items()
    ]
    table = ["| hold-out | n | accuracy | always the commonest label | macro-F1 | ECE |", "|---|---|---|---|---|---|"]
    columns = ("n", "accuracy", "majority", "macro_f1", "ece")
    table += [f"| {n} | " + " | ".join(str(f[column]) for column in columns) + " |" for n, f in measured.items()]
    counts = sum(np.bincount(f.labels, minlength=len(EMOTIONS)) for f in sets.values())
    scarce = " and ".join(EMOTIONS[i] for i in np.argsort(counts)[:2])
    return CARD.format(
        labels=", ".join(EMOTIONS),
        encoder=settings.encoder,
        size=size,
        frozen=f"all layers but {', '.join(settings.frozen)}" if settings.frozen else "all layers",
        data="\n".join(data),
        photos=f", and squares cut from {', '.join(photos)}" if photos else "",
        twin=TWIN,
        dropped=", ".join(f"{f.twins_dropped} of {n}" for n, f in sets.items()),
        table="\n".join(table),
        rejected=", ".join(f"{kind} {share:.1%}" for kind, share in rejections.items()),
        scarce=scarce,
        settings=", ".join(f"{k} = {v}" for k, v in asdict(settings).items()),
    )
