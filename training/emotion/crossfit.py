"""Soft labels by cross-fitting: each of k folds is predicted by a network trained on the other folds (Wolpert, 1992).

Human labels of emotions are noisy. The predictions of a network for its own training rows repeat that noise; those for
held-out rows do not. Each fold is a run of its own, so that folds can run side by side or one after another:

    python -m training.emotion.crossfit --config configs/emotion/text.toml --data FOLDER --out FILE
        [--folds 4] [--only 0] [--json]

The file is written once all folds are there; a recipe takes it as ``soft_labels``, with the shares that ``taught`` gives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from domain.errors import InputError, MoodtapeError
from domain.types import EMOTIONS
from models.checkpoint import write_tensors
from training import registry, runs


class SoftLabel(NamedTuple):
    """Predictions for held-out rows of one source: which rows of its training part, their probabilities (rows, 7).

    ``labels``: int64[n], those of the whole training part, by which it is recognised later.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]


def fold_of(count: int, folds: int) -> NDArray[np.int64]:
    """The fold of each of ``count`` training rows, in the order of the file; always the same."""
    return np.random.default_rng(count).permutation(count) % folds


def read(path: Path, source: str, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Soft labels, float32[n, 7], of a source's training rows; ``labels`` (n) must be those they were made for.

    Raises:
        InputError: no such file or source, or it was made for other rows.
    """
    if not path.is_file():
        raise InputError(
            f"There is no file of soft labels {path.name}; make it with python -m training.emotion.crossfit."
        )
    soft, made_for = load_file(path).get(source), _metadata(path).get(source)
    if soft is None:
        raise InputError(f"{path.name} has nothing for {source}; make it again, with {source} in taught.")
    if made_for != _digest(labels.tobytes()):
        raise InputError(f"{path.name} was made for other rows of {source} than these {len(labels)}; make it again.")
    return np.asarray(soft.float().numpy(), np.float32)


def save(out: Path, fold: int, soft: dict[str, SoftLabel], run: str) -> None:
    """Write one fold's soft labels by source beside ``out``; ``run`` is the digest of the settings they were made with."""
    tensors, metadata = {}, {"run": run}
    for source, (rows, probabilities, labels) in soft.items():
        tensors[source] = torch.full((len(labels), len(EMOTIONS)), torch.nan)
        tensors[source][torch.from_numpy(rows)] = torch.from_numpy(probabilities)
        metadata[source] = _digest(labels.tobytes())
    write_tensors(_part(out, fold), tensors, metadata)


def join(out: Path, folds: int) -> bool:
    """Write ``out`` from its folds, in float16; False while some are missing.

    Raises:
        InputError: the folds are of different settings or rows, or do not cover each row once.
    """
    paths = [_part(out, fold) for fold in range(folds)]
    if not all(path.is_file() for path in paths):
        return False
    metadata = [_metadata(path) for path in paths]
    parts = [load_file(path) for path in paths]
    alike = all(each == metadata[0] for each in metadata)
    joined = {source: torch.stack([part[source] for part in parts]).nansum(0) for source in parts[0]} if alike else {}
    if not alike or any(((rows.sum(1) - 1).abs() > 1e-3).any() for rows in joined.values()):
        raise InputError(f"The folds beside {out.name} are not of one run; remove them and start again.")
    write_tensors(out, joined, metadata[0], torch.float16)
    return True


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _part(out: Path, fold: int) -> Path:
    return out.with_name(f"{out.stem}.fold-{fold}.safetensors")


def run(config_name: str, data: Path, out: Path, folds: int, only: int | None, resume: bool) -> dict[str, Any]:
    """Train and predict the folds that are asked for and not there yet; join them once all are there."""
    name, config = registry.load_config(config_name)
    recipe = registry.find("train", name)
    if not hasattr(recipe, "cross_fit"):
        raise InputError(f"The recipe {name} has no labels that could be soft.")
    if only is not None and not 0 <= only < folds:
        raise InputError(f"--only is a fold from 0 to {folds - 1}, not {only}.")
    _check(config)
    digest = _digest(json.dumps([config, folds], sort_keys=True).encode())
    out.parent.mkdir(parents=True, exist_ok=True)
    for fold in range(folds) if only is None else [only]:
        part = _part(out, fold)
        if not (resume and part.is_file() and _metadata(part)["run"] == digest):
            work = out.with_name(f"{out.stem}.run") / f"fold-{fold}-{digest[:8]}"
            begun = resume and runs.begun(work)
            save(out, fold, recipe.cross_fit(config, data, fold, folds, work, begun), digest)
    return {"out": str(out), "folds": folds, "complete": join(out, folds)}


def _check(config: dict[str, Any]) -> None:
    taught, sources = set(config.get("taught", {})), set(config.get("sources", {}))
    if not taught or taught - sources:
        wrong = f", not {', '.join(sorted(taught - sources))}" if taught else ""
        raise InputError(
            f"The recipe's taught must name sources that are to be read: {', '.join(sorted(sources))}{wrong}."
        )
    if config.get("start"):
        raise InputError("The recipe's start names a network that may have seen every row; leave it empty here.")


def main() -> int:
    """Command line; 0, 2 (usage)."""
    about, _, usage = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="name or TOML file of a recipe's settings")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", type=int, help="this fold alone, counted from 0")
    parser.add_argument("--resume", action="store_true", help="keep the folds that are there, go on with the others")
    parser.add_argument("--json", action="store_true", help="say what is there as JSON")
    given = parser.parse_args()
    if given.folds < 2:
        parser.error("--folds is 2 or more")
    try:
        result = run(given.config, given.data, given.out, given.folds, given.only, given.resume)
    except MoodtapeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command
        return 2
    words = f"{given.out.name} is complete" if result["complete"] else f"{given.out.name} waits for its other folds"
    print(json.dumps(result) if given.json else words)  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
