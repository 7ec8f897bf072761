"""Walk-forward test of the band: expanding monthly folds, purged and embargoed, every figure beside its baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import STEPS
from models.trajectories.band import (
    FEWEST,
    KNOTS,
    LATE,
    LEVELS,
    POOL,
    STRIDE,
    BandParameters,
    at_levels,
    blend,
    scale,
)
from models.trajectories.conformal import Experts
from models.trajectories.measures import DAY, Doubles, Ints
from training.trajectories.windows import Windows, joined

EMBARGO = DAY
FEWEST_TRAIN = 1_000
PRIOR_WINDOWS = 20_000
"""Newest windows of training whose standardised moves give the prior quantiles."""
RIDGE = 30.0
PRIOR_WEIGHT = 100.0

Predict = Callable[[Windows], Doubles]
"""Windows to expected log volatilities (n, 3)."""
Fit = Callable[[Windows], Predict]


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Of ``windows``: expected log volatility (n, 3), standardised quantile tables (n, knots, levels), and the day's baselines.

    ``big_move``: float64[n], the trailing 90th percentile of absolute end moves; ``bias``: float64[n], of 24-hour persistence;
    NaN where unknown.
    """

    windows: Windows
    expected: Doubles
    tables: Doubles
    big_move: Doubles
    bias: Doubles


FIGURED = ("expected", "tables", "big_move", "bias")


def folds(windows: Windows) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(train, test) masks per month, oldest first; no label of train and a day more meets the test month."""
    months = (windows.start * 60).astype("datetime64[s]").astype("datetime64[M]")
    for month in np.unique(months):
        begins = int(month.astype("datetime64[s]").astype(np.int64)) // 60
        train = windows.start + STEPS + 1 + EMBARGO <= begins
        if train.sum() >= FEWEST_TRAIN:
            yield train, months == month


def ridge(inputs: Doubles, target: Doubles, penalty: float = RIDGE) -> Doubles:
    """Weights (measures) of a ridge on standardised columns, given for the raw ones; the first column is the constant."""
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    mean[0], spread[0] = 0.0, 1.0
    scaled = (inputs - mean) / spread
    shrink = penalty * np.eye(inputs.shape[1])
    shrink[0, 0] = 0.0
    weights = np.linalg.solve(scaled.T @ scaled + shrink, scaled.T @ target) / spread
    weights[0] -= mean @ weights
    return np.asarray(weights, dtype=np.float64)


def fit_ridges(train: Windows) -> Doubles:
    """float64[3, measures]: one ridge per horizon."""
    return np.stack([ridge(train.inputs[:, h], train.target[:, h]) for h in range(3)])


def by_ridge(train: Windows) -> Predict:
    """The shipped model's fit."""
    weights = fit_ridges(train)
    return lambda windows: np.asarray(np.einsum("nhf,hf->nh", windows.inputs, weights), dtype=np.float64)


def prior_of(train: Windows, predict: Predict) -> Doubles:
    """Quantiles (knots, levels) of the newest training windows in units of what was expected of them."""
    newest = train.take(np.arange(len(train))[-PRIOR_WINDOWS:])
    return np.asarray(np.quantile(newest.moves / scale(predict(newest), KNOTS), LEVELS, axis=0).T, dtype=np.float64)


def forecast(windows: Windows, fit: Fit) -> Forecasts:
    """Every test month forecast by what was fitted before it; months without enough before them are left out.

    Raises:
        InputError: no month has enough before it.
    """
    parts = [_fold(windows, train, test, fit) for train, test in folds(windows)]
    if not parts:
        raise InputError(f"No month has {FEWEST_TRAIN} windows before it to fit on; give candles of more months.")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in FIGURED}
    return Forecasts(joined(windows.names, [part.windows for part in parts]), **arrays)


def _fold(windows: Windows, train: NDArray[np.bool_], test: NDArray[np.bool_], fit: Fit) -> Forecasts:
    earlier = windows.take(train)
    predict = fit(earlier)
    month = windows.take(test)
    parameters = BandParameters(np.zeros((3, 1)), prior_of(earlier, predict), PRIOR_WEIGHT)
    reach = (windows.start >= month.start.min() - POOL - DAY) & (windows.start <= month.start.max())
    near = windows.take(reach)
    expected = predict(near)
    standard = near.moves / scale(expected, KNOTS)
    tables = np.empty((len(month), len(KNOTS), len(LEVELS)))
    big, bias = np.full(len(month), np.nan), np.full(len(month), np.nan)
    for market, day in sorted(set(month.days)):
        own = (near.market == market) & (near.start >= day * DAY - POOL) & (near.start + STEPS < day * DAY - LATE)
        rows = (month.market == market) & (month.start // DAY == day)
        tables[rows] = blend(parameters, standard[own])
        if own.sum() >= FEWEST:
            big[rows] = np.quantile(np.abs(near.moves[own, -1]), 0.9)
            bias[rows] = (near.target[own, 2] - near.day_before[own]).mean()
    return Forecasts(month, expected[test[reach]], tables, big, bias)


def places(truth: Doubles, quantiles: Doubles) -> Doubles:
    """float64[n, k]: where each outcome lies among its quantiles (n, k, levels), 0 to 1 (probability integral transform)."""
    flat, tables = truth.ravel(), quantiles.reshape(-1, quantiles.shape[-1])
    found = [np.interp(value, table, LEVELS, left=0.0, right=1.0) for value, table in zip(flat, tables, strict=True)]
    return np.array(found).reshape(truth.shape)


def miss_rates(market: Ints, start: Ints, place: Doubles) -> Doubles:
    """float64[n, 3]: the miss rates each band is made for, from what had closed by its start; places: (n, 3).

    As live: of a market's windows that start within the same 64 minutes only the first is told to the experts.
    """
    out = np.empty(place.shape)
    for own in np.unique(market):
        rows = np.flatnonzero(market == own)
        rows = rows[np.argsort(start[rows], kind="stable")]
        experts, told, slot = [Experts.fresh()] * place.shape[1], 0, -1
        for row in rows:
            while start[rows[told]] + STEPS < start[row]:
                closed = rows[told]
                if start[closed] // STRIDE > slot:
                    slot = int(start[closed] // STRIDE)
                    experts = [e.after(float(p)) for e, p in zip(experts, place[closed], strict=True)]
                told += 1
            out[row] = [e.rate for e in experts]
    return out


def band(quantiles: Doubles, rates: Doubles) -> tuple[Doubles, Doubles]:
    """(low, high), each (n, k), from quantiles (n, k, levels) and miss rates (n, k)."""
    shape = rates.shape
    tables, wanted = quantiles.reshape(-1, quantiles.shape[-1]), rates.ravel()
    return at_levels(tables, wanted / 2).reshape(shape), at_levels(tables, 1 - wanted / 2).reshape(shape)
