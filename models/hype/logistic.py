"""Logistic regression on standardised features, as plain numbers: logit = clip((x - mean) / scale) · weights + intercept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

MOST = 6.0
"""Standard deviations at which a feature is clipped: one wild minute does not decide alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """What training fits; float64[f] each. An unknown feature (NaN) counts as its mean."""

    mean: Doubles
    scale: Doubles
    weights: Doubles
    intercept: float

    kind = "logistic"

    def logit(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Of features (n, f): float64[n]."""
        return np.asarray(self.standardised(features) @ self.weights + self.intercept, dtype=np.float64)

    def standardised(self, features: Doubles) -> Doubles:
        """Features with mean 0 and deviation 1 on the training rows, clipped."""
        scaled = np.nan_to_num((features - self.mean) / self.scale, nan=0.0, posinf=MOST, neginf=-MOST)
        return np.asarray(np.clip(scaled, -MOST, MOST))

    def looks_at(self, columns: Sequence[int]) -> bool:
        """Whether any of these features can change an answer."""
        return bool(self.weights[list(columns)].any())

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For ``model.safetensors``."""
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weights": self.weights,
            "intercept": np.array([self.intercept]),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Logistic:
        """The model of :meth:`tensors`."""
        return cls(tensors["mean"], tensors["scale"], tensors["weights"], float(tensors["intercept"][0]))
