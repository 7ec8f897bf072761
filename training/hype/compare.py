"""Every kind of hype model on every real target, beside level and persistence: the table of docs/results.md.

``moodtape train hype/compare --data FOLDER --out FOLDER`` writes compare.json and compare.md; nothing ships from it. Targets:
spikes of traded volume (15 and 60 minutes), spikes of a chat's messages, likes of founders' and Xiaohongshu's posts above
their author's 80th percentile, and the same of all authors with a hundred posts (their words are compared, not read). Each
model is fitted on the earlier part of what lies before a fold and calibrated (Platt, 1999) on the rest of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.hype.lift import COMPONENTS
from runtime.progress import progress
from training.hype.figures import Rows, scores
from training.hype.fitting import FitOptions, fit, platt
from training.hype.lift import Posts, by_author, embedded, load_posts, project, projection, rows
from training.hype.recipe import time_of
from training.hype.windows import Target, load_activity, tape_of_posts, windows
from training.registry import TrainOptions, settings
from training.trajectories.pairs import parquet_files, shipped_embed
from training.trajectories.tape import moment

DAY = 86_400
Doubles = NDArray[np.float64]
TARGETS = ("spike-15", "spike-60", "chat-15", "founders", "xiaohongshu", "authors")
Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """``targets``: of those in :data:`TARGETS`; ``seeds``: fits of each kind; ``steps``: of a sequence.

    ``trailing``: windows of 15 minutes behind the threshold of spikes, ``stride``: minutes between their rows; ``spikes``,
    ``posts``, ``authors``: when the folds start; ``share``: of the rows before a fold that are fitted on, the others
    calibrate; ``later``: shares of Xiaohongshu's rows before each fold; ``newest``: posts of each of the many authors;
    ``fit``: settings by kind, see :class:`training.hype.fitting.FitOptions`.
    """

    targets: list[str] = field(default_factory=lambda: list(TARGETS))
    kinds: list[str] = field(default_factory=lambda: ["logistic", "boosting", "blend", "lstm", "transformer"])
    seeds: int = 3
    steps: int = 32
    trailing: int = 32
    stride: int = 60
    without: list[str] = field(default_factory=lambda: ["binance_um", "unverified"])
    spikes: list[str] = field(default_factory=lambda: ["2024-01-01"])
    posts: list[str] = field(default_factory=lambda: ["2025-07-30", "2025-09-18", "2025-11-07"])
    authors: list[str] = field(
        default_factory=lambda: ["2019-01-01", "2020-01-01", "2021-01-01", "2022-01-01", "2025-01-01"]
    )
    later: list[float] = field(default_factory=lambda: [0.55, 0.66, 0.77, 0.88])
    newest: int = 400
    share: float = 0.85
    fit: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A target's rows and its folds: masks of what lies before each and of what is scored."""

    name: str
    rows: Rows
    folds: list[Fold]


CHAT = "telegram_doge_shib_202105.parquet"


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit and score every kind on every target, and write the table; finished targets are not done again."""
    choice = settings(CompareSettings, config)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "compare.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for target in choice.targets:
        if target not in found:
            problem = make(target, options, choice)
            found[target] = {kind: measure(problem, kind, choice) for kind in choice.kinds}
            path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
            (options.out / "compare.md").write_text(markdown(found))
    return found


def make(target: str, options: TrainOptions, choice: CompareSettings) -> Problem:
    """The rows of a target; those of networks hold sequences beside the features."""
    if target.startswith("spike"):
        horizon = int(target.rpartition("-")[2])
        tapes, _ = load_activity(parquet_files(options.data, "candles"))
        kept = {key: tape for key, tape in tapes.items() if key[0] not in choice.without}
        made = windows(kept, Target(horizon, choice.trailing, choice.steps), choice.stride)
        return Problem(target, made, _folds(made, choice.spikes, DAY + horizon * 60))
    if target == "chat-15":
        (path,) = sorted(options.data.rglob(CHAT))
        times = np.sort(pq.read_table(path, columns=["t_utc_est"])["t_utc_est"].to_numpy())
        tapes = {("", "DOGE/USDT"): tape_of_posts("DOGE/USDT", times)}
        made = windows(tapes, Target(15, choice.trailing, choice.steps), 15)
        return Problem(target, made, [_later(made, 0.6)])
    files = {"founders": "founder_tweets/posts.parquet", "xiaohongshu": "hype/xiaohongshu_popularity.parquet"}
    name = files.get(target, "crypto_posts/posts.parquet")
    starts = {"founders": choice.posts, "authors": choice.authors}.get(target)
    posts = load_posts([options.data / name], *((100, choice.newest) if target == "authors" else (20,)))
    before = time_of(starts[0]) if starts else np.inf
    if target == "xiaohongshu":
        numbers = beside(posts, options.data / name)
    elif target == "authors":
        numbers = np.full((len(posts), COMPONENTS), np.nan)
    else:
        numbers = words_of(posts, options.out, before)
    made = rows(posts, numbers, choice.steps)
    if starts is None:
        starts = [moment(float(np.quantile(made.time, share))).isoformat() for share in choice.later]
    return Problem(target, made, _folds(made, starts, 2 * DAY))


def beside(posts: Posts, path: Path) -> Doubles:
    """What Xiaohongshu's table has in the place of words: clusters of pictures, collects, and how others' posts did.

    Only posts that were a day old count. (n, COMPONENTS), NaN where there is nothing to say.
    """
    table = pq.read_table(path, columns=["image_cluster", "collects"])
    cluster, collects = (
        table[name].to_numpy(zero_copy_only=False)[posts.place].astype(np.float64) for name in table.column_names
    )
    likes, saved = np.log1p(posts.likes), np.log1p(collects)
    out, above = np.full((len(posts), COMPONENTS), np.nan), np.full(len(posts), np.nan)
    for i, now in enumerate(posts.time):
        known = posts.time + DAY <= now
        own = np.flatnonzero(known & (posts.author == posts.author[i]))
        if len(own) < 5:
            continue
        above[i] = np.clip(likes[i] - likes[own[-50:]].mean(), -3, 3)
        judged = known & np.isfinite(above)
        others, alike = judged & (posts.author != posts.author[i]), judged & (cluster == cluster[i])
        recent = [above[others & (posts.time >= now - days * DAY)] for days in (3, 6, 15, 41)]
        lately, same = alike & (posts.time >= now - 31 * DAY), cluster[own] == cluster[i]
        ratio, apart = saved[own] - likes[own], likes[own] - likes[own].mean()
        row = [
            *(float(part.mean()) if len(part) > 5 else np.nan for part in recent),
            *(
                above[alike].sum() / (alike.sum() + 20),
                np.log1p(alike.sum()),
                above[lately].sum() / (lately.sum() + 10),
            ),
            *((apart * same).sum() / (same.sum() + 2), same.mean(), same[-5:].mean(), cluster[i]),
            *(
                np.nanmean(ratio[-5:]) - np.nanmean(ratio),
                np.nanmean(ratio),
                saved[own[-3:]].mean() - saved[own].mean(),
            ),
            *(likes[own[-10:]].mean() - likes[own[-50:]].mean(), likes[own].mean() - likes[own[-50:]].mean()),
            *(float(len(own)), (now - posts.time[own[0]]) / (30 * DAY)),
        ]
        out[i, : len(row)] = row
    return out


def words_of(posts: Posts, out: Path, before: float) -> Doubles:
    """Numbers of the posts' texts, in the directions of texts before a time."""
    if not any(posts.text):
        return np.full((len(posts), COMPONENTS), np.nan)
    vectors = embedded(posts.text, shipped_embed(), out / "embeddings.safetensors")
    return project(vectors, projection(vectors[posts.time < before]))


def _folds(made: Rows, starts: list[str], gap: float) -> list[Fold]:
    times = [time_of(text) for text in starts]
    ends = [*times[1:], np.inf]
    found = [(made.time + gap <= a, (made.time >= a) & (made.time < b)) for a, b in zip(times, ends, strict=True)]
    return [fold for fold in found if fold[1].any()]


def _later(made: Rows, share: float) -> Fold:
    start = float(np.quantile(made.time, share))
    return made.time + 2 * DAY <= start, made.time >= start


def measure(problem: Problem, kind: str, choice: CompareSettings) -> dict[str, Any]:
    """Figures of the mean of the seeds' chances, with every seed's AUC beside them."""
    scored = problem.rows.take(np.concatenate([np.flatnonzero(test) for _, test in problem.folds]))
    earlier = problem.rows.take(problem.folds[0][0])
    chances, aucs = [], []
    with progress(f"{problem.name}, {kind}", choice.seeds) as report:
        for seed in range(choice.seeds if kind != "logistic" else 1):
            chances.append(predict(problem, kind, choice, seed))
            aucs.append(scores(chances[-1], scored, earlier, draws=2)["auc"])
            report(seed + 1, f"AUC {aucs[-1]}")
    mean = np.mean(chances, axis=0)
    found = {**scores(mean, scored, earlier), "seeds": aucs}
    return found | ({"by_author": by_author(scored, mean, each=False)} if problem.name == "authors" else {})


def predict(problem: Problem, kind: str, choice: CompareSettings, seed: int) -> Doubles:
    """Calibrated chances of every fold's scored rows, one fold after another."""
    options = settings(FitOptions, choice.fit.get(kind, {}))
    out = []
    for before, test in problem.folds:
        train, scored = problem.rows.take(before), problem.rows.take(test)
        cut = int(choice.share * len(train))
        first, rest = train.take(np.arange(cut)), train.take(np.arange(cut, len(train)))
        model = fit(kind, first.features, first.sequence, first.excess, options, seed)
        slope, shift = platt(model.logit(rest.features, rest.sequence), rest.hot)
        logit = slope * model.logit(scored.features, scored.sequence) + shift
        out.append(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
    return np.concatenate(out)


def markdown(found: dict[str, Any]) -> str:
    """The table: a row a target and kind."""
    names = (
        "target",
        "model",
        "n, base rate",
        "persistence",
        "level",
        "AUC",
        "seeds",
        "over level",
        "Brier skill",
        "ECE",
    )
    lines = ["# Hype: every model on every target", "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for target, kinds in found.items():
        for kind, m in kinds.items():
            low, high = m["intervals"]["auc"]
            over = " to ".join(f"{x:+.3f}" for x in m["intervals"]["auc_over_level"])
            cells = (
                target,
                kind,
                f"{m['n']}, {m['base_rate']:.3f}",
                f"{m['persistence_auc']:.3f}",
                f"{m['level_auc']:.3f}",
                f"{m['auc']:.3f} [{low:.3f}, {high:.3f}]",
                ", ".join(f"{a:.3f}" for a in m["seeds"]),
                over,
                f"{m['bss']:+.3f}",
                f"{m['ece']:.3f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
