"""Fit the band: ridges from realised measures to the volatility of the next 15, 60 and 256 minutes, and prior quantiles.

All windows of all candles are used for what ships; what it is worth is measured by a walk-forward on the same candles, in which
nothing is fitted on a month that it forecasts, and on the posts after ``since`` with a model fitted before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from domain.types import STEPS
from models.manifest import ARTIFACTS
from models.trajectories.band import BandParameters
from models.trajectories.library import load_library
from models.trajectories.measures import NAMES
from models.trajectories.retrieval import RetrievedTrajectories, save_parameters
from training.registry import TrainOptions, settings
from training.trajectories import band_figures, evaluate
from training.trajectories.pairs import capped, load_pairs, load_tapes, parquet_files, shipped_embed, without_repeats
from training.trajectories.walk_forward import EMBARGO, PRIOR_WEIGHT, by_ridge, fit_ridges, forecast, prior_of
from training.trajectories.windows import Windows, climatologies, longest, windows_of


@dataclass(frozen=True, slots=True)
class TrajectorySettings:
    """``since``: ISO time; posts from it on are asked of a model fitted before it. ``per_bin``: posts per symbol and bin.

    ``artifacts``: folder with the text encoder and the library, where they are not those that ship.
    """

    since: str = "2025-04-01T00:00:00+00:00"
    per_bin: int = 1
    seed: int = 0
    artifacts: str = ""


def fit(windows: Windows) -> BandParameters:
    """The band's numbers from windows in order of time."""
    return BandParameters(fit_ridges(windows), prior_of(windows, by_ridge(windows)), PRIOR_WEIGHT)


def before(windows: Windows, minute: int) -> Windows:
    """The windows that had ended a day before an epoch minute."""
    return windows.take(windows.start + STEPS + 1 + EMBARGO <= minute)


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Fit on the candles under ``options.data``, measure on them and on the pairs there, save into ``options.out``.

    Raises:
        InputError: there are no pairs or candles, or too few months of them.
    """
    choice = settings(TrajectorySettings, config)
    artifacts = Path(choice.artifacts) if choice.artifacts else ARTIFACTS
    tapes = load_tapes(parquet_files(options.data, "candles"))
    chosen = longest(tapes)
    windows = windows_of(chosen)
    walked = band_figures.figures(forecast(windows, by_ridge), climatologies(chosen, windows), by_market=False)
    since = datetime.fromisoformat(choice.since).timestamp()
    pairs = capped(without_repeats(load_pairs(parquet_files(options.data, "pairs"))), choice.per_bin, choice.seed)
    pairs = pairs.take(pairs.time >= since)
    earlier = fit(before(windows, int(since) // 60))
    asked = evaluate.ask(pairs, shipped_embed(artifacts)(list(pairs.text)), tapes, earlier)
    held = evaluate.figures(RetrievedTrajectories(earlier, load_library(artifacts).rows), asked, choice.seed)
    shown = {name: value for name, value in asdict(choice).items() if name != "artifacts"}
    measured = {"windows": len(windows), "walk_forward": walked, "held_out": held}
    save_parameters(
        options.out, fit(windows), {"settings": shown, **measured}, card(windows, walked, held, choice.since)
    )
    return measured


def card(windows: Windows, walked: Mapping[str, Any], held: Mapping[str, Any], since: str) -> str:
    """The model card: the walk-forward's figures and those on posts, each beside what it must beat."""
    recall, spread, covered = held["r_at_10"], held["intervals"], walked["coverage"]
    quarters = covered["quarters"].values()
    days = (np.array([windows.start.min(), windows.start.max()]) * 60).astype("datetime64[s]").astype("datetime64[D]")
    return f"""# The band, and matched trajectories beside it

The band: ridges on {len(NAMES)} realised measures of the last 5.7 days (volatility over ten spans, bipower and downside
variation, volume, the same clock time of past days, hour and weekday) give the expected volatility of the next 15, 60 and
256 minutes; quantiles of what the market's own windows of the last 45 days did in those units, with a prior from all markets,
give its edges at every minute. Adaptive conformal inference corrects its miss rate per market from closed windows.
Fitted on {len(windows)} windows of {", ".join(windows.names)}, {days[0]} to {days[1]}.

The matches (nearest past posts by their words, exact cosine, k = 10, ended before the post) are evidence to look at; they do
not move the band.

Walk-forward by months, {walked["n"]} windows ({walked["independent_windows"]} that do not overlap), nothing fitted on a month
that it forecasts; 95 % intervals by days:

| figure | value | interval | to beat |
|---|---|---|---|
| coverage of the 0.8 band | {covered["all"]} | {covered["interval"]} | 0.8 |
| … by quarter, least and most | {min(quarters)} to {max(quarters)} | | 0.76 to 0.84 |
| CRPS skill | {walked["crps_skill"]["all"]["skill"]} | {walked["crps_skill"]["all"]["interval"]} | 0 (the week before) |
| volatility skill | {walked["volatility_skill"]["skill"]} | {walked["volatility_skill"]["interval"]} | 0 (the last 24 hours) |
| big move AUC | {walked["big_move_auc"]["auc"]} | | {walked["big_move_auc"]["threshold_alone"]} (threshold alone) |

On {held["n"]} posts from {since[:10]} on, by a model fitted before them:

| figure | value | interval | to beat |
|---|---|---|---|
| coverage of the 0.8 band | {held["coverage"]} | {spread.get("coverage")} | 0.8 |
| CRPS skill | {held["crps_skill"]} | {spread.get("crps_skill")} | 0 (the week before) |
| volatility skill | {held["volatility_skill"]} | {spread.get("volatility_skill")} | 0 (the last 24 hours) |
| big move AUC | {held["big_move_auc"]} | | 0.5 |
| R@10 | {recall["model"]} | {spread.get("r_at_10")} | chance {recall["chance"]}, words exchanged {recall["placebo"]} |

The words of a post do not enter the band: with the words of the posts exchanged the answers' bands are the same.
Nothing here says which way a price goes.
"""
