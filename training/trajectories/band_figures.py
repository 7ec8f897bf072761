"""Figures of band forecasts, each beside what it must beat, with intervals by a bootstrap over days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.trajectories.band import AT, HORIZONS, KNOTS, exceeds, quantile_loss, scale
from models.trajectories.measures import Doubles
from training.metrics import auc, interval
from training.trajectories.challengers import all_of
from training.trajectories.pairs import load_tapes
from training.trajectories.walk_forward import Forecasts, band, by_ridge, forecast, miss_rates, places
from training.trajectories.windows import climatologies, longest, windows_of


def band_study(files: Sequence[Path], challengers: bool = False) -> dict[str, Any]:
    """The walk-forward of the shipped kind of band on parquet files of candles: the longest tape of every symbol.

    ``challengers``: beside it a row of each learned one on the same windows, and the shipped one's; they take an hour on
    a hundred months of candles.

    Raises:
        InputError: a column is missing, or there are too few months.
    """
    tapes = longest(load_tapes(files))
    windows = windows_of(tapes)
    before = climatologies(tapes, windows)
    found = figures(forecast(windows, by_ridge), before)
    if challengers:
        made = all_of(tapes, windows).items()
        found["challengers"] = {name: _row(figures(forecasts(), before, by_market=False)) for name, forecasts in made}
    return found


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a forecaster is compared by."""
    return {
        "n": found["n"],
        "coverage": found["coverage"]["all"],
        "crps_skill": found["crps_skill"]["all"],
        "volatility_skill": found["volatility_skill"],
        "big_move_auc": found["big_move_auc"]["auc"],
    }


def figures(
    made: Forecasts, climatology: Mapping[tuple[int, int], Doubles], *, by_market: bool = True
) -> dict[str, Any]:
    """Coverage by year and quarter with and without adaptive conformal inference, CRPS, volatility and big moves."""
    windows, truth = made.windows, made.windows.moves
    quantiles = scale(made.expected, KNOTS)[:, :, None] * made.tables
    found: dict[str, Any] = {"n": len(windows), "independent_windows": independent(made)}
    fixed = band(quantiles, np.full(truth.shape, 0.2))
    rates = miss_rates(windows.market, windows.start, places(truth[:, AT], quantiles[:, AT]))
    adaptive = band(quantiles, between(rates))
    found["coverage"] = covered(windows.start, truth, adaptive)
    found["coverage_fixed"] = covered(windows.start, truth, fixed)
    found["width_ratio"] = _numbers((adaptive[1] - adaptive[0])[:, AT].mean(0) / (fixed[1] - fixed[0])[:, AT].mean(0))
    found["crps_skill"] = _crps(made, quantiles, climatology)
    found["volatility_skill"] = _volatility(made)
    found["big_move_auc"] = _big_moves(made, quantiles)
    if by_market:
        each = {name: windows.market == m for m, name in enumerate(windows.names)}
        found["markets"] = {
            name: figures(_take(made, rows), climatology, by_market=False)
            for name, rows in each.items()
            if rows.sum() > 100
        }
    return found


def independent(made: Forecasts) -> int:
    """Number of windows that do not overlap: one per market and 256 minutes."""
    return len(set(zip(made.windows.market.tolist(), (made.windows.start // 256).tolist(), strict=True)))


def between(rates: Doubles) -> Doubles:
    """Miss rates (n, knots) from those of the three horizons (n, 3), between them in log step."""
    at = np.log(KNOTS[AT])
    return np.stack([np.interp(np.log(KNOTS), at, row) for row in rates])


def covered(start: NDArray[np.int64], truth: Doubles, edges: tuple[Doubles, Doubles]) -> dict[str, Any]:
    """Share of steps inside a band: in all (with interval), at each horizon, by year, and the extremes of the quarters."""
    inside = ((truth >= edges[0]) & (truth <= edges[1])).astype(np.float64)
    mean = inside.mean(axis=1)
    times = (start * 60).astype("datetime64[s]")
    year, quarter = times.astype("datetime64[Y]"), times.astype("datetime64[M]").astype(np.int64) // 3
    quarters = {f"{1970 + q // 4}-Q{q % 4 + 1}": round(float(mean[quarter == q].mean()), 4) for q in np.unique(quarter)}
    return {
        "all": round(float(mean.mean()), 4),
        "interval": _numbers(interval(mean, np.ones(len(mean)), start * 60)),
        **{f"at_{h}": round(float(inside[:, k].mean()), 4) for h, k in zip(HORIZONS, AT, strict=True)},
        "years": {str(y): round(float(mean[year == y].mean()), 4) for y in np.unique(year)},
        "quarters": quarters,
    }


def skill(ours: Doubles, theirs: Doubles, start: NDArray[np.int64]) -> dict[str, Any]:
    """1 - ours / theirs, with its interval."""
    low, high = interval(ours, theirs, start * 60)
    return {"skill": round(float(1 - ours.sum() / theirs.sum()), 4), "interval": _numbers((1 - high, 1 - low))}


def _crps(made: Forecasts, quantiles: Doubles, climatology: Mapping[tuple[int, int], Doubles]) -> dict[str, Any]:
    keys = made.windows.days
    rows = np.array([i for i, key in enumerate(keys) if key in climatology], dtype=np.int64)
    theirs = np.stack([climatology[keys[i]] for i in rows])
    truth, start, out = made.windows.moves[rows], made.windows.start[rows], {}
    total = np.zeros((2, len(rows)))
    for horizon, k in zip(HORIZONS, AT, strict=True):
        losses = [quantile_loss(truth[:, k], q) for q in (quantiles[rows, k], theirs[:, k])]
        out[f"at_{horizon}"] = skill(losses[0], losses[1], start)
        total += np.array(losses) / np.sqrt(KNOTS[k])
    return {"all": skill(total[0], total[1], start), **out}


def _volatility(made: Forecasts) -> dict[str, Any]:
    target, known = made.windows.target[:, 2], np.isfinite(made.bias)
    ours = (target - made.expected[:, 2]) ** 2
    theirs = (target - made.windows.day_before - np.where(known, made.bias, 0.0)) ** 2
    return skill(ours[known], theirs[known], made.windows.start[known])


def _big_moves(made: Forecasts, quantiles: Doubles) -> dict[str, Any]:
    known = np.isfinite(made.big_move)
    threshold, table = made.big_move[known], quantiles[known, -1]
    happened = np.abs(made.windows.moves[known, -1]) > threshold
    chance = [exceeds(t, q) for t, q in zip(threshold, table, strict=True)]
    return {
        "auc": auc(happened, np.array(chance)),
        "threshold_alone": auc(happened, -threshold),
        "rate": round(float(happened.mean()), 4),
        "brier": round(float(((np.array(chance) - happened) ** 2).mean()), 5),
    }


def _take(made: Forecasts, rows: NDArray[Any]) -> Forecasts:
    return Forecasts(made.windows.take(rows), *(getattr(made, n)[rows] for n in Forecasts.__slots__ if n != "windows"))


def _numbers(values: Any) -> list[float]:
    return [round(float(v), 4) for v in values]
