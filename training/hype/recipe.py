"""Fit the hype of a symbol: one head per horizon, any kind of model, calibrated on its own earlier walk-forward forecasts.

Expanding folds in time order. A training row whose next window reaches a fold, or comes within a day of it, is purged. The
shipped weights are those of the last fold, so the last fold's figures are theirs; ``signal`` is set by that fold alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from domain.series import PAST
from models.hype.features import POSTS
from models.hype.forecast import Head, Model, save_hype
from runtime.progress import progress
from training.hype.card import card
from training.hype.figures import Rows, figures
from training.hype.fitting import NETWORKS, STEPS, FitOptions, fit, platt
from training.hype.windows import Target, load_activity, windows
from training.registry import TrainOptions, settings
from training.trajectories.pairs import parquet_files

DAY = 86_400


@dataclass(frozen=True, slots=True)
class HypeSettings:
    """``folds``: ISO times at which a test fold starts; the last one lasts to the end. ``horizons``: minutes of each head.

    ``trailing``: windows of 15 minutes behind the threshold. ``stride``: minutes between training rows; ``without``:
    exchanges left out (perpetuals, unverified sources); ``fit``: see :class:`training.hype.fitting.FitOptions`.
    """

    kind: str = "boosting"
    horizons: list[int] = field(default_factory=lambda: [15, 60])
    trailing: int = PAST
    folds: list[str] = field(default_factory=lambda: ["2022-01-01", "2024-01-01", "2024-10-01", "2025-04-01"])
    without: list[str] = field(default_factory=lambda: ["binance_um", "unverified"])
    stride: int = 30
    seed: int = 0
    fit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One step of the walk: when it starts, the head fitted before it, its rows to score and its figures."""

    start: float
    head: Head
    rows: int
    test: Rows
    measured: dict[str, Any]


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit on all candles (and posts) under ``options.data``, walk forward, save into ``options.out``."""
    choice = settings(HypeSettings, config)
    posts = sorted(options.data.rglob("posts*.parquet"))
    tapes, _ = load_activity([*parquet_files(options.data, "candles"), *posts])
    kept = {key: tape for key, tape in tapes.items() if key[0] not in choice.without}
    steps = 0 if choice.kind not in NETWORKS else STEPS
    heads, measured_by, lines = [], {}, {}
    for horizon in choice.horizons:
        rows = windows(kept, Target(horizon, choice.trailing, steps), choice.stride)
        head, measured, folds = fit_head(f"symbol-{horizon}", rows, horizon, choice)
        heads.append(head)
        measured_by[head.name] = measured
        lines[head.name] = folds
    save_hype(
        options.out, heads, {"settings": asdict(choice), "held_out": measured_by}, card(heads, lines, measured_by)
    )
    return {"signal": {head.name: head.signal for head in heads}, **measured_by}


def fit_head(
    name: str, rows: Rows, horizon: int, choice: HypeSettings
) -> tuple[Head, dict[str, Any], list[dict[str, Any]]]:
    """Walk forward over rows; the last fold's head, its figures with what was left out, and the figures of all folds."""
    folds = list(walk(name, rows, horizon, choice))
    if not folds:
        raise InputError("There are too few windows before the folds to fit anything.")
    last = folds[-1]
    lower = (last.measured["intervals"]["skill_over_persistence"] or [0.0])[0]
    final = replace(last.head, signal=lower > 0)
    train, test = parts(rows, last.start, np.inf, horizon)
    extra = {
        "placebo": _short(replace(train, excess=shuffled(train, choice.seed)), test, choice, final),
        "without_posts": _short(masked(train, POSTS), masked(test, POSTS), choice, final),
    }
    listed = [{"from": fold.start, "rows": fold.rows, **fold.measured} for fold in folds]
    return final, {**last.measured, **extra}, listed


def walk(name: str, rows: Rows, horizon: int, choice: HypeSettings) -> Iterator[Fold]:
    """The folds in time order, each with a model that saw only what came before it."""
    starts = [time_of(text) for text in choice.folds]
    options = settings(FitOptions, choice.fit)
    logits: list[NDArray[np.float64]] = []
    hot: list[NDArray[np.bool_]] = []
    with progress(f"walk forward, {horizon} minutes", len(starts)) as report:
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], np.inf], strict=True)):
            train, test = parts(rows, start, end, horizon)
            report(i + 1, f"{len(train)} rows before, {len(test)} after")
            if len(set(train.hot.tolist())) < 2 or not len(test):
                continue
            model = fit(choice.kind, train.features, train.sequence, train.excess, options, choice.seed)
            slope, shift = platt(np.concatenate(logits), np.concatenate(hot)) if logits else (1.0, 0.0)
            base = float(train.hot.mean())
            head = Head(name, model, horizon, base, False, slope, shift, choice.trailing)
            logits.append(model.logit(test.features, test.sequence))
            hot.append(test.hot)
            yield Fold(start, head, len(train), test, figures(head, test, train))


def parts(rows: Rows, start: float, end: float, horizon: int) -> tuple[Rows, Rows]:
    """Rows whose next window and a day more end by ``start``; and those from ``start`` on whose outcomes do not overlap."""
    train = rows.time + horizon * 60 + DAY <= start
    test = (rows.time >= start) & (rows.time < end) & (rows.time // 60 % horizon == 0)
    return rows.take(train), rows.take(test)


def shuffled(train: Rows, seed: int) -> NDArray[np.float64]:
    """Outcomes dealt out anew within each market."""
    rng, excess = np.random.default_rng(seed), train.excess.copy()
    for market in sorted(set(train.market)):
        members = np.flatnonzero(train.market == market)
        excess[members] = excess[rng.permutation(members)]
    return excess


def masked(rows: Rows, columns: tuple[int, ...]) -> Rows:
    """The rows without these features."""
    features = rows.features.copy()
    features[:, list(columns)] = 0.0
    return replace(rows, features=features)


def _short(train: Rows, test: Rows, choice: HypeSettings, head: Head) -> dict[str, Any]:
    """AUC and Brier skill of the same kind of model fitted to other rows."""
    options = settings(FitOptions, {**choice.fit, "seeds": 1})
    model: Model = fit(choice.kind, train.features, train.sequence, train.excess, options, choice.seed)
    measured = figures(replace(head, model=model, slope=1.0, shift=0.0), test, train)
    return {name: measured[name] for name in ("auc", "bss")}


def time_of(text: str) -> float:
    """Epoch seconds of an ISO date (midnight, UTC) or time."""
    return datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00+00:00").timestamp()
