"""Posts per second on one GPU, tokenising included: the worker's text reader and whole path, and the common ways beside.

All sides have the same weights and texts; the slow ones read the first ``SLOW`` of them. ``ours`` is the text reader in
batches of ``LARGE``, the next one tokenised in a second thread, as two of a worker's threads do; ``text_reader_in_turn`` has
no second thread, ``text_reader_256`` is that in the worker's usual batches, and ``whole_path`` adds mood, hype and retrieval
(batches of 256, one thread). ``peer`` is the transformers text-classification pipeline as it comes (batch 32, fp32); batch
256 and bf16 are measured beside it, and sentence-transformers' ``encode`` (batch 32, fp32) where it is installed.
Sides take turns; each figure is the median of the rounds, the GPU waited for. Each round's rate is told on standard error
at once, so that a lease that ends early leaves something.

``share_of_time`` splits the text reader without a second thread: tokenising (naming of emoji included) and the network are
timed alone on the same texts, the rest is languages and answers. Operations are those of the layers' matrix products and of
attention over real tokens, 2 per multiply-add; the peak is an 8192³ product in bfloat16 of random numbers in the same run.

    python -m benchmarks.encode_gpu [--data posts.parquet] [--posts 20000] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.encode import (
    BATCH,
    PEER_BATCH,
    Side,
    WholePath,
    agreement,
    made_up,
    pipeline,
    real,
    sentence_transformers,
    text_reader,
)
from benchmarks.report import report
from benchmarks.retrieve import DIMENSIONS, SYMBOL, library, plain
from benchmarks.retrieve import ours as search
from benchmarks.retrieve import rates as query_rates
from domain.errors import MoodtapeError
from domain.types import from_micros
from models.device import choose
from models.emotion.text import EmotionTextReader
from models.manifest import ARTIFACTS
from models.parts import TextReading
from models.trajectories.index import SeriesIndex

LARGE = 4096
"""Posts in a large batch: what a worker takes with MOODTAPE_BATCH_POSTS=4096."""

SLOW = 4096
"""Posts that a side without large batches reads in a round."""

PEAK = 8192
"""Rows and columns of the product that shows the peak."""

NO_GPU = "there is no CUDA device here; on a CPU: python -m benchmarks.encode"
ROWS, QUERIES = 100_000, 512


def seconds(work: Callable[[], Any]) -> float:
    """What a piece of work takes by the wall clock, the GPU waited for."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def rates(sides: dict[str, Side], rounds: int) -> dict[str, float]:
    """Median posts per second of each side; before, each reads some posts to warm up."""
    for work, texts in sides.values():
        work(texts[:LARGE] if len(texts) > SLOW else texts[:BATCH])
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (work, texts) in sides.items():
            taken[name].append(seconds(partial(work, texts)))
            print(f"{name}: {len(texts) / taken[name][-1]:.0f} posts/s", file=sys.stderr, flush=True)
    return {name: len(sides[name][1]) / median(taken[name]) for name in sides}


def batches(texts: Sequence[str], size: int = LARGE) -> list[Sequence[str]]:
    """The texts in batches."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def overlapped(reader: EmotionTextReader, texts: Sequence[str]) -> list[TextReading]:
    """Large batches, each tokenised while the one before is read."""
    found: list[TextReading] = []
    cut = batches(texts)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.tokenise, cut[0])
        for number, batch in enumerate(cut):
            ids = waiting.result()
            if number + 1 < len(cut):
                waiting = pool.submit(reader.tokenise, cut[number + 1])
            found += reader.read(batch, ids=ids)
    return found


def operations(reader: EmotionTextReader, lengths: Sequence[int]) -> float:
    """Multiplications and additions of the layers for texts of so many tokens."""
    layers = reader.net.encoder.model.encoder.layer  # type: ignore[union-attr]  # a BERT
    weights = [m.weight.numel() for m in layers.modules() if isinstance(m, torch.nn.Linear)]  # type: ignore[union-attr]
    width, depth = reader.net.encoder.width, len(layers)  # type: ignore[arg-type]
    tokens = np.asarray(lengths, dtype=np.float64)
    return float(2 * sum(weights) * tokens.sum() + 4 * depth * width * (tokens**2).sum())


def peak(times: int = 30) -> float:
    """Operations per second of a large product in bfloat16, random numbers, the median."""
    x, y = torch.randn(2, PEAK, PEAK, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        x @ y
    return 2 * PEAK**3 / median(on_gpu(lambda: x @ y) for _ in range(times))


def on_gpu(work: Callable[[], Any]) -> float:
    """Seconds between two events on the GPU."""
    event: Any = torch.cuda.Event
    first, last = event(enable_timing=True), event(enable_timing=True)
    first.record()
    work()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / 1000


def stages(reader: EmotionTextReader, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Where the text reader's time goes, and what the network reaches alone."""
    cut = batches(texts)
    ids = [reader.tokenise(batch) for batch in cut]

    def network() -> None:
        for batch in ids:
            reader.net.probabilities(reader.net.infer(batch, reader.dtype))

    network()
    measures: tuple[Callable[[], float], ...] = (
        lambda: seconds(lambda: text_reader(reader, texts, LARGE)),
        lambda: seconds(lambda: [reader.tokenise(batch) for batch in cut]),
        lambda: seconds(network),
        lambda: on_gpu(network),
    )
    whole, tokenising, alone, busy = (median(measure() for _ in range(rounds)) for measure in measures)
    lengths = [len(row) for batch in ids for row in batch]
    work, most = operations(reader, lengths), peak()
    return {
        "share_of_time_tokenising": tokenising / whole,
        "share_of_time_network": alone / whole,
        "share_of_time_rest": 1 - (tokenising + alone) / whole,
        "tokenising_microseconds_per_post": tokenising / len(texts) * 1e6,
        "network_microseconds_per_post": alone / len(texts) * 1e6,
        "network_microseconds_per_post_by_events": busy / len(texts) * 1e6,
        "tokens_per_post": float(np.mean(lengths)),
        "bf16_peak_tflops": most / 1e12,
        "network_tflops": work / alone / 1e12,
        "network_share_of_bf16_peak": work / alone / most,
        "operations_per_post": work / len(texts),
    }


def retrieval(rounds: int) -> dict[str, float]:
    """Queries per second of the exact ten nearest on the GPU, batches of 64, and of numpy on this machine's cores."""
    draw = np.random.default_rng(7)
    index = SeriesIndex(library(ROWS, draw), "cuda")
    shelf = index.shelf(SYMBOL)
    assert shelf is not None
    queries = draw.normal(size=(QUERIES, DIMENSIONS)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    moment = from_micros(int(shelf.ends[-1]))
    found = query_rates(
        {"gpu": lambda q: search(index, q, moment), "numpy": lambda q: plain(shelf.vectors, q)}, queries, rounds
    )
    pairs = zip(search(index, queries, moment), plain(shelf.vectors, queries), strict=True)
    return {
        "retrieval_queries_per_second": found["gpu"],
        "retrieval_queries_per_second_numpy": found["numpy"],
        "retrieval_recall_at_10": float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs])),
    }


def whole_path(reader: EmotionTextReader) -> WholePath | None:
    """The worker's path; None where something that it needs is not here, which must not cost the other figures."""
    try:
        return WholePath(reader)
    except MoodtapeError as error:
        print(f"The whole path is left out: {error}", file=sys.stderr, flush=True)
        return None


def all_sides(reader: EmotionTextReader, whole: WholePath | None, texts: Sequence[str]) -> dict[str, Side]:
    """Every way to read the texts, ours first."""
    few = texts[:SLOW]
    sides: dict[str, Side] = {
        "text_reader": (partial(overlapped, reader), texts),
        "text_reader_in_turn": (partial(text_reader, reader, batch=LARGE), texts),
        "text_reader_256": (partial(text_reader, reader), texts),
        **({"whole_path": (whole, few)} if whole else {}),
        "pipeline": (pipeline(reader), few),
        "pipeline_256": (pipeline(reader, BATCH), few),
        "pipeline_bf16": (pipeline(reader, PEER_BATCH, torch.bfloat16), few),
        "pipeline_bf16_256": (pipeline(reader, BATCH, torch.bfloat16), few),
    }
    if (package := sentence_transformers(reader)) is not None:
        sides["sentence_transformers"] = (package, few)
    return sides


def memory(reader: EmotionTextReader, texts: Sequence[str]) -> dict[str, float]:
    """MB on the GPU: the reader's weights, and the most while it reads large batches."""
    text_reader(reader, texts[:BATCH])
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    text_reader(reader, texts, LARGE)
    return {"gpu_mb_loaded": weights / 1e6, "gpu_mb_most": torch.cuda.max_memory_allocated() / 1e6}


def main() -> None:
    """Measure and print; says so where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if choose() != "cuda":
        print(json.dumps({"skipped": NO_GPU}))
        return
    texts = real(given.data, given.posts) if given.data else made_up(given.posts)
    reader = EmotionTextReader.from_pretrained(ARTIFACTS / "emotion-text", device="cuda")
    used = memory(reader, texts)
    whole = whole_path(reader)
    sides = all_sides(reader, whole, texts)
    found = rates(sides, given.rounds)
    parts = stages(reader, texts, given.rounds)
    work = parts["operations_per_post"] / parts["bf16_peak_tflops"] / 1e12
    report(
        ours=found["text_reader"],
        peer=found["pipeline"],
        unit="posts per second of the text reader against the pipeline (batch 32, fp32), one GPU, tokenising included",
        **{f"{name}_per_second": rate for name, rate in found.items()},
        **{f"ratio_of_{name}": rate / found["pipeline"] for name, rate in found.items() if name != "pipeline"},
        ratio_to_best_pipeline=found["text_reader"] / max(v for k, v in found.items() if k.startswith("pipeline")),
        text_reader_share_of_bf16_peak=found["text_reader"] * work,
        **parts,
        **(whole.shares(min(SLOW, len(texts))) if whole else {}),
        precision=str(reader.dtype).removeprefix("torch."),
        **agreement(reader, texts[:SLOW]),
        **used,
        **retrieval(given.rounds),
        device=torch.cuda.get_device_name(),
        cores=len(os.sched_getaffinity(0)),
        posts=len(texts),
        posts_of_slow_sides=min(SLOW, len(texts)),
        packages=(
            "torch",
            "transformers",
            "tokenizers",
            *(["sentence-transformers"] if "sentence_transformers" in sides else []),
        ),
    )


if __name__ == "__main__":
    main()
