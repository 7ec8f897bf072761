"""Windows of activity for the hype task: as-of features and what happened next, from candles or from posts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.errors import InputError, UnknownSymbol
from domain.symbols import normalize
from domain.types import STEPS
from models.hype.logistic import NAMES, Situation, situation
from training.trajectories.pairs import load_tapes, read
from training.trajectories.tape import Tape, moment

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """One row per market and moment, ordered by time.

    ``features``: (n, f) of :func:`models.hype.logistic.situation`; ``level``: log of the last window over the threshold;
    ``hot``: whether the next window exceeded the threshold; ``time``: int64[n], epoch seconds, the moment of the forecast.
    """

    features: Doubles
    level: Doubles
    hot: NDArray[np.bool_]
    time: NDArray[np.int64]
    market: NDArray[Any]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: NDArray[Any]) -> Windows:
        """The rows at these positions, or under this mask."""
        return Windows(**{name: getattr(self, name)[index] for name in self.__slots__})


def windows(tapes: dict[tuple[str, str], Tape], stride: int, since: datetime | None = None) -> Windows:
    """All moments, ``stride`` minutes apart, with enough past for features and a known next window."""
    rows: list[tuple[Doubles, float, bool, int, str]] = []
    start = int(since.timestamp() // 60) if since else 0
    for (exchange, symbol), tape in sorted(tapes.items()):
        first = max(tape.first + STEPS, start)
        for minute in range(-(-first // stride) * stride, tape.first + len(tape.mid) - STEPS + 1, stride):
            if not np.isfinite(tape.volume[minute - tape.first - 1]):
                continue
            at = moment(minute * 60)
            now, then = situation(tape.context(at)), tape.next_volume(at)
            if isinstance(now, Situation) and np.isfinite(then):
                level = float(np.log(max(now.level, 1e-9 * now.threshold) / now.threshold))
                rows.append((now.features, level, then > now.threshold, minute * 60, f"{exchange}|{symbol}"))
    rows.sort(key=lambda row: (row[3], row[4]))
    return Windows(
        features=np.array([r[0] for r in rows], dtype=np.float64).reshape(len(rows), len(NAMES)),
        level=np.array([r[1] for r in rows], dtype=np.float64),
        hot=np.array([r[2] for r in rows], dtype=bool),
        time=np.array([r[3] for r in rows], dtype=np.int64),
        market=np.array([r[4] for r in rows], dtype=object),
    )


def load_activity(files: Sequence[Path]) -> tuple[dict[tuple[str, str], Tape], str]:
    """Tapes from candle and post files, told apart by their columns, and the measure: ``volume`` or ``posts``.

    With candles, posts about a symbol go onto its tapes; without, the posts per minute are the activity themselves.

    Raises:
        InputError: a file is neither, or nothing names a symbol.
    """
    kinds = [(path, set(pq.read_schema(path).names)) for path in files]
    candles = [path for path, names in kinds if {"t", "open", "volume"} <= names]
    posts = [
        path for path, names in kinds if path not in candles and "t" in names and {"symbols", "asset", "symbol"} & names
    ]
    if strangers := [path.name for path, _ in kinds if path not in candles and path not in posts]:
        raise InputError(f"The file {strangers[0]} holds neither candles nor posts with times and symbols.")
    times = post_times(posts) if posts else {}
    if candles:
        tapes = load_tapes(candles)
        none = np.zeros(0, dtype=np.int64)
        return {key: _with_posts(tape, times.get(tape.symbol, none)) for key, tape in tapes.items()}, "volume"
    if not times:
        raise InputError("None of the posts names a symbol.")
    return {("", symbol): _tape_of_posts(symbol, at) for symbol, at in times.items()}, "posts"


def post_times(files: Sequence[Path]) -> dict[str, NDArray[np.int64]]:
    """Sorted epoch seconds of the posts about each symbol; ``symbols`` holds codes with commas between them."""
    table = read(files, ("t", "symbols", "asset", "symbol"))
    by_code: dict[str, list[int]] = {}
    times = table["t"].to_pylist()
    for column in {"symbols", "asset", "symbol"} & set(table.column_names):
        for at, codes in zip(times, table[column].to_pylist(), strict=True):
            for code in (codes or "").split(",") if at is not None else ():
                if code.strip():
                    by_code.setdefault(code.strip(), []).append(int(at))
    merged: dict[str, list[int]] = {}
    for code, at_times in by_code.items():
        try:
            merged.setdefault(normalize(code), []).extend(at_times)
        except UnknownSymbol:
            continue  # a code that is no market name has no candles either
    return {symbol: np.sort(np.array(at_times, dtype=np.int64)) for symbol, at_times in merged.items()}


def _with_posts(tape: Tape, posts: NDArray[np.int64]) -> Tape:
    return Tape(tape.symbol, tape.first, tape.mid, tape.volume, posts)


def _tape_of_posts(symbol: str, times: NDArray[np.int64]) -> Tape:
    """Posts per minute as the activity; a window without any post within the set's span counts as zero."""
    minutes = times // 60
    first = int(minutes[0])
    counts = np.bincount(minutes - first).astype(np.float64)
    return Tape(symbol, first, np.full(len(counts), np.nan), counts, np.zeros(0, dtype=np.int64))
