"""Texts with an emotion, from the sets that are trained on: dair_emotion, GoEmotions and the slang written for moodtape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import EMOTIONS

INDEX = {label: i for i, label in enumerate(EMOTIONS)}
SEVERAL = re.compile(r"[|,]")
"""What stands between several labels of one row."""

LOVE_IS_JOY = {"love": "joy"}
"""dair_emotion's sixth label, joined to joy in training as GoEmotions' Ekman grouping does; tests leave it out."""

SLANG = Path(__file__).with_name("slang.tsv")
SPOKEN = Path(__file__).with_name("spoken.tsv")
OWN = {"slang": SLANG, "spoken": SPOKEN}
"""Lines written for moodtape; spoken ones have no test split, for they only widen what is trained on."""

FILES = {"dair": "text_emotion/dair_emotion.parquet", "goemotions": "text_emotion/goemotions.parquet"}


@dataclass(frozen=True, slots=True)
class Texts:
    """Labelled texts of one source.

    ``labels``: int64[n], −1 where several hold; ``multi``: float32[n, 7] of 0 and 1; ``fine``: float32[n, 28] likewise, None
    where the source has no finer labels.
    """

    source: str
    texts: list[str]
    labels: NDArray[np.int64]
    multi: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, len(EMOTIONS)), np.float32))
    fine: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The rows of these indices."""
        fine = None if self.fine is None else self.fine[rows]
        return Texts(self.source, [self.texts[i] for i in rows], self.labels[rows], self.multi[rows], fine)

    def single(self) -> Texts:
        """Only the rows with one label."""
        return self.take(np.flatnonzero(self.labels >= 0))


def load(source: str, split: str, data: Path) -> Texts:
    """One official split (``train``, ``val``, ``test``) of ``dair``, ``goemotions``, ``slang`` or ``spoken``.

    Raises:
        InputError: the file is missing or lacks a column; the message names it.
    """
    frame = _own(OWN[source]) if source in OWN else _read(data / FILES[source])
    frame = frame[frame["split"] == split]
    if source == "dair" and split == "test":
        frame = frame[frame["label"] != "love"]
    labels = np.array([INDEX.get(LOVE_IS_JOY.get(x, x), -1) for x in frame["label"]], np.int64)
    several = (
        frame["labels7"].str.split(SEVERAL)
        if "labels7" in frame
        else frame["label"].replace(LOVE_IS_JOY).str.split(",")
    )
    fine = _many_hot(frame["labels28"].str.split("|"), _fine_names(frame)) if "labels28" in frame else None
    return Texts(source, frame["text"].astype(str).tolist(), labels, _many_hot(several), fine)


def _fine_names(frame: pd.DataFrame) -> dict[str, int]:
    names = sorted({name for cell in frame["labels28"] for name in cell.split("|")})
    return {name: i for i, name in enumerate(names)}


def _own(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False, quoting=3)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The data file {path.name} cannot be read ({error}); give its folder with --data.") from None


def _many_hot(rows: Iterable[Any], index: dict[str, int] = INDEX) -> NDArray[np.float32]:
    rows = list(rows)
    out = np.zeros((len(rows), len(index)), np.float32)
    for i, names in enumerate(rows):
        for name in names:
            if name.strip() in index:
                out[i, index[name.strip()]] = 1
    return out


_FRAME = re.compile(r"^.{0,40}?\b(?:feel|feeling|felt)\s+(?:like |that |as if |as though |so |really )?")
_MASK = "[NAME]"
_NAMES = [
    "Anna",
    "Ben",
    "Carla",
    "Dan",
    "Emma",
    "Frank",
    "Grace",
    "Henry",
    "Lucy",
    "Mike",
    "Nina",
    "Paul",
    "Sara",
    "Tom",
]


def varied(texts: Texts, unframed: float, named: float, rng: np.random.Generator) -> Texts:
    """The same texts less alike within a source, so that its habits give the label away less.

    A share ``unframed`` of the diary sentences loses its "i feel …", a share ``named`` of the comments has first names
    in place of masks.
    """
    out = list(texts.texts)
    for i, chance in enumerate(rng.random(len(out))):
        if texts.source == "dair" and chance < unframed and len(rest := _FRAME.sub("", out[i]).split()) > 1:
            out[i] = " ".join(rest)
        if chance < named and _MASK in out[i]:
            out[i] = out[i].replace(_MASK, str(rng.choice(_NAMES)))
    return replace(texts, texts=out)


def class_weights(labels: NDArray[np.int64], power: float = 1.0) -> NDArray[np.float32]:
    """Weights float32[7] that even out the classes present in one source; their mean over its rows is 1."""
    counts = np.bincount(labels[labels >= 0], minlength=len(EMOTIONS)).astype("float64")
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)
