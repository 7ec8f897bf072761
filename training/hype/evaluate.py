"""Hype on windows of candles, of posts alone, or of the likes that posts earned, against base rate, level and persistence.

``--data`` files are told apart by their columns: candles (the traded volume of the next 15 and 60 minutes), posts with likes
(this post's likes over its author's trailing 80th percentile), posts with symbols alone (their number in the next window).
Outcomes of one market do not overlap. ``level_auc`` ranks by the last window over the threshold alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.errors import InputError
from models.hype.forecast import HypeHeads, load_hype
from models.manifest import ARTIFACTS
from training.hype.figures import figures, reliability
from training.hype.windows import Target, load_activity, windows
from training.registry import EvaluateOptions


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures of the shipped models on files of the published columns; the first horizon's stand at the top.

    Raises:
        InputError: no file is given, or nothing is left to score.
    """
    files = [*options.data, *options.candles, *options.posts]
    if not files:
        raise InputError("Say what to score: --data FILE (and more for posts).")
    model = load_hype(options.artifacts or ARTIFACTS)
    return symbols(model, options, files)


def symbols(model: HypeHeads, options: EvaluateOptions, files: list[Any]) -> dict[str, Any]:
    """Figures of every horizon; the shortest at the top level, all of them under ``horizons``."""
    tapes, measure = load_activity(files)
    horizons = {}
    for head in model.of_symbols():
        steps = 96 if head.sequential else 0
        rows = windows(tapes, Target(head.horizon, head.trailing, steps), head.horizon)
        start = options.since.timestamp() if options.since else -np.inf
        scored = rows.take(rows.time >= start)
        if options.limit and len(scored) > options.limit:
            chosen = np.random.default_rng(options.seed).permutation(len(scored))[: options.limit]
            scored = scored.take(np.sort(chosen))
        if not len(scored):
            raise InputError("No window is left to score: too few minutes before --since's end, or too many gaps.")
        earlier = rows.take(rows.time + head.horizon * 60 <= start)
        measured = figures(head, scored, earlier if len(earlier) else scored)
        chances = head.probability(scored.features, scored.sequence)
        horizons[str(head.horizon)] = {**measured, "reliability": reliability(chances, scored.hot)}
    first = next(iter(horizons))
    return {"measure": measure, "horizon_minutes": int(first), **horizons[first], "horizons": horizons}
