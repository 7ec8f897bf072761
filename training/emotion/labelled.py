"""Labelled rows to be scored: Parquet, CSV or JSON lines with the columns text, jpeg or both, and label."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from domain.errors import InputError
from training.emotion.texts import INDEX, SEVERAL

SYNONYMS = {
    "sad": "sadness",
    "happy": "joy",
    "happiness": "joy",
    "fearful": "fear",
    "scared": "fear",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows with one of the seven labels (``labels``: int64[n]); the others are counted in ``excluded`` by their label.

    ``multi`` is float32[n_multi, 7] beside ``multi_texts`` where the file has a column ``labels7``.
    """

    texts: list[str] | None
    pictures: list[bytes] | None
    labels: NDArray[np.int64]
    excluded: dict[str, int]
    splits: dict[str, int]
    multi_texts: list[str] = field(default_factory=list)
    multi: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 7), np.float32))


def read_labelled(files: Sequence[Path], split: str | None = None, limit: int | None = None, seed: int = 0) -> Labelled:
    """Read and join files of the same columns; ``limit`` keeps so many labelled rows, chosen at random.

    Raises:
        InputError: no file, an unreadable one, a missing column, or no row with one of the seven labels.
    """
    if not files:
        raise InputError("Nothing to score: name a file with --data.")
    tables = [_read(path) for path in files]
    names = ", ".join(path.name for path in files)
    table = pd.concat(tables, ignore_index=True)
    if split is not None:
        if "split" not in table:
            raise InputError(f"{names} has no column split, so --split cannot be used.")
        table = table[table["split"] == split]
    truth = np.array([label_index(value) for value in table["label"]], np.int64)
    excluded = Counter("null" if pd.isna(v) else str(v) for v in table["label"][truth < 0])
    if not (truth >= 0).any():
        raise InputError(f"No row of {names} has one of the labels {', '.join(INDEX)}.")
    rows = np.flatnonzero(truth >= 0)
    if limit is not None and len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    scored = table.iloc[rows]
    several = table[table["labels7"].notna()] if {"labels7", "text"} <= set(table) else table.iloc[:0]
    several = several if limit is None else several.iloc[:limit]
    return Labelled(
        texts=[_text(value) for value in scored["text"]] if "text" in table else None,
        pictures=[_bytes(value, names) for value in scored["jpeg"]] if "jpeg" in table else None,
        labels=truth[rows],
        excluded=dict(excluded),
        splits=dict(Counter(map(str, scored["split"]))) if "split" in table else {},
        multi_texts=[_text(value) for value in several["text"]] if len(several) else [],
        multi=_many_hot(several["labels7"]) if len(several) else np.zeros((0, 7), np.float32),
    )


def label_index(value: Any) -> int:
    """Position in EMOTIONS of a label as data sets write it (case and plain synonyms do not matter), −1 for any other."""
    if not isinstance(value, str):
        return -1
    word = value.strip().lower()
    return INDEX.get(SYNONYMS.get(word, word), -1)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = _table(path)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path.name} cannot be read as Parquet, CSV, TSV or JSON lines ({reason}).") from None
    if "label" not in table or not {"text", "jpeg"} & set(table):
        raise InputError(
            f"{path.name} needs a column label and at least one of text and jpeg; it has {', '.join(map(str, table.columns))}."
        )
    return table


def _table(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind == ".csv":
        return pd.read_csv(path)
    if kind == ".tsv":
        return pd.read_csv(path, sep="\t", quoting=3, keep_default_na=False)
    if kind == ".jsonl":
        return pd.read_json(path, lines=True)
    return pd.read_parquet(path)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _bytes(value: Any, names: str) -> bytes:
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            raise InputError(f"A picture in {names} is neither bytes nor base64.") from None
    return value if isinstance(value, bytes) else b""


def _many_hot(cells: pd.Series) -> NDArray[np.float32]:
    out = np.zeros((len(cells), len(INDEX)), np.float32)
    for i, cell in enumerate(cells):
        for name in SEVERAL.split(str(cell)):
            if (index := label_index(name)) >= 0:
                out[i, index] = 1
    return out
