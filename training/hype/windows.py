"""Windows of activity for the hype task: features as of a moment and what happened next, from candles or from posts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.errors import InputError, UnknownSymbol
from domain.series import PAST, QUARTER, last_window, rates
from domain.symbols import normalize
from models.hype.features import FLOOR, NAMES, sequences, situations
from models.hype.past import Past, past_of_grid
from training.hype.figures import Rows, joined
from training.trajectories.pairs import load_tapes, read
from training.trajectories.tape import Tape

Doubles = NDArray[np.float64]
AT_ONCE = 4_000
"""Moments whose windows are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is forecast: the next ``horizon`` minutes.

    ``trailing``: windows of 15 minutes behind the threshold; ``steps``: of the sequence beside each row, 0 for none.
    """

    horizon: int
    trailing: int = PAST
    steps: int = 0


def windows(tapes: Mapping[tuple[str, str], Tape], target: Target, stride: int, since: datetime | None = None) -> Rows:
    """All moments, ``stride`` minutes apart, with enough past for features and a known next window."""
    start = int(since.timestamp() // 60) if since else 0
    parts: list[Rows] = []
    for (exchange, symbol), tape in sorted(tapes.items()):
        first = max(tape.first + QUARTER, start)
        minutes = np.arange(-(-first // stride) * stride, tape.first + len(tape.mid) - target.horizon + 1, stride)
        parts += _rows(tape, minutes, target, f"{exchange}|{symbol}")
    if not parts:
        return _none(target)
    return joined(parts)


def _rows(tape: Tape, minutes: NDArray[np.int64], target: Target, market: str) -> Iterator[Rows]:
    minutes = minutes[np.isfinite(tape.volume[minutes - tape.first - 1])]
    following = next_rate(tape, minutes, target.horizon)
    minutes, following = minutes[np.isfinite(following)], following[np.isfinite(following)]
    for some in range(0, len(minutes), AT_ONCE):
        at, then = minutes[some : some + AT_ONCE], following[some : some + AT_ONCE]
        past = past_at(tape, at)
        now = situations(past, target.horizon, target.trailing)
        good = now.trouble == 0
        steps = target.steps
        sequence = sequences(past, target.horizon, target.trailing, steps) if steps else np.zeros((len(at), 0, 0))
        yield Rows(
            features=now.features[good],
            sequence=sequence[good].astype(np.float32),
            level=now.level[good],
            excess=_excess(then * target.horizon, now.threshold)[good],
            time=at[good] * 60,
            market=np.full(int(good.sum()), market, dtype=object),
        )


def _excess(activity: Doubles, threshold: Doubles) -> Doubles:
    unit = np.where(threshold > 0, threshold, 1.0)
    return np.asarray(np.log(np.maximum(activity, FLOOR * unit) / unit))


def _none(target: Target) -> Rows:
    empty = np.zeros(0)
    features, sequence = np.zeros((0, len(NAMES))), np.zeros((0, target.steps, 0))
    return Rows(features, sequence, empty, empty, empty.astype(np.int64), empty.astype(object))


def past_at(tape: Tape, minutes: NDArray[np.int64]) -> Past:
    """What was known at many moments of one tape: the rows of :meth:`Tape.context`, all at once."""
    lowest = last_window(int(minutes.min())) - PAST
    grid = tape.windows(lowest, last_window(int(minutes.max())) - lowest)
    return past_of_grid(tape.minutes, grid, lowest, minutes)


def next_rate(tape: Tape, minutes: NDArray[np.int64], horizon: int) -> Doubles:
    """Volume per minute of the ``horizon`` minutes from each moment on, NaN when too thin: a label, never a feature."""
    padded = np.concatenate([tape.volume, np.full(horizon, np.nan)])
    return rates(np.lib.stride_tricks.sliding_window_view(padded, horizon)[minutes - tape.first])


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
        return {key: _with_posts(tape, times.get(tape.symbol)) for key, tape in tapes.items()}, "volume"
    if not times:
        raise InputError("None of the posts names a symbol.")
    return {("", symbol): tape_of_posts(symbol, at) for symbol, (at, _) in times.items()}, "posts"


Published = tuple[NDArray[np.int64], tuple[str | None, ...]]


def post_times(files: Sequence[Path]) -> dict[str, Published]:
    """Sorted epoch seconds and authors of the posts about each symbol; ``symbols`` holds codes with commas between them."""
    table = read(files, ("t", "symbols", "asset", "symbol", "author_hash"))
    by_code: dict[str, list[tuple[int, str | None]]] = {}
    times = table["t"].to_pylist()
    authors = table["author_hash"].to_pylist() if "author_hash" in table.column_names else [None] * len(times)
    for column in {"symbols", "asset", "symbol"} & set(table.column_names):
        for at, author, codes in zip(times, authors, table[column].to_pylist(), strict=True):
            for code in (codes or "").split(",") if at is not None else ():
                if code.strip():
                    by_code.setdefault(code.strip(), []).append((int(at), author))
    merged: dict[str, list[tuple[int, str | None]]] = {}
    for code, rows in by_code.items():
        try:
            merged.setdefault(normalize(code), []).extend(rows)
        except UnknownSymbol:
            continue  # a code that is no market name has no candles either
    ordered = {symbol: sorted(rows, key=lambda row: row[0]) for symbol, rows in merged.items()}
    return {s: (np.array([r[0] for r in rows]), tuple(r[1] for r in rows)) for s, rows in ordered.items()}


def _with_posts(tape: Tape, posts: Published | None) -> Tape:
    times, authors = posts or (np.zeros(0, dtype=np.int64), ())
    return Tape(tape.symbol, tape.first, tape.mid, tape.volume, times, authors)


def tape_of_posts(symbol: str, times: NDArray[np.int64]) -> Tape:
    """Posts per minute as the activity; a window without any post within the set's span counts as zero."""
    minutes = times // 60
    first = int(minutes[0])
    counted = np.bincount(minutes - first).astype(np.float64)
    return Tape(symbol, first, np.full(len(counted), np.nan), counted, np.zeros(0, dtype=np.int64))
