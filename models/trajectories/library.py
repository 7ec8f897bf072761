"""The starter library that ships: numbers only, read without torch so that a seeding step can copy it to Postgres."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from domain.errors import WeightsError
from domain.types import LibraryRows
from models import checkpoint
from models.manifest import ARTIFACTS

FOLDER = "library"
ENCODER = "emotion-text/model.safetensors"
"""The text encoder whose embeddings the library holds, below the artifacts folder."""

MICROS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """The rows, the revision of the encoder that made their embeddings, and which volatilities are estimates.

    ``estimated``: bool[n], True where no candles stood before the post and the symbol's earlier windows stood in.
    """

    rows: LibraryRows
    encoder: str
    estimated: NDArray[np.bool_]


def encoder_revision(artifacts: Path = ARTIFACTS) -> str:
    """The revision to store beside an embedding: the head of the digest of the text encoder's own tensors.

    Heads, lexicon and calibration stand in the same file and move no vector; a change of them keeps the library. Where
    only the library ships, as in the image of the doors, its settings name the encoder that made it.

    Raises:
        WeightsError: the text encoder (without it the library) is missing or unreadable.
    """
    if not (artifacts / ENCODER).exists() and (artifacts / FOLDER).is_dir():
        return str(checkpoint.load_config(artifacts / FOLDER)["encoder"])
    digest = hashlib.sha256()
    try:
        with safe_open(artifacts / ENCODER, framework="numpy") as file:
            for name in sorted(name for name in file.keys() if name.startswith("encoder.")):  # noqa: SIM118 - no mapping
                tensor = np.ascontiguousarray(file.get_tensor(name))
                digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
                digest.update(tensor.data)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The text encoder {ENCODER} cannot be read ({error}); install moodtape again.") from None
    return digest.hexdigest()[:12]


def save_library(folder: Path, library: Library, card: str) -> None:
    """Write a checkpoint; post ids are not kept (they become ``starter:<n>``)."""
    rows = library.rows
    symbols, sources = sorted(set(rows.symbols)), sorted(set(rows.sources))
    tensors: dict[str, NDArray[Any]] = {
        "embedding": rows.embedding,
        "change": rows.change,
        "time": rows.posted_at // MICROS,
        "delay": ((rows.starts_at - rows.posted_at) // MICROS).astype(np.uint8),
        "symbol": np.array([symbols.index(s) for s in rows.symbols], dtype=np.uint16),
        "source": np.array([sources.index(s) for s in rows.sources], dtype=np.uint16),
        "volatility": rows.volatility,
        "estimated": library.estimated.astype(np.uint8),
    }
    config = {"encoder": library.encoder, "rows": len(rows), "symbols": symbols, "sources": sources}
    checkpoint.save(folder, config, tensors, card)


def load_library(artifacts: Path = ARTIFACTS) -> Library:
    """The starter library of an artifacts folder.

    Raises:
        WeightsError: a file is missing, altered or unreadable, or was built with another text encoder than ships beside it.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        library = _library(config, arrays)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(
            f"The starter library does not fit this program ({error}); install moodtape again."
        ) from None
    if (artifacts / ENCODER).is_file() and encoder_revision(artifacts) != library.encoder:
        raise WeightsError(
            "The starter library was built with another text encoder than the one beside it; build it again with "
            "`python -m training.trajectories.library`."
        )
    return library


def _library(config: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Library:
    posted = arrays["time"].astype(np.int64) * MICROS
    rows = LibraryRows(
        post_ids=tuple(f"starter:{n}" for n in range(len(posted))),
        sources=tuple(config["sources"][i] for i in arrays["source"]),
        symbols=tuple(config["symbols"][i] for i in arrays["symbol"]),
        posted_at=posted,
        starts_at=posted + arrays["delay"].astype(np.int64) * MICROS,
        embedding=arrays["embedding"],
        change=arrays["change"],
        volatility=arrays["volatility"].astype(np.float32),
    )
    return Library(rows, str(config["encoder"]), arrays["estimated"].astype(bool))
