"""Fit the few numbers of the trajectory model: expected volatility, share of the matches' mean, conformal quantiles.

One post per (symbol, 256-minute bin). In time order: the first part fits the regressions, the next one the quantiles, and
what comes after ``held_out_from`` is only measured; windows that reach into the next part, and a day more, are purged.
A learned projection of the words was tried and left out: see the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.candles import FLOOR
from domain.errors import InputError
from domain.library import LibraryRows
from domain.types import STEPS, Floats
from models.manifest import ARTIFACTS
from models.trajectories.index import realised
from models.trajectories.library import load_library
from models.trajectories.retrieval import (
    ROOT,
    Parameters,
    RetrievedTrajectories,
    View,
    save_parameters,
)
from training.registry import TrainOptions, settings
from training.trajectories.evaluate import Questions, ask, figures
from training.trajectories.pairs import capped, load_pairs, load_tapes, parquet_files, shipped_embed, without_repeats
from training.trajectories.tape import moment

DAY = 86_400
FEATURES = 10
KNOTS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 255], dtype=np.int64)
LEVELS = np.array([0.01, 0.025, 0.05, *np.linspace(0.1, 0.9, 17), 0.95, 0.975, 0.99])

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrajectorySettings:
    """``held_out_from``: ISO time from which nothing is fitted; ``calibration``: last share of the windows before it.

    ``artifacts``: folder with the text encoder and the library, where they are not those that ship.
    """

    held_out_from: str = "2025-04-01T00:00:00+00:00"
    calibration: float = 0.3
    ridge: float = 1.0
    per_bin: int = 1
    seed: int = 0
    artifacts: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Masks over questions ordered by time; no window of one part meets the next part."""

    fit: NDArray[np.bool_]
    calibrate: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split(times: NDArray[np.int64], held_out_from: float, calibration: float) -> Folds:
    """Purged and embargoed parts by time."""
    reach = times + (STEPS + 1) * 60 + DAY
    early = times[reach <= held_out_from]
    turn = float(np.quantile(early, 1 - calibration)) if len(early) else held_out_from
    return Folds(reach <= turn, (times >= turn) & (reach <= held_out_from), times >= held_out_from)


def neutral() -> Parameters:
    """Numbers before any fit: volatility carries on, the band is centred on no change."""
    carried = np.eye(FEATURES)[1]
    return Parameters(carried, 0.0, np.array([1, STEPS - 1]), np.array([0.1, 0.9]), np.array([[-1.3, 1.3]] * 2))


def fit(views: Sequence[View], truth: Doubles, folds: Folds, ridge: float) -> Parameters:
    """Regressions on one part, quantiles on the next (with the finite-sample step outwards of split conformal)."""
    inputs, means = np.stack([v.features for v in views]), np.stack([v.mean for v in views])
    target = np.log(np.maximum(realised(truth), FLOOR)).astype(np.float64)
    a, penalty = inputs[folds.fit], ridge * np.diag([0.0] + [1.0] * (FEATURES - 1))
    weights = np.linalg.solve(a.T @ a + penalty, a.T @ target[folds.fit])
    scale = np.exp(inputs @ weights)[:, None] * np.maximum(ROOT, 1.0)
    x, y = (means / scale)[folds.fit][:, KNOTS], (truth / scale)[folds.fit][:, KNOTS]
    shrink = float(np.clip((x * y).sum() / (x * x).sum(), 0.0, 1.0))
    residual = ((truth - shrink * means) / scale)[folds.calibrate][:, KNOTS]
    step = 1.0 / (len(residual) + 1)
    outward = np.clip(LEVELS + np.sign(LEVELS - 0.5) * step, 0.0, 1.0)
    quantiles: Doubles = np.quantile(residual, outward, axis=0).T
    return Parameters(np.asarray(weights, dtype="f8"), shrink, KNOTS, LEVELS, quantiles)


def words_gain(views: Sequence[View], words: Floats, truth: Doubles, folds: Folds) -> float:
    """Share of the held-out squared error of log volatility that a ridge from the words removes, on top of the rest."""
    target = np.log(np.maximum(realised(truth), FLOOR)).astype(np.float64)
    plain = np.stack([v.features for v in views])
    errors = []
    for inputs, penalty in ((plain, 0.0), (np.concatenate([plain, words], axis=1), 300.0)):
        a = inputs[folds.fit]
        weigh = np.diag(np.where(np.arange(a.shape[1]) < FEATURES, 1e-3, penalty))
        weights = np.linalg.solve(a.T @ a + weigh, a.T @ target[folds.fit])
        errors.append(float(((inputs @ weights - target)[folds.test] ** 2).mean()))
    return round(1 - errors[1] / errors[0], 5)


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit on the pairs and candles under ``options.data``, measure on the held-out part, save into ``options.out``."""
    choice = settings(TrajectorySettings, config)
    artifacts = Path(choice.artifacts) if choice.artifacts else ARTIFACTS
    pairs = capped(without_repeats(load_pairs(parquet_files(options.data, "pairs"))), choice.per_bin, choice.seed)
    tapes = load_tapes(parquet_files(options.data, "candles"))
    questions = ask(pairs, shipped_embed(artifacts)(list(pairs.text)), tapes)
    return fit_and_save(questions, load_library(artifacts).rows, choice, options.out)


def fit_and_save(questions: Questions, library: LibraryRows, choice: TrajectorySettings, out: Path) -> dict[str, Any]:
    """Fit to questions in time order against a library, measure, save; returns the held-out figures."""
    pairs = questions.pairs
    views = RetrievedTrajectories(neutral(), library).views(
        [moment(t) for t in pairs.time],
        [""] * len(pairs),
        list(pairs.symbol),
        questions.embeddings,
        questions.contexts,
    )
    answered = np.array([v is not None for v in views], dtype=bool)
    seen, questions = [v for v in views if v], questions.take(answered)
    until = datetime.fromisoformat(choice.held_out_from).timestamp()
    folds = split(questions.pairs.time, until, choice.calibration)
    if not (folds.fit.any() and folds.calibrate.any() and folds.test.any()):
        raise InputError("The pairs do not reach far enough on both sides of held_out_from.")
    parameters = fit(seen, questions.truth, folds, choice.ridge)
    measured = figures(RetrievedTrajectories(parameters, library), questions.take(folds.test), choice.seed)
    measured["words_gain"] = words_gain(seen, questions.embeddings, questions.truth, folds)
    settings = {name: value for name, value in asdict(choice).items() if name != "artifacts"}
    config = {"settings": settings, "windows": _sizes(folds), "held_out": measured}
    save_parameters(out, parameters, config, card(parameters, questions, folds, measured))
    return {"windows": _sizes(folds), **measured}


def _sizes(folds: Folds) -> dict[str, int]:
    return {"fit": int(folds.fit.sum()), "calibrate": int(folds.calibrate.sum()), "test": int(folds.test.sum())}


def card(parameters: Parameters, questions: Questions, folds: Folds, measured: Mapping[str, Any]) -> str:
    """The model card, with what was measured on windows after everything that was fitted."""
    recall, spread = measured["r_at_10"], measured["intervals"]
    test = questions.pairs.time[folds.test]
    says = "no more than" if recall["model"] is None or recall["model"] <= _upper(recall, spread) else "more than"
    return f"""# Matched trajectories, first generation

Nearest past posts by their words (exact cosine, k = 10, ended before the post, windows that do not overlap), their mean,
and a band. Expected volatility is a ridge on {FEATURES} numbers (volatility before the post, the symbol's usual one, what
the matched windows did to theirs, the last hour, time of day, weekend); conformal quantiles of past residuals set the
width. Fitted on {int(folds.fit.sum())} windows, calibrated on the {int(folds.calibrate.sum())} after them.

Measured on {measured["n"]} posts in {measured["independent_windows"]} (symbol, 256-minute) windows,
{moment(test.min()).date()} to {moment(test.max()).date()}, after everything fitted; which inputs there are was
chosen with them in view. 95 % intervals by days:

| figure | value | interval | to beat |
|---|---|---|---|
| coverage of the 0.8 band | {measured["coverage"]} | {spread["coverage"]} | 0.8 |
| CRPS skill | {measured["crps_skill"]} | {spread.get("crps_skill")} | 0 (the symbol's past moves) |
| volatility skill | {measured["volatility_skill"]} | {spread.get("volatility_skill")} | 0 (volatility carried on) |
| big move AUC | {measured["big_move_auc"]} | | 0.5 |
| R@10 | {recall["model"]} | {spread.get("r_at_10")} | chance {recall["chance"]}, words exchanged {recall["placebo"]} |

What the words add: {says} the same model with the words of the posts exchanged. The skill above comes from
volatility and the clock. The share of the matches' mean that enters the band's centre was fitted as
{parameters.shrink:.3f} of 1: the matches' mean says next to nothing about direction and is shown as history, not as a
forecast. A ridge from the words to volatility (the candidate for a learned projection) removed
{measured["words_gain"]} of the held-out error, so none is used.
"""


def _upper(recall: Mapping[str, Any], spread: Mapping[str, Any]) -> float:
    """The placebo's share plus half the width of the model's interval: less than that is no difference."""
    low, high = spread.get("r_at_10", (0.0, 0.0))
    return float(recall["placebo"] + (high - low) / 2)
