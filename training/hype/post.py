"""Fit what a post adds: hot for its author or channel; joins the post's head to the symbol's heads of a checkpoint.

Walk-forward on the first file's posts; the others lend their rows with a weight, always only what came two days before the
fold. The candidate that ranks best on the folds before the first test fold is taken: nothing is chosen on what is reported.
Each fold is calibrated (Platt, 1999) on the forecasts of those before it. The weights of the last fold ship.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from models import checkpoint
from models.hype.forecast import FOLDER, Head, Model, load_hype, save_hype
from models.manifest import ARTIFACTS
from runtime.progress import progress
from training.hype.figures import Rows, concatenated, scores
from training.hype.fitting import FitOptions, fit, platt
from training.hype.lift import embedded, load_posts, project, projection, rows
from training.hype.recipe import time_of as at
from training.metrics import auc
from training.registry import TrainOptions, settings
from training.trajectories.pairs import shipped_embed

DAY = 86_400
HORIZON = 1440
"""Minutes after which a post's likes are taken as its outcome."""


@dataclass(frozen=True, slots=True)
class PostSettings:
    """``files``: below the data folder, with the weight of each one's rows; the first is walked over.

    ``candidates``: other settings to choose from, by the folds that start at ``choose``; ``folds``: ISO times at which each
    test fold starts; ``fewest``: posts of an author, ``others``: of one of a further file, ``newest``: how many of them;
    ``fit``: see :class:`training.hype.fitting.FitOptions`.
    """

    files: dict[str, float] = field(default_factory=lambda: {"founder_tweets/posts.parquet": 1.0})
    kind: str = "blend"
    candidates: list[dict[str, Any]] = field(default_factory=list)
    choose: list[str] = field(default_factory=list)
    folds: list[str] = field(default_factory=lambda: ["2025-07-30", "2025-09-18", "2025-11-07"])
    fewest: int = 20
    others: int = 100
    newest: int = 200
    seed: int = 0
    fit: dict[str, Any] = field(default_factory=dict)

    def candidate(self, other: Mapping[str, Any]) -> PostSettings:
        """These settings with those of a candidate; of files the weights it names."""
        files = {**self.files, **other.get("files", {})}
        return replace(self, kind=other.get("kind", self.kind), files=files, fit={**self.fit, **other.get("fit", {})})


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit, walk forward, and write the shipped checkpoint with the new post's head into ``options.out``."""
    choice = settings(PostSettings, config)
    sets = {
        n: load_posts([options.data / n], *((choice.others, choice.newest) if i else (choice.fewest,)))
        for i, n in enumerate(choice.files)
    }
    options.out.mkdir(parents=True, exist_ok=True)
    embed = shipped_embed()
    vectors = {n: embedded(p.text, embed, options.out / "embeddings.safetensors") for n, p in sets.items()}
    start = at([*choice.choose, *choice.folds][0])
    directions = projection(np.concatenate([vectors[name][posts.time < start] for name, posts in sets.items()]))
    made = {name: rows(posts, project(vectors[name], directions)) for name, posts in sets.items()}
    head, measured = walk(made, choice)
    _save(options.out, head, directions, {"settings": asdict(choice), "held_out": measured})
    return measured


def walk(made: Mapping[str, Rows], choice: PostSettings) -> tuple[Head, dict[str, Any]]:
    """The last fold's head, and the figures of the first file's test folds together, with what was chosen and how.

    Raises:
        InputError: nothing lies before the first fold or in the folds.
    """
    own = next(iter(made.values()))
    tried, taken, seen = _chosen(made, choice)
    walked = list(_folds(made, taken, [at(text) for text in choice.folds], np.inf))
    if not walked:
        raise InputError("There are too few posts before and in the folds to fit anything.")
    chances, head = [], None
    for model, test, logit in walked:
        before = own.hot[own.time < own.time[test[0]]]
        slope, shift = platt(*(np.concatenate(part) for part in zip(*seen, strict=True))) if seen else (1.0, 0.0)
        head = Head("post", model, HORIZON, float(before.mean()), signal=False, slope=slope, shift=shift)
        chances.append(head.probability(own.features[test]))
        seen.append((logit, own.hot[test]))
    assert head is not None
    scored = own.take(np.concatenate([test for _, test, _ in walked]))
    measured = scores(np.concatenate(chances), scored, own.take(own.time < at(choice.folds[0])))
    lower = (measured["intervals"]["skill_over_persistence"] or [0.0])[0]
    return replace(head, signal=lower > 0), {**measured, "tried": tried}


Seen = list[tuple[NDArray[np.float64], NDArray[np.bool_]]]
"""Logits of earlier folds and what happened."""


def _chosen(made: Mapping[str, Rows], choice: PostSettings) -> tuple[list[dict[str, Any]], PostSettings, Seen]:
    """Every candidate with its AUC before the test folds, the settings of the best one, and what it said there."""
    own = next(iter(made.values()))
    candidates = [choice.candidate(other) for other in choice.candidates] or [choice]
    if not choice.choose:
        return [], candidates[0], []
    starts, end = [at(text) for text in choice.choose], at(choice.folds[0])
    tried, seen = [], []
    for other, candidate in zip(choice.candidates or [{}], candidates, strict=True):
        said = [(logit, own.hot[test]) for _, test, logit in _folds(made, candidate, starts, end)]
        if not said:
            raise InputError("There are too few posts before the folds to choose on.")
        each = [auc(hot, logit) or 0.5 for logit, hot in said]
        tried.append({**other, "auc": round(float(np.average(each, weights=[len(hot) for _, hot in said])), 5)})
        seen.append(said)
    best = int(np.argmax([one["auc"] for one in tried]))
    return tried, candidates[best], seen[best]


def _folds(
    made: Mapping[str, Rows], choice: PostSettings, starts: Sequence[float], end: float
) -> Iterator[tuple[Model, NDArray[np.intp], NDArray[np.float64]]]:
    """For each fold the model of what came before it, the places of the rows in it, and what the model says of them."""
    own = next(iter(made.values()))
    fits = settings(FitOptions, choice.fit)
    with progress(f"walk forward, posts, {choice.kind}", len(starts)) as report:
        for i, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
            test = np.flatnonzero((own.time >= start) & (own.time < stop))
            train, weights = _before(made, choice, start)
            report(i + 1, f"{len(train)} rows before, {len(test)} after")
            if len(test) and len(set(train.hot.tolist())) == 2:
                model = fit(choice.kind, train.features, train.sequence, train.excess, fits, choice.seed, weights)
                yield model, test, model.logit(own.features[test])


def _before(made: Mapping[str, Rows], choice: PostSettings, start: float) -> tuple[Rows, NDArray[np.float64]]:
    """Rows of the files with a weight whose likes were known two days before a time, and their weights."""
    some = {name: own.take(own.time + 2 * DAY <= start) for name, own in made.items() if choice.files[name] > 0}
    weights = [np.full(len(own), choice.files[name]) for name, own in some.items()]
    return concatenated(list(some.values())), np.concatenate(weights)


def _save(out: Path, head: Head, directions: NDArray[np.float64], about: dict[str, Any]) -> None:
    """The shipped symbol's heads with the new post's head beside them, and the card with a part about it."""
    config = checkpoint.load_config(ARTIFACTS / FOLDER)
    kept = [head for head in load_hype().heads.values() if head.name != "post"]
    card = (ARTIFACTS / FOLDER / checkpoint.CARD).read_text().split("\n## post:")[0].rstrip()
    names = ("heads", "features", "post_features")
    extra = {k: v for k, v in config.items() if k not in names} | {"post": about}
    save_hype(out, [*kept, head], extra, f"{card}\n{_part(head, about)}", directions)


def _part(head: Head, about: dict[str, Any]) -> str:
    m = about["held_out"]
    kinds = [f"| {_told(one)} | {one['auc']} |" for one in m["tried"]]
    spread = [f"| {name} | {low} to {high} |" for name, (low, high) in m["intervals"].items()]
    files = ", ".join(f"{name} ({weight})" for name, weight in about["settings"]["files"].items())
    return f"""
## post: {head.model.kind}, likes a day after the post

Hot: more likes than the 80th percentile of the author's last 50 posts. Earlier posts count only once they are a day old. Files
and their weights unless a candidate says otherwise: {files}. Walk-forward on the first of them from
{about["settings"]["folds"][0]} on: n {m["n"]}, base rate {m["base_rate"]}, AUC {m["auc"]} (level {m["level_auc"]}, persistence
{m["persistence_auc"]}), Brier skill {m["bss"]}, ECE {m["ece"]}. Signal = {head.signal}.

| interval (95 %, days drawn) | |
|---|---|
{chr(10).join(spread)}

Chosen on the folds from {about["settings"]["choose"][0] if m["tried"] else "nowhere"} up to the test folds, never on these:

| candidate | AUC there |
|---|---|
{chr(10).join(kinds)}
"""


def _told(candidate: Mapping[str, Any]) -> str:
    named = {**candidate, **candidate.get("files", {}), **candidate.get("fit", {})}
    return ", ".join(f"{k} {v}" for k, v in named.items() if k not in ("auc", "files", "fit")) or "as it stands"
