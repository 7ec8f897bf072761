"""Hype on windows of candles, of posts alone, or of the likes that posts earned, against base rate, level and persistence.

``--data`` files are told apart by their columns: candles (the traded volume of the next 15 and 60 minutes), posts with likes
(this post's likes over its author's trailing 80th percentile), posts with symbols alone (their number in the next window).
Outcomes of one market do not overlap. ``level_auc`` ranks by the last window over the threshold alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domain.errors import InputError
from models.hype.forecast import HypeHeads, load_hype
from models.hype.lift import COMPONENTS, LEAST
from models.manifest import ARTIFACTS
from training.hype.figures import figures, joined, reliability, scores
from training.hype.lift import by_author, embedded, has_likes, load_posts, project, rows
from training.hype.windows import Target, load_activity, windows
from training.registry import EvaluateOptions
from training.trajectories.pairs import shipped_embed


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures of the shipped models on files of the published columns; the first horizon's stand at the top.

    Raises:
        InputError: no file is given, or nothing is left to score.
    """
    files = [*options.data, *options.candles, *options.posts]
    if not files:
        raise InputError("Say what to score: --data FILE (and more for posts).")
    model = load_hype(options.artifacts or ARTIFACTS)
    liked = [path for path in files if has_likes(path)]
    others = [path for path in files if path not in liked]
    if not others and "post" in model.heads:
        found = likes(model, options, liked)
    else:
        found = symbols(model, options, files)
        if liked and "post" in model.heads:
            found["post"] = likes(model, options, liked)
    if options.plots is not None:
        found["plots"] = diagrams(found, options.plots)
    return found


def likes(model: HypeHeads, options: EvaluateOptions, files: Sequence[Path]) -> dict[str, Any]:
    """Of posts with likes by known authors: hot for the author or not; each file is walked through in time order.

    Earlier posts count only once they are a day old, as in the live store. ``by_author`` has the authors with a hundred or
    more judged posts.
    """
    head = model.heads["post"]
    embed = shipped_embed(options.artifacts) if options.artifacts else shipped_embed()
    made = []
    for path in files:
        posts = load_posts([path])
        vectors = embedded(posts.text, embed)
        directions = model.projection if model.projection is not None else np.eye(384, COMPONENTS)
        made.append(rows(posts, project(vectors, directions)))
    joint = joined(made)
    start = options.since.timestamp() if options.since else -np.inf
    scored, earlier = joint.take(joint.time >= start), joint.take(joint.time < start)
    if options.limit and len(scored) > options.limit:
        chosen = np.random.default_rng(options.seed).permutation(len(scored))[: options.limit]
        scored = scored.take(np.sort(chosen))
    if not len(scored):
        raise InputError(f"No post is left to score: each needs {LEAST} earlier ones of its author with likes.")
    chances = head.probability(scored.features)
    measured = scores(chances, scored, earlier if len(earlier) else scored)
    return {
        "measure": "likes",
        "horizon_minutes": head.horizon,
        **measured,
        "reliability": reliability(chances, scored.hot),
        "by_author": by_author(scored, chances),
    }


def diagrams(found: dict[str, Any], folder: Path) -> list[str]:
    """Reliability diagrams of all targets in one picture; returns its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    targets = {f"{h} minutes": part for h, part in found.get("horizons", {}).items()}
    targets |= {"likes of a post": found.get("post", found)} if found["measure"] == "likes" or "post" in found else {}
    for name, part in targets.items():
        points = part["reliability"]
        axes.plot([p["forecast"] for p in points], [p["happened"] for p in points], marker="o", label=name)
    axes.set(xlabel="forecast", ylabel="happened", title="Hype: forecast and what happened")
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "hype-reliability.png", dpi=100)
    return ["hype-reliability.png"]


def symbols(model: HypeHeads, options: EvaluateOptions, files: Sequence[Path]) -> dict[str, Any]:
    """Figures of every horizon; the shortest at the top level, all of them under ``horizons``."""
    tapes, measure = load_activity(files)
    horizons = {}
    for head in model.of_symbols():
        steps = 96 if head.sequential else 0
        moments = windows(tapes, Target(head.horizon, head.trailing, steps), head.horizon)
        start = options.since.timestamp() if options.since else -np.inf
        scored = moments.take(moments.time >= start)
        if options.limit and len(scored) > options.limit:
            chosen = np.random.default_rng(options.seed).permutation(len(scored))[: options.limit]
            scored = scored.take(np.sort(chosen))
        if not len(scored):
            raise InputError("No window is left to score: too few minutes before --since's end, or too many gaps.")
        earlier = moments.take(moments.time + head.horizon * 60 <= start)
        measured = figures(head, scored, earlier if len(earlier) else scored)
        chances = head.probability(scored.features, scored.sequence)
        horizons[str(head.horizon)] = {**measured, "reliability": reliability(chances, scored.hot)}
    first = next(iter(horizons))
    return {"measure": measure, "horizon_minutes": int(first), **horizons[first], "horizons": horizons}
