"""Mood of faces: ours beside the packages that ship a model, on the same pictures in one run.

``python -m benchmarks.faces --data muxspace_128.parquet --peer-python VENV/bin/python [--json]``

The peer (``fer``, Keras and its quantised form) needs TensorFlow, so it lives in an environment of its own:
``pip install tensorflow-cpu opencv-python-headless "setuptools<80" requests pillow`` and
``pip install --no-deps fer==25.10.3``.
Both sides get every held-back row as a file. Peers are told that the whole picture is the face, which spares them their
detector's misses; ours has to find out by itself, and a picture on which it abstains counts as wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from domain.types import EMOTIONS
from models.emotion_image import FOLDER, ImageMoodReader
from models.parts import ImageReading
from training.metrics import macro_f1

PEER = """
import json, logging, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import cv2, numpy as np
from fer.fer import FER
logging.disable(logging.CRITICAL)
names = dict(angry="anger", happy="joy", sad="sadness")
pictures = [cv2.imdecode(np.fromfile(os.path.join(sys.argv[1], f), np.uint8), 1) for f in sorted(os.listdir(sys.argv[1]))]
out = {}
for kind, light in (("fer", False), ("fer tflite", True)):
    peer = FER(use_tflite=light)
    started, guesses = time.perf_counter(), []
    for picture in pictures:
        height, width = picture.shape[:2]
        found = peer.detect_emotions(picture, face_rectangles=[(10, 10, width - 20, height - 20)])
        moods = found[0]["emotions"] if found else {"neutral": 1.0}
        best = max(moods, key=moods.get)
        guesses.append(names.get(best, best))
    out[kind] = {"guesses": guesses, "seconds": time.perf_counter() - started}
import fer, tensorflow
print(json.dumps({"kinds": out, "versions": {"fer": fer.__version__, "tensorflow": tensorflow.__version__}}))
"""


def main() -> None:
    """Print both sides' accuracy and macro-F1, their ratio, and the majority's figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="parquet with columns label, split, jpeg")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that has fer")
    parser.add_argument("--artifacts", type=Path, default=FOLDER)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = pd.read_parquet(options.data)
    table = table[(table["split"] != "train") & table["label"].isin(EMOTIONS)]
    truth = np.array([EMOTIONS.index(label) for label in table["label"]])
    sides: dict[str, dict[str, float]] = {"ours": _ours(list(table["jpeg"]), truth, options.artifacts)}
    versions = {name: version(name) for name in ("torch", "timm", "opencv-python-headless")}
    if options.peer_python:
        answer = _peers(list(table["jpeg"]), options.peer_python)
        versions |= answer["versions"]
        for kind, told in answer["kinds"].items():
            sides[kind] = _figures([EMOTIONS.index(guess) for guess in told["guesses"]], truth, told["seconds"])
    best = max((side["macro_f1"] for name, side in sides.items() if name != "ours"), default=None)
    result = {
        "ours": sides["ours"]["macro_f1"],
        "peer": best,
        "ratio": round(sides["ours"]["macro_f1"] / best, 3) if best else None,
        "unit": "macro-F1",
        "n": len(truth),
        "sides": sides,
        "majority": _figures([int(np.bincount(truth).argmax())] * len(truth), truth, 0.0),
        "versions": versions,
    }
    print(json.dumps(result, indent=None if options.json else 1))


def _ours(pictures: list[bytes], truth: np.ndarray[Any, Any], artifacts: Path) -> dict[str, float]:
    reader = ImageMoodReader.from_pretrained(artifacts)
    reader.read(pictures[:8])
    started = time.perf_counter()
    readings = reader.read(pictures)
    seconds = time.perf_counter() - started
    guesses = [
        int(r.probabilities.argmax()) if isinstance(r, ImageReading) and r.probabilities is not None else -1
        for r in readings
    ]
    return _figures(guesses, truth, seconds) | {"abstained": round(guesses.count(-1) / len(guesses), 4)}


def _peers(pictures: list[bytes], python: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for number, jpeg in enumerate(pictures):
            (Path(folder) / f"{number:06d}.jpg").write_bytes(jpeg)
        run = subprocess.run([python, "-c", PEER, folder], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"The peer could not be run: {run.stderr.strip().splitlines()[-1]}")
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def _figures(guesses: list[int], truth: np.ndarray[Any, Any], seconds: float) -> dict[str, float]:
    guess = np.array(guesses)
    answered = guess >= 0
    # An abstention is no class: it is counted as the class after the true one, wrong wherever it stands.
    counted = np.where(answered, guess, (truth + 1) % len(EMOTIONS))
    return {
        "accuracy": round(float((counted == truth).mean()), 4),
        "macro_f1": round(macro_f1(truth, counted), 4),
        "per_second": round(len(truth) / seconds, 1) if seconds else 0.0,
    }


if __name__ == "__main__":
    main()
