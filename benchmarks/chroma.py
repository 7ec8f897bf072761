"""Chromagrams per second of 256-step trajectories: ours in batches, and librosa one by one; values must be equal to 1e-5.

python -m benchmarks.chroma [--series 2000] [--json]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import report
from models.trajectories.chroma import chromagrams

ROUNDS = 3


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time of the quickest of three rounds after one to warm up, and what it gave."""
    found = work()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = work()
        taken.append(time.process_time() - started)
    return min(taken), found


def by_librosa(rows: NDArray[np.float32], tuning: float | None) -> NDArray[np.float32]:
    """One call per series, as the report did."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack(
            [
                librosa.feature.chroma_stft(S=np.abs(librosa.stft(row, n_fft=256)), sr=4000, n_fft=256, tuning=tuning)
                for row in rows
            ]
        )


def main() -> None:
    """Print one JSON object; ends with 1 where the values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="the only form; accepted for uniformity")
    count = parser.parse_args().series
    torch.set_num_threads(1)
    steps = np.random.default_rng(0).normal(0, 0.05, (count, 256)).astype(np.float32)
    rows = np.cumsum(steps, 1) - steps[:, :1]
    given = torch.from_numpy(rows)
    some = rows[: max(count // 10, 10)]
    ours, values = best(lambda: chromagrams(given))
    tuned, tuned_values = best(lambda: chromagrams(given, None))
    peer, theirs = best(lambda: by_librosa(some, 0.0))
    peer_tuned, theirs_tuned = best(lambda: by_librosa(some, None))
    apart = max(
        float(np.abs(values[: len(some)].numpy() - theirs).max()),
        float(np.abs(tuned_values[: len(some)].numpy() - theirs_tuned).max()),
    )
    report(
        ours=count / ours,
        peer=len(some) / peer,
        unit="chromagrams/s",
        packages=("torch", "librosa", "numpy"),
        ours_tuning_estimated=count / tuned,
        peer_tuning_estimated=len(some) / peer_tuned,
        largest_difference=apart,
    )
    if apart > 1e-5:
        raise SystemExit(f"The values differ by {apart}.")


if __name__ == "__main__":
    main()
