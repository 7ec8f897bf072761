"""Mood of faces: ours beside the packages that ship a model, on the same held-back pictures in one run.

``python -m benchmarks.faces --data muxspace_128.parquet --data fer2013_48.parquet --peer-python VENV/bin/python
--peer-node FOLDER [--json]``; how to make both environments stands in :mod:`benchmarks.face_peers`.

Every side gets each held-back row's whole picture, decoded. *Told*: that the picture is the face, which spares a detector's
misses. *Found*: each by its own finder; a picture without an answer counts as wrong, and as missing. The peers' detectors
are slow or blind on pictures cut to the face, so they get the first ``--few`` rows of a shuffled table,
and so does fer's Keras form, forty times slower than the quantised one that it takes by default.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.face_peers import ask
from domain.types import EMOTIONS
from models.emotion.faces import decode, fit
from models.emotion.image import FOLDER, ImageMoodReader
from models.parts import ImageReading
from training.metrics import macro_f1

Labels = NDArray[np.int64]
NO_DATA = "no labelled pictures come with moodtape; name a parquet file with --data"


def main() -> None:
    """Print accuracy, macro-F1 and missing answers of all sides for every set, and ours over the better peer on the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="parquet with label, split, jpeg")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that has fer")
    parser.add_argument("--peer-node", type=Path, help="folder in which npm installed face-api")
    parser.add_argument("--few", type=int, default=150, help="rows of each set for the peers' own detectors")
    parser.add_argument("--artifacts", type=Path, default=FOLDER)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data:
        print(json.dumps({"skipped": NO_DATA}))
        return
    torch.set_num_threads(1)
    reader = ImageMoodReader.from_pretrained(options.artifacts)
    versions = {name: version(name) for name in ("torch", "timm", "opencv-python-headless")}
    sets: dict[str, Any] = {}
    for path in options.data:
        pictures, truth = held_back(path)
        theirs, told = ask(pictures, options.peer_python, options.peer_node, options.few)
        versions |= told
        sides = _ours(reader, pictures) | theirs
        majority = [EMOTIONS[int(np.bincount(truth).argmax())]] * len(truth)
        figures = {name: _figures(side["guesses"], truth, side["seconds"]) for name, side in sides.items()}
        few = sides["ours, found"]["guesses"][: options.few]
        figures["ours, found, the peers' few"] = _figures(few, truth, 0.0)
        sets[path.stem] = figures | {"majority": _figures(majority, truth, 0.0)}
    print(json.dumps(_joined(sets) | {"versions": versions}, indent=None if options.json else 1))


def held_back(path: Path) -> tuple[list[bytes], Labels]:
    """Pictures and numbers of their labels of the rows that are not for training, shuffled with a fixed seed."""
    table = pd.read_parquet(path)
    table = table[(table["split"] != "train") & table["label"].isin(EMOTIONS)].sample(frac=1.0, random_state=1)
    return list(table["jpeg"]), np.array([EMOTIONS.index(label) for label in table["label"]], np.int64)


def _joined(sets: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(sets.values()))
    best = max((s["macro_f1"] for n, s in first.items() if n.startswith(("fer", "face-api"))), default=None)
    ours = first["ours, found"]["macro_f1"]
    return {
        "ours": ours,
        "peer": best,
        "ratio": round(ours / best, 3) if best else None,
        "unit": "macro-F1 on the first set, ours through its own finder, the better peer in its better way",
        "sets": sets,
    }


def _ours(reader: ImageMoodReader, pictures: list[bytes]) -> dict[str, Any]:
    reader.read(pictures[:8])
    started = time.perf_counter()
    readings = reader.read(pictures)
    middle = time.perf_counter()
    moods = reader._look([fit(decode(picture).grey) for picture in pictures]).moods
    ended = time.perf_counter()
    found = [r.probabilities if isinstance(r, ImageReading) else None for r in readings]
    return {
        "ours, told": {"guesses": [EMOTIONS[i] for i in moods.argmax(1)], "seconds": ended - middle},
        "ours, found": {
            "guesses": [None if p is None else EMOTIONS[int(p.argmax())] for p in found],
            "seconds": middle - started,
        },
    }


def _figures(guesses: Sequence[str | None], truth: Labels, seconds: float) -> dict[str, float]:
    truth = truth[: len(guesses)]
    guess = np.array([-1 if each is None else EMOTIONS.index(each) for each in guesses])
    # A missing answer is no class: it is counted as the class after the true one, wrong wherever it stands.
    counted = np.where(guess >= 0, guess, (truth + 1) % len(EMOTIONS))
    figures = {
        "n": len(truth),
        "accuracy": round(float((counted == truth).mean()), 4),
        "macro_f1": round(macro_f1(truth, counted), 4),
        "missing": int((guess < 0).sum()),
    }
    return figures | ({"per_second": round(len(truth) / seconds, 1)} if seconds else {})


if __name__ == "__main__":
    main()
