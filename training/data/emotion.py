"""Texts with an emotion, from the sets that are trained on: dair_emotion, GoEmotions and the slang written for moodtape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import EMOTIONS

INDEX = {label: i for i, label in enumerate(EMOTIONS)}
LOVE_IS_JOY = {"love": "joy"}
"""dair_emotion's sixth label, joined to joy in training as GoEmotions' Ekman grouping does; tests leave it out."""

SLANG = Path(__file__).with_name("slang.tsv")
FILES = {"dair": "text_emotion/dair_emotion.parquet", "goemotions": "text_emotion/goemotions.parquet"}


@dataclass(frozen=True, slots=True)
class Texts:
    """Labelled texts of one source. ``labels``: int64[n], −1 where several hold; ``multi``: float32[n, 7] of 0 and 1."""

    source: str
    texts: list[str]
    labels: NDArray[np.int64]
    multi: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, len(EMOTIONS)), np.float32))

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The rows of these indices."""
        return Texts(self.source, [self.texts[i] for i in rows], self.labels[rows], self.multi[rows])

    def single(self) -> Texts:
        """Only the rows with one label."""
        return self.take(np.flatnonzero(self.labels >= 0))


def load(source: str, split: str, data: Path) -> Texts:
    """One official split (``train``, ``val``, ``test``) of ``dair``, ``goemotions`` or ``slang``.

    Raises:
        InputError: the file is missing or lacks a column; the message names it.
    """
    frame = _slang() if source == "slang" else _read(data / FILES[source])
    frame = frame[frame["split"] == split]
    if source == "dair" and split == "test":
        frame = frame[frame["label"] != "love"]
    labels = np.array([INDEX.get(LOVE_IS_JOY.get(x, x), -1) for x in frame["label"]], np.int64)
    several = (
        frame["labels7"].str.split(",") if "labels7" in frame else frame["label"].replace(LOVE_IS_JOY).str.split(",")
    )
    return Texts(source, frame["text"].astype(str).tolist(), labels, _many_hot(several))


def _slang() -> pd.DataFrame:
    return pd.read_csv(SLANG, sep="\t", keep_default_na=False, quoting=3)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The data file {path.name} cannot be read ({error}); give its folder with --data.") from None


def _many_hot(rows: Iterable[Any]) -> NDArray[np.float32]:
    rows = list(rows)
    out = np.zeros((len(rows), len(EMOTIONS)), np.float32)
    for i, names in enumerate(rows):
        for name in names:
            if name.strip() in INDEX:
                out[i, INDEX[name.strip()]] = 1
    return out


def class_weights(labels: NDArray[np.int64], power: float = 1.0) -> NDArray[np.float32]:
    """Weights float32[7] that even out the classes present in one source; their mean over its rows is 1."""
    counts = np.bincount(labels[labels >= 0], minlength=len(EMOTIONS)).astype("float64")
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)
