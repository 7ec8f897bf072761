"""Preparation of series before any encoder, each step a switch that is off unless stated; fitted on the training part only.

Everything looks back, never ahead: a missing value takes the last known one (the report's back-fill leaks the future).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def decoded(labels: NDArray[Any]) -> NDArray[np.str_]:
    """Labels as text; bytes (as ARFF files give them) are decoded."""
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in labels.tolist()])


def forward_filled(x: Doubles) -> Doubles:
    """NaN inside a series (n, channels, time) takes the last value before it; NaN at its start stays, as does a NaN tail."""
    known = np.isfinite(x)
    steps = np.where(known, np.arange(x.shape[-1]), 0)
    last = np.maximum.accumulate(steps, axis=-1)
    inside = np.arange(x.shape[-1]) <= steps.max(axis=-1, keepdims=True)
    return np.where(inside, np.take_along_axis(x, last, axis=-1), x)


def moving_average(x: Doubles, window: int) -> Doubles:
    """Mean of each step and up to ``window`` - 1 before it; NaN steps are left out of it and stay NaN."""
    known = np.isfinite(x)
    sums, counts = np.where(known, x, 0.0).cumsum(-1), known.cumsum(-1).astype(np.float64)
    sums[..., window:], counts[..., window:] = (
        sums[..., window:] - sums[..., :-window],
        counts[..., window:] - counts[..., :-window],
    )
    return np.where(known, sums / np.maximum(counts, 1), np.nan)


@dataclass(slots=True, eq=False)
class Preparation:
    """Switches and, after :meth:`fit`, what they learned from the training part.

    ``fill``: causal filling; ``outliers``: "" , "zscore" (beyond ``bound`` standard deviations) or "iqr" (beyond ``bound``
    times the interquartile range), pulled to the bound; ``smooth``: steps of the moving average, 0 for none; ``scale``: "",
    "standard" or "minmax" per channel; ``drop_correlated``: a channel that correlates beyond this with an earlier one goes
    (0: none does).
    """

    fill: bool = False
    outliers: str = ""
    bound: float = 4.0
    smooth: int = 0
    scale: str = ""
    drop_correlated: float = 0.0
    fitted: dict[str, Doubles] = field(default_factory=dict)

    def fit(self, x: NDArray[Any]) -> Preparation:
        """Learn bounds, scale and which channels stay from training series (n, channels, time)."""
        values = self._before(np.asarray(x, dtype=np.float64))
        flat = values.swapaxes(0, 1).reshape(values.shape[1], -1)
        mean, deviation = np.nanmean(flat, 1), np.maximum(np.nanstd(flat, 1), 1e-12)
        quarter, three = np.nanquantile(flat, 0.25, 1), np.nanquantile(flat, 0.75, 1)
        low, high = mean - self.bound * deviation, mean + self.bound * deviation
        if self.outliers == "iqr":
            low, high = quarter - self.bound * (three - quarter), three + self.bound * (three - quarter)
        if self.outliers:
            flat = np.clip(flat, low[:, None], high[:, None])
        centre, spread = np.nanmean(flat, 1), np.maximum(np.nanstd(flat, 1), 1e-12)
        if self.scale == "minmax":
            centre, spread = np.nanmin(flat, 1), np.maximum(np.nanmax(flat, 1) - np.nanmin(flat, 1), 1e-12)
        self.fitted = {
            "low": low,
            "high": high,
            "centre": centre,
            "spread": spread,
            "kept": _kept(flat, self.drop_correlated),
        }
        return self

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared series (n, channels kept, time), float32."""
        values = self._before(np.asarray(x, dtype=np.float64))
        column = {name: held[:, None] for name, held in self.fitted.items() if name != "kept"}
        if self.outliers:
            values = np.clip(values, column["low"], column["high"])
        if self.scale:
            values = (values - column["centre"]) / column["spread"]
        return np.asarray(values[:, self.fitted["kept"].astype(bool)], dtype=np.float32)

    def _before(self, x: Doubles) -> Doubles:
        x = forward_filled(x) if self.fill else x
        return moving_average(x, self.smooth) if self.smooth > 1 else x


def _kept(flat: Doubles, limit: float) -> Doubles:
    """1 for channels (of (channels, steps)) that correlate with no kept one before them beyond ``limit``."""
    kept = np.ones(len(flat))
    if limit <= 0:
        return kept
    sound = np.isfinite(flat).all(0)
    correlation = np.abs(np.nan_to_num(np.corrcoef(flat[:, sound])).reshape(len(flat), len(flat)))
    for i in range(1, len(flat)):
        kept[i] = float(not (correlation[i, :i][kept[:i] > 0] > limit).any())
    return kept
