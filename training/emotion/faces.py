"""Labelled face crops from parquet files, split without near-duplicates; and drawn pictures without a face."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import EMOTIONS
from models.emotion.faces import decode, fit
from models.encoders.image import CROP

Crops = NDArray[np.uint8]
Bits = NDArray[np.bool_]
LABELS = {name: number for number, name in enumerate(EMOTIONS)}
TWIN = 0.90
"""Correlation of two small grey copies from which they count as the same picture; below it they are other people."""
_THUMB = 24


@dataclass(frozen=True, slots=True)
class Faces:
    """Crops uint8 (n, CROP, CROP), labels int64 (n,), ``part``: "train", "validation" or "holdout" (n,)."""

    name: str
    crops: Crops
    labels: NDArray[np.int64]
    part: NDArray[np.str_]
    twins_dropped: int

    def of(self, part: str) -> tuple[Crops, NDArray[np.int64]]:
        """Crops and labels of one part."""
        chosen = self.part == part
        return self.crops[chosen], self.labels[chosen]


def load(path: Path, validation: float = 0.08) -> Faces:
    """Read one parquet file with columns label, split, jpeg; rows without one of the seven labels are dropped.

    Whatever the file does not call ``train`` is the hold-out. A share of the training rows, chosen by the digest of their
    bytes, is for validation. Twins of held-back pictures leave the training part (validation too, if of the hold-out).
    """
    table = pd.read_parquet(path, columns=["label", "split", "jpeg"])
    table = table[table["label"].isin(LABELS)].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{path.name} holds no picture with one of the labels {', '.join(EMOTIONS)}.")
    crops = np.stack([fit(decode(jpeg).grey) for jpeg in table["jpeg"]])
    chance = np.array([_chance(jpeg) for jpeg in table["jpeg"]])
    part = np.where(table["split"] != "train", "holdout", np.where(chance < validation, "validation", "train"))
    kept = ~leaks(crops, part)
    labels = np.array([LABELS[label] for label in table["label"]], np.int64)
    return Faces(path.stem, crops[kept], labels[kept], part[kept], int((~kept).sum()))


def leaks(crops: Crops, part: NDArray[np.str_]) -> Bits:
    """Which rows must go because a twin of theirs, mirrored or not, is held back in a more protected part; bool (n,)."""
    thumbs = _normalised(np.stack([cv2.resize(c, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA) for c in crops]))
    mirrored = _normalised(
        np.stack([cv2.resize(c[:, ::-1], (_THUMB, _THUMB), interpolation=cv2.INTER_AREA) for c in crops])
    )
    leaking = np.zeros(len(crops), bool)
    for protected, exposed in (("holdout", ("validation", "train")), ("validation", ("train",))):
        guarded = np.flatnonzero(part == protected)
        rows = np.flatnonzero(np.isin(part, exposed))
        for start in range(0, len(rows), 4096):
            block = rows[start : start + 4096]
            closest = np.maximum(
                (thumbs[block] @ thumbs[guarded].T).max(1, initial=-1),
                (mirrored[block] @ thumbs[guarded].T).max(1, initial=-1),
            )
            leaking[block] |= closest >= TWIN
    return leaking


def _normalised(thumbs: Crops) -> NDArray[np.float32]:
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    scaled: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    return scaled


def _chance(jpeg: bytes) -> float:
    return int.from_bytes(hashlib.sha256(jpeg).digest()[:4], "big") / 2**32


def scenes(count: int, seed: int, folders: Sequence[Path] = ()) -> Crops:
    """``count`` grey pictures without a face, uint8 (count, CROP, CROP): drawn, and cut from pictures in ``folders``."""
    rng = np.random.default_rng(seed)
    photos = [photo for folder in folders for photo in _photos(folder)]
    drawers = (_chart, _candles, _text, _noise, _gradient, _shapes)
    made = [
        _cut(photos[int(rng.integers(len(photos)))], rng)
        if photos and number % 2
        else drawers[int(rng.integers(len(drawers)))](rng)
        for number in range(count)
    ]
    return np.stack(made)


def _photos(folder: Path) -> Iterator[Crops]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}:
            grey: Any = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if grey is not None and min(grey.shape) >= 2 * CROP:
                scale = min(1.0, 1200 / max(grey.shape))
                small: Any = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield small


def _cut(photo: Crops, rng: np.random.Generator) -> Crops:
    height, width = photo.shape
    side = int(rng.integers(CROP // 2, min(height, width)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return fit(photo[top : top + side, left : left + side])


def _canvas(rng: np.random.Generator) -> tuple[Crops, int]:
    dark = rng.random() < 0.5
    back = int(rng.integers(0, 60) if dark else rng.integers(200, 256))
    ink = int(rng.integers(150, 256) if dark else rng.integers(0, 110))
    return np.full((CROP, CROP), back, np.uint8), ink


def _chart(rng: np.random.Generator) -> Crops:
    picture, ink = _canvas(rng)
    for _ in range(int(rng.integers(0, 6))):
        line = int(rng.integers(CROP))
        cv2.line(picture, (0, line), (CROP, line), ink // 2 + 60, 1)
    for _ in range(int(rng.integers(1, 4))):
        walk = np.cumsum(rng.normal(0, rng.uniform(1, 8), 24)) + rng.uniform(20, 76)
        points = np.stack([np.linspace(0, CROP, 24), walk], 1).astype(np.int32)
        cv2.polylines(picture, [points], False, ink, int(rng.integers(1, 4)), cv2.LINE_AA)
    return picture


def _candles(rng: np.random.Generator) -> Crops:
    picture, ink = _canvas(rng)
    count = int(rng.integers(5, 30))
    level = CROP / 2 + np.cumsum(rng.normal(0, 5, count + 1))
    for number in range(count):
        left, right = int(number * CROP / count), int((number + 0.7) * CROP / count)
        first, last = int(level[number]), int(level[number + 1])
        cv2.rectangle(picture, (left, first), (right, last), ink if last > first else ink // 2 + 50, -1)
        middle = (left + right) // 2
        cv2.line(picture, (middle, min(first, last) - 6), (middle, max(first, last) + 6), ink, 1)
    return picture


def _text(rng: np.random.Generator) -> Crops:
    picture, ink = _canvas(rng)
    size = float(rng.uniform(0.25, 1.2))
    step = int(30 * size) + 4
    font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_DUPLEX]))
    for row in range(step, CROP + step, step):
        letters = "".join(chr(int(c)) for c in rng.integers(33, 127, 18))
        cv2.putText(
            picture, letters, (int(rng.integers(-20, 20)), row), font, size, ink, 1 + int(size > 0.8), cv2.LINE_AA
        )
    return picture


def _noise(rng: np.random.Generator) -> Crops:
    cells = int(rng.choice([3, 4, 6, 8, 12, 24, 48, 96]))
    coarse = rng.normal(128, rng.uniform(10, 70), (cells, cells))
    smooth = cv2.resize(coarse, (CROP, CROP), interpolation=cv2.INTER_CUBIC) + rng.normal(
        0, rng.uniform(0, 12), (CROP, CROP)
    )
    return smooth.clip(0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator) -> Crops:
    rows, columns = np.mgrid[0:CROP, 0:CROP] / CROP
    slope = rng.normal(0, 150, 2)
    bump = rng.normal(0, 80) * np.exp(
        -((rows - rng.random()) ** 2 + (columns - rng.random()) ** 2) / rng.uniform(0.02, 0.4)
    )
    light = np.asarray(rng.uniform(40, 200) + slope[0] * rows + slope[1] * columns + bump)
    return light.clip(0, 255).astype(np.uint8)


def _shapes(rng: np.random.Generator) -> Crops:
    picture = _gradient(rng)
    for _ in range(int(rng.integers(1, 9))):
        centre = (int(rng.integers(CROP)), int(rng.integers(CROP)))
        axes = (int(rng.integers(3, 40)), int(rng.integers(3, 40)))
        grey, border = int(rng.integers(256)), int(rng.choice([-1, 1, 3]))
        if rng.random() < 0.5:
            cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, grey, border, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, centre, (centre[0] + axes[0], centre[1] + axes[1]), grey, border)
    return picture
