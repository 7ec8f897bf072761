"""Queries per second for the exact ten nearest of 100,000 vectors of 256 dimensions, one core: the index and plain numpy.

``ours`` is :meth:`SeriesIndex.search` as the worker calls it, batches of 64, with the point-in-time, overlap and
near-duplicate rules at work; the rows lie far enough apart for the rules to drop none, so both sides must find the same
ten. ``peer`` is one float32 product and ``argpartition`` per query, with numpy's OpenBLAS as it comes. Sides take turns.

    python -m benchmarks.retrieve [--rows 100000] [--queries 512] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.report import report
from domain.types import STEPS, Floats, LibraryRows, from_micros
from models.trajectories.index import MICROS_PER_WINDOW, SeriesIndex

SYMBOL = "BTC/USDT"
DIMENSIONS = 256
K = 10
TUNED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
BATCH = 64


def library(count: int, draw: np.random.Generator) -> LibraryRows:
    """Random unit vectors, one per window, no two windows touching."""
    vectors = draw.normal(size=(count, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = np.arange(count, dtype=np.int64) * MICROS_PER_WINDOW
    return LibraryRows(
        post_ids=tuple(f"p:{n}" for n in range(count)),
        sources=("made up",) * count,
        symbols=(SYMBOL,) * count,
        posted_at=times,
        starts_at=times,
        embedding=vectors.astype(np.float16),
        change=np.zeros((count, STEPS), np.float16),
        volatility=np.ones(count, np.float32),
    )


def ours(index: SeriesIndex, queries: Floats, moment: datetime) -> list[list[int]]:
    """Rows found per query, best first."""
    out: list[list[int]] = []
    for start in range(0, len(queries), BATCH):
        part = queries[start : start + BATCH]
        hits = index.search(part, [SYMBOL] * len(part), [moment] * len(part), k=K)
        out += [[hit.row for hit in found] for found in hits]
    return out


def plain(vectors: Floats, queries: Floats) -> list[list[int]]:
    """One product and one partial sort per query."""
    out: list[list[int]] = []
    for query in queries:
        scores = vectors @ query
        near = np.argpartition(scores, -K)[-K:]
        out.append([int(i) for i in near[np.argsort(-scores[near])]])
    return out


def rates(sides: dict[str, Callable[[Floats], Any]], queries: Floats, rounds: int = 4) -> dict[str, float]:
    """Queries per second by the wall clock, the sides taking turns, the best of some rounds after one to warm up."""
    best = dict.fromkeys(sides, float("inf"))
    for n in range(rounds + 1):
        for name, work in sides.items():
            started = time.perf_counter()
            work(queries)
            best[name] = min(best[name], time.perf_counter() - started) if n else best[name]
    return {name: len(queries) / seconds for name, seconds in best.items()}


def as_it_comes() -> None:
    """Start over without the variables that tune OpenBLAS: they would choose the peer's kernel or its cache."""
    if tuned := [name for name in TUNED if os.environ.pop(name, None) is not None]:
        print(f"started over without {', '.join(tuned)}", file=sys.stderr)
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.retrieve", *sys.argv[1:]])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    as_it_comes()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    draw = np.random.default_rng(7)
    rows = library(given.rows, draw)
    index = SeriesIndex(rows)
    shelf = index.shelf(SYMBOL)
    assert shelf is not None
    queries = draw.normal(size=(given.queries, DIMENSIONS)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    moment = from_micros(int(shelf.ends[-1]))
    with threadpool_limits(1):
        sides = {"ours": lambda q: ours(index, q, moment), "peer": lambda q: plain(shelf.vectors, q)}
        found = rates(sides, queries)
        pairs = zip(ours(index, queries, moment), plain(shelf.vectors, queries), strict=True)
        kernels = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    recall = float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))
    report(
        ours=found["ours"],
        peer=found["peer"],
        unit="queries per second on one core by the wall clock",
        numpy_kernel=[
            f"{pool['internal_api']} {pool['architecture']}, {pool['num_threads']} thread" for pool in kernels
        ],
        torch_threads=torch.get_num_threads(),
        recall_at_10=recall,
        rows=given.rows,
        dimensions=DIMENSIONS,
        batch=BATCH,
        packages=("numpy", "torch"),
    )


if __name__ == "__main__":
    main()
