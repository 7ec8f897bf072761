"""Pairs of posts and the 256 minutes after them, from posts and candles in bulk (report 000).

p = (open + close) / 2; the first candle is the one that opens at or after the post; y = 100 · (p / p0 - 1). The minutes are
contiguous: a window with a hole is refused with its reason. The lazy form holds prices once and one int32 per pair; a window
is gathered when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.errors import InputError
from domain.symbols import normalize
from domain.types import STEPS, Floats
from training.trajectories.pairs import BIN, read, texts_of, words_key
from training.trajectories.tape import MINUTE_SECONDS, Tape

REASONS = (
    "no words", "no coin named", "several coins named", "no candles of the coin", "outside the candles",
    "a minute is missing", "same words again", "bin full",
)  # fmt: skip
"""Why a post gives no pair, in the order in which they are asked."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Posts:
    """``time``: epoch seconds; ``symbol``: ccxt pair, "" for none; ``coins``: how many the post names."""

    source: NDArray[Any]
    time: Ints
    text: NDArray[Any]
    symbol: NDArray[Any]
    coins: Ints


@dataclass(frozen=True, slots=True, eq=False)
class LazyPairs:
    """``prices``: float32, mid prices of all tapes one after the other; ``first``: int32[n], row of each pair's p0.

    ``post``: int64[n], row of its post; ``venue``: exchange of its candles; ``refused``: posts by reason.
    """

    prices: Floats
    first: NDArray[np.int32]
    post: Ints
    venue: NDArray[Any]
    refused: dict[str, int]

    def __len__(self) -> int:
        return len(self.first)

    def change(self, index: NDArray[Any] | slice = slice(None)) -> Floats:
        """Trajectories float32 (n, 256) of these pairs, in percent since their first minute."""
        windows = np.lib.stride_tricks.sliding_window_view(self.prices, STEPS)[self.first[index]]
        return np.asarray(100.0 * (windows / windows[:, :1] - 1.0), dtype=np.float32)

    def take(self, index: NDArray[Any]) -> LazyPairs:
        """The pairs at these positions, or under this mask."""
        return replace(self, first=self.first[index], post=self.post[index], venue=self.venue[index])


def load_posts(files: Sequence[Path]) -> Posts:
    """Posts of parquet files with ``t``, ``text`` and ``symbols`` ("BTC,ETH") or ``symbol``.

    Raises:
        InputError: a column is missing.
    """
    table = read(files, ("source", "t", "text", "symbols", "symbol"))
    lacking = {"t", "text"} - set(table.column_names)
    if lacking or not {"symbols", "symbol"} & set(table.column_names):
        raise InputError(f"The posts lack the columns {', '.join(sorted(lacking or {'symbols'}))}.")
    named = texts_of(table, "symbols", "symbol", default="")
    coins = np.array([len([c for c in cell.split(",") if c.strip()]) for cell in named], dtype=np.int64)
    known = {cell: normalize(cell.split(",")[0].strip()) if cell.strip() else "" for cell in set(named.tolist())}
    symbol = np.array([known[cell] for cell in named], dtype=object)
    time = table["t"].to_numpy().astype(np.int64)
    return Posts(texts_of(table, "source", default="file"), time, texts_of(table, "text", default=""), symbol, coins)


def join(posts: Posts, tapes: Mapping[tuple[str, str], Tape], *, several: bool = False) -> LazyPairs:
    """All sound pairs in order of time; a coin on several venues takes the one with the longest tape that has the window.

    ``several`` keeps posts that name more than one coin (paired with the first).
    """
    reason = np.full(len(posts.time), -1, dtype=np.int64)
    wordless = np.array([not text.strip() for text in posts.text], dtype=bool)
    reason[(posts.coins > 1) & (not several)] = 2
    reason[posts.symbol == ""] = 1
    reason[wordless] = 0
    open_ = reason < 0
    prices, offset = [], 0
    first, venue = np.full(len(posts.time), -1, dtype=np.int64), np.full(len(posts.time), "", dtype=object)
    reason[open_] = 3
    for (exchange, symbol), tape in sorted(tapes.items(), key=lambda item: -len(item[1].mid)):
        rows = np.flatnonzero(open_ & (posts.symbol == symbol) & (first < 0))
        if not len(rows):
            continue
        place = -(-posts.time[rows] // MINUTE_SECONDS) - tape.first
        inside = (place >= 0) & (place + STEPS <= len(tape.mid))
        known = np.concatenate([[0], np.cumsum(np.isfinite(tape.mid) & (tape.mid > 0))])
        at = np.clip(place, 0, max(len(tape.mid) - STEPS, 0))
        whole = inside & (known[np.minimum(at + STEPS, len(tape.mid))] - known[at] == STEPS)
        reason[rows] = np.maximum(reason[rows], np.where(inside, 5, 4))
        first[rows[whole]] = offset + place[whole]
        venue[rows[whole]] = exchange
        reason[rows[whole]] = -1
        prices.append(tape.mid.astype(np.float32))
        offset += len(tape.mid)
    kept = np.flatnonzero(first >= 0)
    kept = kept[np.argsort(posts.time[kept], kind="stable")]
    counts = {name: int((reason == i).sum()) for i, name in enumerate(REASONS)}
    joined = np.concatenate(prices) if prices else np.zeros(STEPS, np.float32)
    return LazyPairs(joined, first[kept].astype(np.int32), kept.astype(np.int64), venue[kept], counts)


def thinned(pairs: LazyPairs, posts: Posts, per_bin: int = 20, *, repeats: bool = False) -> LazyPairs:
    """Without later posts of the same words for a coin (unless ``repeats``), and at most ``per_bin`` per coin and bin."""
    seen: set[tuple[str, str]] = set()
    filled: dict[tuple[str, int], int] = {}
    keep = np.zeros(len(pairs), dtype=bool)
    again = full = 0
    for i, row in enumerate(pairs.post):
        words = (posts.symbol[row], words_key(posts.text[row]))
        if not repeats and words in seen:
            again += 1
            continue
        seen.add(words)
        place = (posts.symbol[row], int(posts.time[row]) // BIN)
        filled[place] = filled.get(place, 0) + 1
        keep[i] = filled[place] <= per_bin
        full += not keep[i]
    taken = pairs.take(keep)
    return replace(taken, refused=pairs.refused | {"same words again": again, "bin full": full})


def write(path: Path, pairs: LazyPairs, posts: Posts, batch: int = 20_000) -> None:
    """The pairs as parquet of the published columns, ``batch`` windows in memory at a time."""
    schema = pa.schema(
        [
            ("source", pa.string()), ("symbol", pa.string()), ("t", pa.int64()), ("text", pa.string()),
            ("pct256", pa.list_(pa.float32(), STEPS)), ("start_minute", pa.int64()), ("exchange", pa.string()),
        ]
    )  # fmt: skip
    part = path.with_name(path.name + ".part")
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for start in range(0, max(len(pairs), 1), batch):
            rows = pairs.post[start : start + batch]
            flat = pairs.change(slice(start, start + batch)).ravel()
            writer.write_table(
                pa.table(
                    {
                        "source": pa.array(posts.source[rows], pa.string()),
                        "symbol": pa.array(posts.symbol[rows], pa.string()),
                        "t": posts.time[rows],
                        "text": pa.array(posts.text[rows], pa.string()),
                        "pct256": pa.FixedSizeListArray.from_arrays(pa.array(flat), STEPS),
                        "start_minute": -(-posts.time[rows] // MINUTE_SECONDS) * MINUTE_SECONDS,
                        "exchange": pa.array(pairs.venue[start : start + batch], pa.string()),
                    },
                    schema=schema,
                )
            )
    part.replace(path)
