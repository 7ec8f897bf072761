"""What words, moods, pictures and the number of posts add to price-only hype where posts are dense.

``moodtape train hype/modalities --data FOLDER --out FOLDER`` writes modalities.json and two plots; nothing ships from it. A
model of price and volume alone is fitted on everything before a period. Inside the period, fold by fold, a small second
model sees its logit and the posts of the last minutes; beside it stands the same model that sees the logit alone, so that
what the posts add is a paired difference. Intervals draw whole days.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.series import MOODS
from domain.types import Floats
from models.hype.features import POSTS
from runtime.progress import progress
from training.hype.figures import Rows, auc_interval
from training.hype.fitting import FitOptions, fit
from training.hype.lift import projection
from training.hype.recipe import DAY, masked, time_of
from training.hype.windows import Target, load_activity, windows
from training.metrics import auc, interval
from training.registry import TrainOptions, settings
from training.trajectories.pairs import parquet_files, read

Doubles = NDArray[np.float64]
WORDS = 8
"""Principal directions of the mean embedding that the words' part looks at."""

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Of the L2 penalty of the second model."""


@dataclass(frozen=True, slots=True)
class ModalitySettings:
    """``periods``: name → the starts of its folds and its end; the first start begins what only the second model learns from.

    ``spans``: minutes before the moment whose posts are pooled, ``span``: the one of the main table; ``horizons``: minutes
    that are forecast; ``trailing``: windows behind the threshold; ``fewest``: posts in the span for a row to count;
    ``per_hour``: posts of a symbol whose words are read in an hour, drawn by lot (all of them are counted).
    """

    posts: str = "crypto_posts/posts.parquet"
    symbols: list[str] = field(default_factory=lambda: ["BTC/USDT", "ETH/USDT", "DOGE/USDT"])
    periods: dict[str, list[str]] = field(default_factory=dict)
    spans: list[int] = field(default_factory=lambda: [15, 60, 256, 1440])
    span: int = 60
    horizons: list[int] = field(default_factory=lambda: [15, 60, 256])
    trailing: int = 672
    without: list[str] = field(default_factory=lambda: ["binance_um", "unverified"])
    fewest: int = 1
    per_hour: int = 4
    fit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Posts about one symbol, by time: epoch seconds and whether with a picture; of those read also moods and words.

    ``moods``: (k, 7), ``words``: (k, WORDS), published at ``read_at``.
    """

    time: NDArray[np.int64]
    picture: Doubles
    read_at: NDArray[np.int64]
    moods: Doubles
    words: Doubles


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Every period at every horizon and span, and the plots."""
    choice = settings(ModalitySettings, config)
    options.out.mkdir(parents=True, exist_ok=True)
    first, last = min(p[0] for p in choice.periods.values()), max(p[-1] for p in choice.periods.values())
    said = posts_of(options.data / choice.posts, choice, options.out / "read.npz", time_of(first), time_of(last))
    tapes, _ = load_activity(parquet_files(options.data, "candles"))
    kept = {key: tape for key, tape in tapes.items() if key[0] not in choice.without}
    found: dict[str, Any] = {"posts": {symbol: len(own.time) for symbol, own in said.items()}}
    for horizon in choice.horizons:
        rows = windows(kept, Target(horizon, choice.trailing), min(horizon, 60))
        for name, starts in choice.periods.items():
            found.setdefault(name, {})[str(horizon)] = period(rows, said, [time_of(s) for s in starts], horizon, choice)
    (options.out / "modalities.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    draw(found, choice, options.out)
    return found


def posts_of(path: Path, choice: ModalitySettings, cache: Path, since: float, until: float) -> dict[str, Said]:
    """Posts about the symbols, some of them read by the shipped reader of words; its directions are of the first half."""
    table = read([path], ("t", "text", "symbols", "has_photo"))
    time = np.array([-1 if t is None else int(t) for t in table["t"].to_pylist()])
    codes = [set((s or "").split(",")) for s in table["symbols"].to_pylist()]
    wanted = {s: np.array([s.partition("/")[0] in own for own in codes]) for s in choice.symbols}
    some = np.flatnonzero(np.any(list(wanted.values()), axis=0) & (time >= since - DAY) & (time < until))
    some = some[np.argsort(time[some], kind="stable")]
    chosen = np.any([_drawn(time[some], own[some], choice.per_hour) for own in wanted.values()], axis=0)
    moods, vectors = _read(table["text"].take(pa.array(some[chosen])).to_pylist(), cache)
    words = vectors.astype(np.float64) @ projection(vectors[: len(vectors) // 2])[:, :WORDS]
    photo = np.array([bool(p) for p in table["has_photo"].take(pa.array(some)).to_pylist()], dtype=np.float64)
    out = {}
    for symbol, named in wanted.items():
        own, heard = named[some], named[some[chosen]]
        out[symbol] = Said(time[some][own], photo[own], time[some][chosen][heard], moods[heard], words[heard])
    return out


def _drawn(time: NDArray[np.int64], named: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Of the posts that name a symbol, at most so many of each hour."""
    lot = np.random.default_rng(0).permutation(len(time))
    order = lot[np.argsort(time[lot] // 3600, kind="stable")]
    order = order[named[order]]
    hour = time[order] // 3600
    place = np.arange(len(order)) - np.searchsorted(hour, hour)
    out = np.zeros(len(time), dtype=np.bool_)
    out[order[place < most]] = True
    return out


def _read(texts: Sequence[str], cache: Path) -> tuple[Doubles, Floats]:
    if cache.exists():
        stored = np.load(cache)
        return stored["moods"].astype(np.float64), stored["vectors"].astype(np.float32)
    from models.emotion.text import EmotionTextReader
    from models.manifest import ARTIFACTS

    reader = EmotionTextReader.from_pretrained(ARTIFACTS / "emotion-text")
    order = np.argsort([len(t or "") for t in texts], kind="stable")
    moods, vectors = np.zeros((len(texts), len(MOODS))), np.zeros((len(texts), 384), np.float32)
    with progress("posts read", len(texts)) as report:
        for start in range(0, len(texts), 256):
            part = order[start : start + 256]
            for i, reading in zip(part, reader.read([texts[i] or "" for i in part]), strict=True):
                moods[i], vectors[i] = reading.probabilities, reading.embedding
            report(start + len(part))
    np.savez(cache, moods=moods.astype(np.float16), vectors=vectors.astype(np.float16))
    return moods, vectors


def pooled(said: Said, moments: NDArray[np.int64], span: int) -> dict[str, Doubles]:
    """By modality what was said in the ``span`` minutes before each moment (epoch seconds); zeros where nothing was."""

    def around(times: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [np.searchsorted(times, moments - minutes * 60) for minutes in (0, span, 1440)]

    def mean(values: Doubles, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Doubles:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return np.asarray((sums[stop] - sums[start]) / np.maximum(stop - start, 1)[:, None])

    high, low, day = around(said.time)
    count, usual = (high - low).astype(np.float64), (high - day) * span / 1440
    end, start, yesterday = around(said.read_at)
    known = (end > start)[:, None]
    words, moods = (mean(values, start, end) for values in (said.words, said.moods))
    return {
        "volume": np.stack([np.log1p(count), np.log1p(count) - np.log1p(usual)], axis=1),
        "mood": np.where(known, moods - mean(said.moods, yesterday, end), 0.0),
        "text": np.where(known, np.concatenate([words, mean(said.words, yesterday, end)], axis=1), 0.0),
        "picture": mean(said.picture[:, None], low, high),
    }


def period(
    rows: Rows, said: Mapping[str, Said], starts: list[float], horizon: int, choice: ModalitySettings
) -> dict[str, Any]:
    """All figures of a period and horizon: every set of modalities at the main span, and all of them at every span."""
    before = rows.take(rows.time + horizon * 60 + DAY <= starts[0])
    market = np.array([str(m).partition("|")[2] for m in rows.market])
    inside = (rows.time >= starts[0]) & (rows.time < starts[-1]) & np.isin(market, list(said))
    inside &= rows.time // 60 % horizon == 0
    model = fit(
        "boosting", masked(before, POSTS).features, before.sequence, before.hot, settings(FitOptions, choice.fit)
    )
    scored, names = rows.take(inside), market[inside]
    logit = model.logit(masked(scored, POSTS).features)
    by_span = {span: _pool(said, scored, names, span) for span in {*choice.spans, choice.span}}
    counted = np.expm1(by_span[choice.span]["volume"][:, 0]) >= choice.fewest
    base = second(scored, logit, [], starts)
    parts = by_span[choice.span]
    had = [name for name, values in parts.items() if np.ptp(values, axis=0).any()]
    sets = {name: [name] for name in had} | {"all": had} | {f"all but {n}": [m for m in had if m != n] for n in had}
    figures = {n: compared(base, second(scored, logit, [parts[m] for m in s], starts), scored) for n, s in sets.items()}
    spans = {
        str(span): compared(base, second(scored, logit, [own[m] for m in had], starts), scored)
        for span, own in by_span.items()
    }
    return {
        "rows": int(inside.sum()),
        "rows_with_posts": int(counted.sum()),
        "not_had": [name for name in parts if name not in had],
        "sets": figures,
        "spans": spans,
    }


def _pool(said: Mapping[str, Said], scored: Rows, names: NDArray[Any], span: int) -> dict[str, Doubles]:
    out: dict[str, Doubles] = {}
    for symbol, own in said.items():
        mine = names == symbol
        for name, values in pooled(own, scored.time[mine], span).items():
            out.setdefault(name, np.zeros((len(scored), values.shape[1])))[mine] = values
    return out


def second(scored: Rows, logit: Doubles, extra: Sequence[Doubles], starts: list[float]) -> Doubles:
    """Chances of the later folds by a logistic regression on the logit and what else there is; NaN in the first stretch.

    How strongly it is held back is chosen on the last third of what lies before each fold.
    """
    features = np.concatenate([logit[:, None], *extra], axis=1)
    out = np.full(len(scored), np.nan)
    for start, end in pairwise(starts[1:]):
        train = np.flatnonzero(scored.time + DAY <= start)
        test = (scored.time >= start) & (scored.time < end)
        early, late = np.split(train, [2 * len(train) // 3])
        if test.any() and all(len(set(scored.hot[part].tolist())) == 2 for part in (early, late)):
            losses = [_loss(_chances(scored, features, early, late, s), scored.hot[late]) for s in STRENGTHS]
            out[test] = _chances(scored, features, train, test, STRENGTHS[int(np.argmin(losses))])
    return out


def _chances(scored: Rows, features: Doubles, train: NDArray[Any], test: NDArray[Any], strength: float) -> Doubles:
    options = FitOptions(strength=strength)
    model = fit("logistic", features[train], scored.sequence[train], scored.hot[train], options)
    return np.asarray(1 / (1 + np.exp(-model.logit(features[test]))))


def _loss(chances: Doubles, hot: NDArray[np.bool_]) -> float:
    return float(-np.log(np.clip(np.where(hot, chances, 1 - chances), 1e-6, 1)).mean())


def compared(base: Doubles, ours: Doubles, scored: Rows) -> dict[str, Any]:
    """AUC with and without the posts, the paired difference and the skill over the chances without, with intervals."""
    known = np.isfinite(base) & np.isfinite(ours)
    hot, times = scored.hot[known], scored.time[known]
    mine, theirs = ours[known], base[known]
    low, high = interval((mine - hot) ** 2, (theirs - hot) ** 2, times)
    with_posts, without = auc(hot, mine), auc(hot, theirs)
    return {
        "n": int(known.sum()),
        "base_rate": round(float(hot.mean()), 5),
        "auc": with_posts,
        "price_only": without,
        "increment": auc_interval(hot, mine, theirs, times),
        "skill_over_price": [round(1 - high, 5), round(1 - low, 5)],
    }


def draw(found: Mapping[str, Any], choice: ModalitySettings, folder: Path) -> None:
    """Bars of every set of modalities, and horizon × span, what posts add to the AUC of price alone."""
    from matplotlib.figure import Figure

    names = list(choice.periods)
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for shift, horizon in enumerate(choice.horizons):
            sets = found[name][str(horizon)]["sets"]
            middle = [m["auc"] - m["price_only"] for m in sets.values()]
            ends = np.array([m["increment"] for m in sets.values()]).T
            bars = np.abs(ends - np.array(middle))
            axes.errorbar(np.arange(len(sets)) + 0.2 * shift, middle, bars, fmt="o", label=f"{horizon} minutes")
            axes.set_xticks(range(len(sets)), list(sets), rotation=60)
        axes.axhline(0, color="grey", linewidth=1)
        axes.set(title=name, ylabel="AUC over price alone")
        axes.legend()
    figure.savefig(folder / "modalities.png", dpi=80)
    figure = Figure(figsize=(4.5 * len(names), 3.5), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        cells = np.array(
            [
                [_gain(found[name][str(horizon)]["spans"][str(span)]) for span in choice.spans]
                for horizon in choice.horizons
            ]
        )
        axes.imshow(cells, cmap="RdBu", vmin=-0.02, vmax=0.02)
        for (i, j), value in np.ndenumerate(cells):
            axes.text(j, i, f"{value:+.3f}", ha="center", va="center")
        axes.set_xticks(range(len(choice.spans)), [str(s) for s in choice.spans])
        axes.set_yticks(range(len(choice.horizons)), [str(h) for h in choice.horizons])
        axes.set(title=name, xlabel="minutes of posts", ylabel="minutes forecast")
    figure.savefig(folder / "horizon-window.png", dpi=80)


def _gain(figures: Mapping[str, Any]) -> float:
    return float(figures["auc"] - figures["price_only"])
