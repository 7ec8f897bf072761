"""Windows of 256 one-minute candles for pretraining, held as prices and start rows: 500,000 windows need a few megabytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from domain.types import STEPS
from training.trajectories.pairs import load_tapes, parquet_files
from training.trajectories.tape import MINUTE_SECONDS, Tape

STRIDE = 8
"""Minutes between the starts of neighbouring windows; they overlap, so they are not independent."""


@dataclass(frozen=True, slots=True, eq=False)
class CandleWindows:
    """``prices``, ``volumes``: float64[m], all tapes one after the other; ``starts``: int64[n], first rows of whole windows."""

    prices: NDArray[np.float64]
    volumes: NDArray[np.float64]
    starts: NDArray[np.int64]
    channels: int = 2

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, index: NDArray[np.int64]) -> Tensor:
        """(n, 2, 256): log return since the window's first minute and log volume, each with the window's own scale."""
        places = self.starts[index][:, None] + np.arange(STEPS)
        return scaled(self.prices[places], self.volumes[places])


def scaled(prices: NDArray[np.float64], volumes: NDArray[np.float64]) -> Tensor:
    """(n, 256) prices and volumes to (n, 2, 256) float32: the path over 16 times its minute volatility, and log volume."""
    path = np.log(prices / prices[:, :1])
    steps = np.diff(path, axis=1)
    path = path / np.maximum(16 * steps.std(1, keepdims=True), 1e-7)
    level = np.log1p(np.maximum(volumes, 0))
    level = (level - level.mean(1, keepdims=True)) / np.maximum(level.std(1, keepdims=True), 1e-3)
    return torch.from_numpy(np.stack([path, level], 1).astype(np.float32))


def windows_below(folder: Path, most: int, until: str, seed: int = 0) -> CandleWindows:
    """Whole windows of every candle file below a folder that end before ``until``, by lot at most ``most``.

    Raises:
        InputError: there are no candles, or no whole window.
    """
    tapes = load_tapes(parquet_files(folder, "candles"))
    return windows_of(list(tapes.values()), most, until, seed)


def windows_of(tapes: Sequence[Tape], most: int, until: str, seed: int = 0) -> CandleWindows:
    """As :func:`windows_below`, of these tapes."""
    end = int(datetime.fromisoformat(until).timestamp() // MINUTE_SECONDS)
    prices, volumes, starts, offset = [], [], [], 0
    for tape in tapes:
        count = max(min(len(tape.mid), end - tape.first), 0)
        mid = tape.mid[:count]
        known = np.concatenate([[0], np.cumsum(np.isfinite(mid) & (mid > 0))])
        first = np.arange(0, count - STEPS + 1, STRIDE)
        whole = known[first + STEPS] - known[first] == STEPS
        prices.append(mid)
        volumes.append(np.nan_to_num(tape.volume[:count]))
        starts.append(offset + first[whole])
        offset += count
    rows = np.concatenate(starts) if starts else np.zeros(0, dtype=np.int64)
    if not len(rows):
        raise InputError(f"There is no window of {STEPS} minutes without a hole before {until}.")
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return CandleWindows(np.concatenate(prices), np.concatenate(volumes), rows.astype(np.int64))


def before(
    tapes: Mapping[tuple[str, str], Tape], minutes: Sequence[tuple[Tape | None, int]]
) -> tuple[Tensor, NDArray[np.bool_]]:
    """(n, 2, 256) of the 256 minutes that had closed at each epoch minute, NaN-free rows marked in the mask."""
    prices, volumes = np.ones((len(minutes), STEPS)), np.zeros((len(minutes), STEPS))
    whole = np.zeros(len(minutes), dtype=np.bool_)
    for row, (tape, minute) in enumerate(minutes):
        start = minute - STEPS - tape.first if tape is not None else -1
        if tape is None or start < 0 or start + STEPS > len(tape.mid):
            continue
        mid = tape.mid[start : start + STEPS]
        if np.isfinite(mid).all() and (mid > 0).all():
            prices[row], volumes[row] = mid, np.nan_to_num(tape.volume[start : start + STEPS])
            whole[row] = True
    return scaled(prices, volumes), whole
