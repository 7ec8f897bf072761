"""Charts per second, 900 × 600 PNG of the same answer: ours, and matplotlib with the same curves and bars.

``peer`` is matplotlib as it is commonly used, a new figure per chart; ``reused`` keeps one figure and clears its axes.

    python -m benchmarks.chart [--charts 60] [--json]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from answer.chart import draw
from benchmarks.report import report
from domain.answer import Json
from domain.types import EMOTIONS, STEPS

MATCHES = 16


def answer(seed: int) -> Json:
    """An answer with random walks for matches; what it looks like does not matter here, its amount does."""
    random = np.random.default_rng(seed)
    walks = np.cumsum(random.standard_t(4, (MATCHES, STEPS)) * 0.06, axis=1)
    mean, width = walks.mean(0), 0.09 * np.sqrt(np.arange(STEPS))
    joint, text = (dict(zip(EMOTIONS, random.dirichlet(np.ones(7)).tolist(), strict=True)) for _ in range(2))
    return {
        "revision": "benchmark",
        "trained_until": "2024-01-01T00:00:00Z",
        "emotions": {"label": max(joint, key=joint.__getitem__), "probabilities": joint, "text": text, "image": None,
                     "faces": 0, "abstained": None, "why": {}},
        "hype": {"symbol": {"probability": 0.3, "base_rate": 0.2, "horizon_minutes": STEPS, "signal": True, "reason": None}},
        "trajectories": {"symbol": "BTC/USDT", "median": mean.tolist(), "low": (mean - width).tolist(),
                         "high": (mean + width).tolist(), "coverage": {"nominal": 0.8}, "baseline_mean": [0.0] * STEPS,
                         "signal": False, "reason": None, "matches_mean": mean.tolist(), "control_mean": [0.1] * STEPS,
                         "independent_windows": 9, "matches": [{"change": walk.tolist()} for walk in walks]},
        "explanation": None,
        "explanation_reason": None,
        "warnings": [],
    }  # fmt: skip


def plot(figure: Figure, told: Json) -> bytes:
    """The same content by matplotlib."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    paths, minutes = told["trajectories"], np.arange(STEPS)
    left.plot(minutes, np.array([match["change"] for match in paths["matches"]]).T, color="0.8", linewidth=0.8)
    left.fill_between(minutes, paths["low"], paths["high"], alpha=0.3, label="80 % band")
    left.plot(minutes, paths["median"], linewidth=2, label="median")
    left.plot(minutes, paths["control_mean"], "--", label="control")
    left.set(xlabel="minutes after the post", ylabel="price change, percent", title="BTC/USDT")
    left.legend()
    right.barh(list(EMOTIONS), [100 * told["emotions"]["probabilities"][label] for label in EMOTIONS])
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def new_figure(told: Json) -> bytes:
    """The common way."""
    return plot(Figure(figsize=(9, 6), dpi=100), told)


def measure(make: Callable[[Json], bytes], answers: list[Json]) -> tuple[float, float, int]:
    """(median seconds, 95th percentile, most bytes) after three to warm up."""
    for told in answers[:3]:
        make(told)
    seconds, size = [], 0
    for told in answers:
        started = time.perf_counter()
        size = max(size, len(make(told)))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1], size


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charts", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="the only form; accepted for uniformity")
    count = parser.parse_args().charts
    mpl.use("agg")
    kept = Figure(figsize=(9, 6), dpi=100)

    def reused(told: Json) -> bytes:
        kept.clear()
        return plot(kept, told)

    answers = [answer(seed) for seed in range(count)]
    ours, ours_p95, ours_bytes = measure(draw, answers)
    peer, _, peer_bytes = measure(new_figure, answers)
    again, _, _ = measure(reused, answers)
    report(
        ours=1 / ours,
        peer=1 / peer,
        unit="charts/s",
        packages=("pillow", "opencv-python-headless", "matplotlib"),
        reused=1 / again,
        ours_p50_ms=1000 * ours,
        ours_p95_ms=1000 * ours_p95,
        ours_most_bytes=ours_bytes,
        peer_most_bytes=peer_bytes,
    )


if __name__ == "__main__":
    main()
