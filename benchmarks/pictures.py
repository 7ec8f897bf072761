"""Pictures per second on one core through the reader that the worker calls, several faces, level eyes, and reasons.

``python -m benchmarks.pictures --data muxspace_128.parquet [--json]``

``decoding, finding and reading`` is :meth:`ImageMoodReader.read` on held-back rows as they are (cut to the face) and on
canvases of 960 × 640 pixels into which rows were pasted: one face, or four. ``peer`` is the same network called as a plain
loop would, one picture at a time. Faces turned by 15 degrees are read with and without the turn that levels the eyes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.faces import NO_DATA, held_back
from benchmarks.report import report
from domain.types import EMOTIONS
from models.emotion.faces import FaceFinder
from models.emotion.image import FOLDER, ImageMoodReader
from models.parts import ImageReading

BATCH = 64
TURN = 15


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet with label, split, jpeg")
    parser.add_argument("--pictures", type=int, default=128, help="held-back rows to use")
    parser.add_argument("--artifacts", type=Path, default=FOLDER)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.data:
        print(json.dumps({"skipped": NO_DATA}))
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    reader = ImageMoodReader.from_pretrained(given.artifacts)
    every, truth = held_back(given.data)
    rows, labels = every[: given.pictures], [EMOTIONS[i] for i in truth[: given.pictures]]
    four = [canvas(rows[i : i + 4]) for i in range(0, len(rows) - 3, 4)]
    ours, peer = rate(lambda: batched(reader, rows), len(rows)), rate(lambda: singly(reader, rows), len(rows))
    alone = [canvas([row]) for row in rows[: len(four)]]
    with patch.object(reader, "mirror", False):
        once = rate(lambda: batched(reader, rows), len(rows))
    report(
        ours=ours,
        peer=peer,
        unit="pictures cut to the face per CPU-second of one core, decoding and finding included",
        without_the_mirrored_view=once,
        canvases_of_one_face=rate(lambda: batched(reader, alone), len(alone)),
        canvases_of_four_faces=rate(lambda: batched(reader, four), len(four)),
        faces_found_of_four=float(np.mean([min(faces(r), 4) for r in batched(reader, four)])),
        turned=turned(reader, rows, labels),
        why_ms=reasons(reader, rows[:32]),
        why_ms_on_canvas=reasons(reader, alone[:16]),
        pictures=len(rows),
        packages=("torch", "timm", "opencv-python-headless"),
    )


def rate(work: Callable[[], Any], count: int, rounds: int = 3) -> float:
    """Pictures per CPU-second, the best of some rounds after one to warm up."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return count / best


def batched(reader: ImageMoodReader, pictures: Sequence[bytes]) -> list[Any]:
    """As the worker does: all pictures of a claim at once."""
    return [one for start in range(0, len(pictures), BATCH) for one in reader.read(pictures[start : start + BATCH])]


def singly(reader: ImageMoodReader, pictures: Sequence[bytes]) -> list[Any]:
    """One picture after the other."""
    return [reader.read([picture])[0] for picture in pictures]


def canvas(rows: Sequence[bytes], turn: float = 0.0) -> bytes:
    """A grey picture of 960 × 640 pixels with faces of 200 pixels in a row, each turned by some degrees."""
    picture = Image.new("L", (960, 640), 128)
    for number, row in enumerate(rows):
        face = Image.open(io.BytesIO(row)).convert("L").resize((200, 200))
        face = face.rotate(turn, Image.Resampling.BICUBIC, expand=True, fillcolor=128)
        picture.paste(face, (20 + 236 * number, 220))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def faces(reading: Any) -> int:
    """Faces that a reading speaks of."""
    return reading.faces if isinstance(reading, ImageReading) else 0


def turned(reader: ImageMoodReader, rows: Sequence[bytes], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy among the turned faces that are read, with eyes levelled and as they are, and the share that is read."""
    pictures = [canvas([row], side * TURN) for row, side in zip(rows, (1, -1) * len(rows), strict=False)]
    level = batched(reader, pictures)
    with patch.object(FaceFinder, "_slope", lambda finder, crop: 0.0):
        plain = batched(reader, pictures)
    upright = batched(reader, [canvas([row]) for row in rows])
    told: dict[str, float] = {}
    for name, readings in (("levelled", level), ("as they are", plain), ("never turned", upright)):
        read = [(r, label) for r, label in zip(readings, labels, strict=True) if faces(r)]
        right = [EMOTIONS[int(r.probabilities.argmax())] == label for r, label in read]
        told |= {f"{name}: read": round(len(read) / len(rows), 3), f"{name}: accuracy": round(float(np.mean(right)), 3)}
    return told


def reasons(reader: ImageMoodReader, pictures: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of wall time of ``why``: median and longest."""
    took = []
    for picture in pictures:
        started = time.perf_counter()
        reader.why(picture, "joy")
        took.append((time.perf_counter() - started) * 1000)
    return {"median": round(float(np.median(took)), 1), "longest": round(max(took), 1)}


if __name__ == "__main__":
    main()
