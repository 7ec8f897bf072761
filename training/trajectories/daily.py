"""Daily prices, volumes and posts of a coin, and how they go together (report 000, corrected)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.trajectories.build import load_posts
from training.trajectories.pairs import find_tape, load_tapes, parquet_files
from training.trajectories.tape import Tape

DAY_MINUTES = 1440
COINS = ("BTC/USDT", "ETH/USDT", "XRP/USDT", "DOGE/USDT")


def correlations(folder: Path, out: Path) -> dict[str, Any]:
    """Pearson correlation by coin of posts a day with the day's close, its volume and its size, over whole days with posts.

    The report's own posts (Twint, 2021) are not to be had: posts of the nearest kind below the folder stand in, of each coin
    those of its best-covered source. Pictures of price and volume beside posts go into ``out``.
    """
    from training.trajectories import reproduce_plots as plots

    posts = load_posts([p for p in parquet_files(folder, "posts") if "founder" not in str(p.parent)])
    tapes = load_tapes(parquet_files(folder, "candles"))
    found: dict[str, Any] = {}
    for coin in COINS:
        tape = find_tape(tapes, "binance", coin)
        mine = posts.symbol == coin
        if tape is None or not mine.any():
            continue
        sources = sorted(set(posts.source[mine].astype(str)))
        by_source = {name: _days(tape, posts.time[mine & (posts.source == name)]) for name in sources}
        source = max(by_source, key=lambda name: len(by_source[name]))
        rows = by_source[source]
        if len(rows) < 10:
            continue
        count, close, volume, move = np.array(rows, dtype=float).T
        found[coin] = {"source": source, "days": len(rows)} | {
            f"posts and {name}": round(float(np.corrcoef(count, other)[0, 1]), 3)
            for name, other in (("close", close), ("volume", volume), ("size of move", move))
        }
        plots.daily(out / f"000_daily_{coin.partition('/')[0]}.png", count, close, volume)
    return found


def _days(tape: Tape, times: NDArray[np.int64]) -> list[tuple[float, float, float, float]]:
    """Posts, close, volume and size of the move of each day (UTC) with posts and nearly all of its minutes."""
    rows = []
    for day, count in zip(*np.unique(times // 86_400, return_counts=True), strict=True):
        start = int(day) * DAY_MINUTES - tape.first
        if start < 0 or start + DAY_MINUTES > len(tape.mid):
            continue
        mid, volume = tape.mid[start : start + DAY_MINUTES], tape.volume[start : start + DAY_MINUTES]
        if np.isfinite(mid).mean() > 0.98:
            seen = mid[np.isfinite(mid)]
            rows.append((float(count), float(seen[-1]), float(np.nansum(volume)), float(abs(seen[-1] / seen[0] - 1))))
    return rows
