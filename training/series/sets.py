"""Labelled sets of series from ``.npz`` files: X_train, y_train, X_test, y_test; series (n, channels, time), NaN-padded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from models.series.preparation import Preparation, decoded

PARTS = ("X_train", "y_train", "X_test", "y_test")


@dataclass(frozen=True, slots=True, eq=False)
class SeriesSet:
    """``x``, ``test_x``: float32 (n, channels, time); ``y``, ``test_y``: int64 (n), places in ``classes``."""

    name: str
    classes: tuple[str, ...]
    x: Tensor
    y: NDArray[np.int64]
    test_x: Tensor
    test_y: NDArray[np.int64]

    @property
    def channels(self) -> int:
        """Channels of a series."""
        return int(self.x.shape[1])

    def one_hot(self) -> Tensor:
        """Training labels as rows of zeros and a one."""
        return torch.nn.functional.one_hot(torch.from_numpy(self.y), len(self.classes)).float()


def find(folder: Path, name: str) -> Path:
    """The file of a set by its name, with or without its archive's prefix.

    Raises:
        InputError: there is none below the folder; the message lists those there are.
    """
    files = sorted(folder.rglob("*.npz"))
    for path in files:
        if name in (path.stem, path.stem.rpartition("_")[2]):
            return path
    known = ", ".join(path.stem for path in files) or "none"
    raise InputError(f"There is no set of series {name} below {folder.name}; there are: {known}.")


def load(path: Path, preparation: Preparation | None = None) -> SeriesSet:
    """One set, prepared with what is learned from its training part.

    Raises:
        InputError: the file is no set of series, or train and test do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y, test_x, test_y = (file[name] for name in PARTS)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The file {path.name} is no set of series ({error}); it needs {', '.join(PARTS)}.") from None
    if (
        x.ndim != 3
        or test_x.ndim != 3
        or x.shape[1] != test_x.shape[1]
        or len(x) != len(y)
        or len(test_x) != len(test_y)
    ):
        raise InputError(f"The series of {path.name} must be (n, channels, time) with one label each.")
    labels, tests = decoded(y), decoded(test_y)
    classes = tuple(sorted({*labels.tolist(), *tests.tolist()}))
    ready = (preparation or Preparation()).fit(x)
    return SeriesSet(
        path.stem.rpartition("_")[2],
        classes,
        torch.from_numpy(ready(x)),
        _places(labels, classes),
        torch.from_numpy(ready(test_x)),
        _places(tests, classes),
    )


def _places(labels: NDArray[Any], classes: tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([classes.index(label) for label in labels.tolist()], dtype=np.int64)
