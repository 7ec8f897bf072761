"""The packages that read moods of faces, each in an environment of its own, asked about the same decoded pictures.

``fer`` needs TensorFlow: ``pip install tensorflow-cpu "opencv-python-headless<5" "setuptools<80" requests pillow``
and ``pip install --no-deps fer==25.10.3``. ``face-api`` needs Node, and in a folder of its own
``npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs @tensorflow/tfjs-backend-wasm``.
Both read a picture in two ways: *told* that the whole picture is the face, or *found* by their own detector (``fer``: the
OpenCV cascade it comes with; ``face-api``: SSD MobileNet and landmarks), where the largest face speaks.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 1280
"""Pixels to which larger pictures are brought, as our reader does."""

FER = """
import json, logging, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from importlib.metadata import version
from fer.fer import FER
logging.disable(logging.CRITICAL)
names = dict(angry="anger", happy="joy", sad="sadness")
shapes = json.load(open(sys.argv[1] + "/shapes.json"))
every, start, pictures = np.fromfile(sys.argv[1] + "/pictures.bin", np.uint8), 0, []
for h, w in shapes:
    pictures.append(np.ascontiguousarray(every[start : start + h * w * 3].reshape(h, w, 3)[:, :, ::-1]))
    start += h * w * 3
def label(peer, picture, told):
    h, w = picture.shape[:2]
    found = peer.detect_emotions(picture, face_rectangles=[(10, 10, w - 20, h - 20)] if told else None)
    if not found:
        return None
    moods = max(found, key=lambda face: face["box"][2] * face["box"][3])["emotions"]
    best = max(moods, key=moods.get)
    return names.get(best, best)
kinds = {}
few = pictures[: int(sys.argv[2])]
ways = (("told", True, True, pictures), ("told, Keras", False, True, few), ("found", True, False, few))
for kind, light, told, given in ways:
    peer = FER(use_tflite=light)
    label(peer, pictures[0], told)
    started = time.perf_counter()
    guesses = [label(peer, picture, told) for picture in given]
    kinds[kind] = {"guesses": guesses, "seconds": time.perf_counter() - started}
print(json.dumps({"kinds": kinds, "versions": {name: version(name) for name in ("fer", "tensorflow-cpu")}}))
"""


def ask(
    pictures: Sequence[bytes], python: Path | None, node: Path | None, few: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """What each peer says: ``{"fer, told": {"guesses": [label or None], "seconds": s}, …}``, and versions.

    The first ``few`` pictures go through the peers' own detectors, and through fer's slower Keras form.
    """
    sides: dict[str, Any] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        _write(pictures, Path(folder))
        commands: dict[str, list[str | Path]] = {}
        if python:
            commands["fer"] = [python, "-c", FER, folder, str(few)]
        if node:
            commands["face-api"] = ["node", Path(__file__).with_name("peer_face_api.cjs"), node, folder, str(few)]
        for name, command in commands.items():
            answer = _run(name, command)
            sides |= {f"{name}, {kind}": told for kind, told in answer["kinds"].items()}
            versions |= answer["versions"]
    return sides, versions


def _write(pictures: Sequence[bytes], folder: Path) -> None:
    shapes = []
    with (folder / "pictures.bin").open("wb") as file:
        for data in pictures:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            image.thumbnail((SIDE, SIDE))
            pixels = np.asarray(image, np.uint8)
            shapes.append(pixels.shape[:2])
            file.write(pixels.tobytes())
    (folder / "shapes.json").write_text(json.dumps(shapes))


def _run(name: str, command: Sequence[str | Path]) -> dict[str, Any]:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"The peer {name} could not be run: {(run.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    answer: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return answer
