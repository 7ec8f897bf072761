"""Fit what a post adds: hot for its author or channel; joins the post's head to the symbol's heads of a checkpoint.

Walk-forward on the first file's posts; the others lend their rows with a weight, always only what came two days before the
fold. The weights of the last fold ship. Platt's calibration on earlier folds was tried and did worse: the folds are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from models import checkpoint
from models.hype.forecast import FOLDER, Head, load_hype, save_hype
from models.manifest import ARTIFACTS
from runtime.progress import progress
from training.hype.figures import Rows, concatenated, scores
from training.hype.fitting import FitOptions, fit
from training.hype.lift import embedded, load_posts, project, projection, rows
from training.hype.recipe import time_of as at
from training.registry import TrainOptions, settings
from training.trajectories.pairs import shipped_embed

DAY = 86_400
HORIZON = 1440
"""Minutes after which a post's likes are taken as its outcome."""


@dataclass(frozen=True, slots=True)
class PostSettings:
    """``files``: below the data folder, with the weight of each one's rows; the first is walked over.

    ``folds``: ISO times at which each starts; ``fewest``: posts of an author; ``fit``: see
    :class:`training.hype.fitting.FitOptions`.
    """

    files: dict[str, float] = field(
        default_factory=lambda: {"founder_tweets/posts.parquet": 1.0, "crypto_posts/posts.parquet": 0.1}
    )
    kind: str = "mean"
    folds: list[str] = field(default_factory=lambda: ["2025-07-30", "2025-09-18", "2025-11-07"])
    fewest: int = 20
    seed: int = 0
    fit: dict[str, Any] = field(default_factory=dict)


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit, walk forward, and write the shipped checkpoint with the new post's head into ``options.out``."""
    choice = settings(PostSettings, config)
    sets = {name: load_posts([options.data / name], choice.fewest) for name in choice.files}
    options.out.mkdir(parents=True, exist_ok=True)
    embed = shipped_embed()
    vectors = {n: embedded(p.text, embed, options.out / "embeddings.safetensors") for n, p in sets.items()}
    start = at(choice.folds[0])
    directions = projection(np.concatenate([vectors[name][posts.time < start] for name, posts in sets.items()]))
    made = {name: rows(posts, project(vectors[name], directions)) for name, posts in sets.items()}
    head, measured = walk(made, choice)
    _save(options.out, head, directions, {"settings": asdict(choice), "held_out": measured})
    return measured


def walk(made: Mapping[str, Rows], choice: PostSettings) -> tuple[Head, dict[str, Any]]:
    """The last fold's head, and the figures of the first file's folds together.

    Raises:
        InputError: nothing lies before the first fold or in the folds.
    """
    own = next(iter(made.values()))
    starts = [at(text) for text in choice.folds]
    fits = settings(FitOptions, choice.fit)
    chances: list[NDArray[np.float64]] = []
    places: list[NDArray[np.intp]] = []
    head = None
    with progress("walk forward, posts", len(starts)) as report:
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], np.inf], strict=True)):
            test = np.flatnonzero((own.time >= start) & (own.time < end))
            train, weights = _before(made, choice, start)
            report(i + 1, f"{len(train)} rows before, {len(test)} after")
            if not len(test) or len(set(train.hot.tolist())) < 2:
                continue
            model = fit(choice.kind, train.features, train.sequence, train.hot, fits, choice.seed, weights)
            base = float(own.hot[own.time < start].mean())
            head = Head("post", model, HORIZON, base, signal=False)
            chances.append(head.probability(own.features[test]))
            places.append(test)
    if head is None:
        raise InputError("There are too few posts before and in the folds to fit anything.")
    scored, earlier = own.take(np.concatenate(places)), own.take(own.time < starts[0])
    measured = scores(np.concatenate(chances), scored, earlier)
    lower = (measured["intervals"]["skill_over_persistence"] or [0.0])[0]
    return Head("post", head.model, HORIZON, head.base_rate, signal=lower > 0), measured


def _before(made: Mapping[str, Rows], choice: PostSettings, start: float) -> tuple[Rows, NDArray[np.float64]]:
    """Rows whose likes were known two days before a time, and their weights."""
    kept = [(some.take(some.time + 2 * DAY <= start), choice.files[name]) for name, some in made.items()]
    return concatenated([some for some, _ in kept]), np.concatenate(
        [np.full(len(some), weight) for some, weight in kept]
    )


def _save(out: Path, head: Head, directions: NDArray[np.float64], about: dict[str, Any]) -> None:
    """The shipped symbol's heads with the new post's head beside them, and the card with a part about it."""
    config = checkpoint.load_config(ARTIFACTS / FOLDER)
    kept = [h for h in load_hype().heads.values() if h.name != "post"]
    card = (ARTIFACTS / FOLDER / checkpoint.CARD).read_text().split("\n## post:")[0].rstrip()
    names = ("heads", "features", "post_features")
    extra = {k: v for k, v in config.items() if k not in names} | {"post": about}
    save_hype(out, [*kept, head], extra, f"{card}\n{_part(head, about)}", directions)


def _part(head: Head, about: dict[str, Any]) -> str:
    m = about["held_out"]
    return f"""
## post: {head.model.kind}, likes a day after the post

Hot: more likes than the 80th percentile of the author's last 50 posts. Earlier posts count only once they are a day old. Files
and their weights: {about["settings"]["files"]}. Walk-forward on the first of them from {about["settings"]["folds"][0]} on:
n {m["n"]}, base rate {m["base_rate"]}, AUC {m["auc"]} (level {m["level_auc"]}, persistence {m["persistence_auc"]}), Brier skill
{m["bss"]}, ECE {m["ece"]}. Intervals (95 %, days drawn): {m["intervals"]}. Signal = {head.signal}. What the other files' rows
weigh was chosen with these folds in view.
"""
