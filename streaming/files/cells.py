"""What single fields of files mean: numbers, times, and how long a candle lasts; what cannot be read becomes NaN."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from domain.errors import InputError

TIMEFRAMES = {
    60: "1m", 180: "3m", 300: "5m", 900: "15m", 1800: "30m", 3600: "1h", 7200: "2h", 14_400: "4h", 21_600: "6h",
    28_800: "8h", 43_200: "12h", 86_400: "1d", 259_200: "3d", 604_800: "1w",
}  # fmt: skip
"""Seconds between candles, and what files and exchanges call them."""


def read_csv(path: Path) -> Any:
    """The table of a CSV file; one with rows that Arrow cannot read comes as texts, short rows filled with nothing."""
    try:
        return pa.csv.read_csv(path)
    except pa.ArrowInvalid:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            try:
                header, *rows = [row for row in csv.reader(lines) if row]
            except (ValueError, csv.Error):
                raise pa.ArrowInvalid("it has no rows, or is no CSV") from None
    width = len(header)
    filled = [(row + [""] * width)[:width] for row in rows]
    return pa.table([pa.array([row[i] for row in filled], pa.string()) for i in range(width)], header)


def epoch_seconds(column: Any) -> NDArray[np.float64]:
    """Seconds since the epoch from numbers (s, ms or µs, told apart by size), timestamps or ISO texts; NaN where unknown."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
        except pa.ArrowInvalid:
            return _seconds(np.array([_moment(value) for value in column.to_pylist()], np.float64))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    return _seconds(numbers(column))


def _seconds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.select([np.abs(values) > 1e14, np.abs(values) > 1e11], [1e6, 1e3], 1.0)
    seconds = np.asarray(values / scale, dtype=np.float64)
    return np.where(np.abs(seconds) < 1e15, seconds, np.nan)


def _moment(text: str | None) -> float:
    """A text's time as a number of some unit; NaN where it is none."""
    for read in (float, datetime.fromisoformat):
        with suppress(ValueError):
            value = read((text or "").strip())
            return value if isinstance(value, float) else value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    return float("nan")


def numbers(column: Any) -> NDArray[np.float64]:
    """A column's numbers; NaN where there is none."""
    values = column.to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        return np.array([number(str(value)) for value in values], dtype=np.float64)


def number(text: str) -> float:
    """The number of a field; what is none becomes NaN, and its row a dead letter."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def timeframe_of(at: NDArray[np.int64], others: NDArray[np.int64]) -> str:
    """The timeframe by the commonest distance of neighbours; of a single candle by that of the ``others`` in its file.

    Raises:
        InputError: it is none that is known.
    """
    for moments in (at[at >= 0], others[others >= 0]):
        steps, counts = np.unique(np.diff(np.unique(moments)), return_counts=True)
        if len(steps):
            timeframe = TIMEFRAMES.get(int(steps[np.argmax(counts)]))
            if timeframe is None:
                break
            return timeframe
    raise InputError("The candles do not tell how long each of them lasts; say it: --timeframe 1m.")


def timeframe_in(stem: str) -> str:
    """The timeframe in a file's name like ``BTCUSDT-1d-2024-01-01``; empty where there is none."""
    words = re.split(r"[-_. ]+", stem)
    return next((word for word in words if word in TIMEFRAMES.values()), "")
