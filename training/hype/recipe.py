"""Fit the hype model: a regularised logistic regression, calibrated on its own earlier walk-forward forecasts.

Expanding folds in time order. A training row whose next window reaches a fold, or comes within a day of it, is purged. The
shipped weights are those of the last fold, so the last fold's figures are theirs; ``signal`` is set by that fold alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import STEPS
from models.hype.logistic import NAMES, HypeParameters, LogisticHype, save_hype
from runtime.progress import progress
from training.hype.evaluate import figures
from training.hype.windows import Windows, load_activity, windows
from training.registry import TrainOptions, settings
from training.trajectories.pairs import parquet_files
from training.trajectories.tape import moment

DAY = 86_400
POSTS = [i for i, name in enumerate(NAMES) if "posts" in name]


@dataclass(frozen=True, slots=True)
class HypeSettings:
    """``folds``: ISO times at which a test fold starts; the last one lasts to the end. ``strength``: of the L2 penalty.

    ``stride``: minutes between training rows; ``without``: exchanges left out (perpetuals, unverified sources).
    """

    folds: list[str] = field(
        default_factory=lambda: [
            "2021-07-01T00:00:00+00:00",
            "2023-01-01T00:00:00+00:00",
            "2024-01-01T00:00:00+00:00",
            "2024-10-01T00:00:00+00:00",
            "2025-04-01T00:00:00+00:00",
        ]
    )
    without: list[str] = field(default_factory=lambda: ["binance_um", "unverified"])
    stride: int = 64
    strength: float = 20.0
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One step of the walk: when it starts, the weights fitted before it, its rows to score and its figures."""

    start: float
    parameters: HypeParameters
    rows: int
    measured: dict[str, Any]


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit on all candles (and posts) under ``options.data``, walk forward, save into ``options.out``."""
    choice = settings(HypeSettings, config)
    posts = sorted(options.data.rglob("posts*.parquet"))
    tapes, _ = load_activity([*parquet_files(options.data, "candles"), *posts])
    kept = {key: tape for key, tape in tapes.items() if key[0] not in choice.without}
    return fit_and_save(windows(kept, choice.stride), choice, options)


def fit_and_save(rows: Windows, choice: HypeSettings, options: TrainOptions) -> dict[str, Any]:
    """Walk forward over rows, save the last fold's model; returns its figures."""
    folds = list(walk(rows, choice))
    if not folds:
        raise InputError("There are too few windows before the folds to fit anything.")
    last = folds[-1]
    lower = (last.measured["intervals"]["skill_over_persistence"] or [0.0])[0]
    final = replace(last.parameters, signal=lower > 0)
    train, test = _parts(rows, last.start, np.inf)
    placebo = _shuffled(train, choice)
    extra = {
        "placebo": {k: figures(placebo, test, train)[k] for k in ("auc", "bss")},
        "without_posts": {k: figures(_masked(train, choice), test, train)[k] for k in ("auc", "bss")},
    }
    listed = test.take(np.array([not market.startswith("|") for market in test.market], dtype=bool))
    if 0 < len(listed) < len(test):
        extra["on_exchanges"] = figures(LogisticHype(final), listed, train)
    config = {"settings": asdict(choice), "held_out": last.measured, **extra}
    save_hype(options.out, final, config, card(folds, extra, final))
    return {"signal": final.signal, **last.measured, **extra}


def walk(rows: Windows, choice: HypeSettings) -> Iterator[Fold]:
    """The folds in time order, each with a model that saw only what came before it."""
    starts = [datetime.fromisoformat(s).timestamp() for s in choice.folds]
    logits: list[NDArray[np.float64]] = []
    hot: list[NDArray[np.bool_]] = []
    with progress("walk forward", len(starts)) as report:
        for i, (start, end) in enumerate(zip(starts, [*starts[1:], np.inf], strict=True)):
            train, test = _parts(rows, start, end)
            report(i + 1, f"{len(train)} rows before, {len(test)} after")
            if len(set(train.hot.tolist())) < 2 or not len(test):
                continue
            plain = fit(train, choice.strength)
            calibrated = calibrate(plain, np.concatenate(logits), np.concatenate(hot)) if logits else plain
            logits.append(_logit(plain, test.features))
            hot.append(test.hot)
            yield Fold(start, calibrated, len(train), figures(LogisticHype(calibrated), test, train))


def _parts(rows: Windows, start: float, end: float) -> tuple[Windows, Windows]:
    """Rows whose next window and a day more end by ``start``; and those from ``start`` on whose outcomes do not overlap."""
    train = rows.time + STEPS * 60 + DAY <= start
    test = (rows.time >= start) & (rows.time < end) & (rows.time // 60 % STEPS == 0)
    return rows.take(train), rows.take(test)


def fit(rows: Windows, strength: float) -> HypeParameters:
    """Standardise and regress on these rows alone."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = rows.features.mean(axis=0), rows.features.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    model = LogisticRegression(C=1.0 / strength, max_iter=1000).fit((rows.features - mean) / scale, rows.hot)
    base = float(rows.hot.mean())
    return HypeParameters(
        mean, scale, model.coef_[0].astype(np.float64), float(model.intercept_[0]), base, signal=False
    )


def calibrate(parameters: HypeParameters, logits: NDArray[np.float64], hot: NDArray[np.bool_]) -> HypeParameters:
    """Platt's slope and intercept from forecasts of earlier folds, folded into the weights."""
    from sklearn.linear_model import LogisticRegression

    platt = LogisticRegression(C=1e3, max_iter=1000).fit(logits[:, None], hot)
    slope, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    return replace(parameters, weights=parameters.weights * slope, intercept=parameters.intercept * slope + shift)


def _logit(p: HypeParameters, features: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(((features - p.mean) / p.scale) @ p.weights + p.intercept, dtype=np.float64)


def _shuffled(train: Windows, choice: HypeSettings) -> LogisticHype:
    """The same model on outcomes dealt out anew within each market."""
    rng, hot = np.random.default_rng(choice.seed), train.hot.copy()
    for market in sorted(set(train.market)):
        members = np.flatnonzero(train.market == market)
        hot[members] = hot[rng.permutation(members)]
    return LogisticHype(fit(replace(train, hot=hot), choice.strength))


def _masked(train: Windows, choice: HypeSettings) -> LogisticHype:
    """The same model without the counts of posts."""
    features = train.features.copy()
    features[:, POSTS] = 0.0
    return LogisticHype(fit(replace(train, features=features), choice.strength))


def card(folds: Sequence[Fold], extra: dict[str, Any], final: HypeParameters) -> str:
    """The model card: every fold beside its baselines, the placebo, and what the features weigh."""
    lines = [_line(fold) for fold in folds]
    order = np.argsort(-np.abs(final.weights))
    weights = "\n".join(f"| {NAMES[i]} | {final.weights[i]:+.3f} |" for i in order)
    said = "beats" if final.signal else "does not beat"
    listed = extra.get("on_exchanges")
    apart = (
        f"Of the last fold, markets on exchanges alone (without founders' on-chain tokens): {listed}." if listed else ""
    )
    return f"""# Hype, first generation

Probability that the volume of the next {STEPS} minutes exceeds the 80th percentile of the market's last 32 windows.
Logistic regression on {len(NAMES)} numbers, calibrated on earlier folds; forecasts scored {STEPS} minutes apart.
On its latest fold it {said} persistence (lower end of the interval), so answers carry signal = {final.signal}.

| fold from | rows before | n | base rate | AUC | AUC of level alone | Brier skill over base rate | over persistence | ECE |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Intervals (95 %, days drawn): last fold {folds[-1].measured["intervals"]}. The shipped weights are those of the last fold,
fitted on what came before it; which features there are was chosen with all folds in view.
{apart}

Placebo (outcomes dealt anew within each market), last fold: {extra["placebo"]}. Without counts of posts:
{extra["without_posts"]}. Words and moods are not used: this generation was fitted on windows, most of which hold no post.

| standardised feature | weight |
|---|---|
{weights}
"""


def _line(fold: Fold) -> str:
    m = fold.measured
    values = (m["n"], m["base_rate"], m["auc"], m["level_auc"], m["bss"], m["skill_over_persistence"], m["ece"])
    day = moment(fold.start).date()
    return f"| {day} | {fold.rows} | " + " | ".join(str(v) for v in values) + " |"
