"""Gradient boosted trees as arrays: fitted by scikit-learn's HistGradientBoosting, stored and read without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
AT_ONCE = 500
"""Rows at a time, so that the nodes of all trees stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Boosting:
    """Trees (t) padded to the same number of nodes (k); a leaf points to itself.

    ``feature``: int16 (t, k); ``threshold``, ``value``: float64 (t, k); ``left``, ``right``: int16 (t, k);
    ``missing_left``: uint8 (t, k), where NaN goes; ``baseline``: float64[1]; ``depth``: int16[1], the deepest leaf.
    """

    feature: NDArray[np.int16]
    threshold: Doubles
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    missing_left: NDArray[np.uint8]
    value: Doubles
    baseline: Doubles
    depth: NDArray[np.int16]

    kind = "boosting"

    def logit(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Of features (n, f), NaN where unknown: float64[n]."""
        parts = [self._logit(features[i : i + AT_ONCE]) for i in range(0, len(features), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _logit(self, x: Doubles) -> Doubles:
        trees, size = self.feature.shape
        root = np.arange(trees, dtype=np.int64)[None, :] * size
        row = np.arange(len(x), dtype=np.int64)[:, None] * x.shape[1]
        flat, missing = x.ravel(), self.missing_left.ravel() > 0
        feature, threshold = self.feature.ravel(), self.threshold.ravel()
        left, right = (root.T + self.left).ravel(), (root.T + self.right).ravel()
        unknown = bool(np.isnan(x).any())
        at = np.repeat(root, len(x), axis=0)
        for _ in range(int(self.depth[0])):
            seen = flat.take(row + feature.take(at))
            with np.errstate(invalid="ignore"):
                goes_left = seen <= threshold.take(at)
            if unknown:
                goes_left |= np.isnan(seen) & missing.take(at)
            at = np.where(goes_left, left.take(at), right.take(at))
        return np.asarray(self.value.ravel().take(at).sum(axis=1) + self.baseline[0])

    def looks_at(self, columns: Sequence[int]) -> bool:
        """Whether any of these features can change an answer."""
        return bool(np.isin(self.feature[self.left != np.arange(self.feature.shape[1])], columns).any())

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For ``model.safetensors``."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Boosting:
        """The model of :meth:`tensors`."""
        return cls(**{name: tensors[name] for name in cls.__slots__})

    @classmethod
    def from_sklearn(cls, *fitted: Any) -> Boosting:
        """The mean of fitted HistGradientBoosting models (two classes: the logit; numeric features), one per seed."""
        trees = [step[0].nodes for model in fitted for step in model._predictors]
        size = max(len(nodes) for nodes in trees)
        share = 1.0 / len(fitted)
        arrays: dict[str, NDArray[Any]] = {
            "feature": np.zeros((len(trees), size), np.int16),
            "threshold": np.zeros((len(trees), size)),
            "left": np.tile(np.arange(size, dtype=np.int16), (len(trees), 1)),
            "right": np.tile(np.arange(size, dtype=np.int16), (len(trees), 1)),
            "missing_left": np.zeros((len(trees), size), np.uint8),
            "value": np.zeros((len(trees), size)),
        }
        for i, nodes in enumerate(trees):
            inner = ~nodes["is_leaf"].astype(bool)
            arrays["feature"][i, : len(nodes)] = np.where(inner, nodes["feature_idx"], 0)
            arrays["threshold"][i, : len(nodes)] = np.where(inner, nodes["num_threshold"], 0.0)
            for side in ("left", "right"):
                own = np.arange(len(nodes))
                arrays[side][i, : len(nodes)] = np.where(inner, nodes[side], own)
            arrays["missing_left"][i, : len(nodes)] = nodes["missing_go_to_left"]
            arrays["value"][i, : len(nodes)] = nodes["value"] * share
        baseline = np.mean([np.ravel(model._baseline_prediction)[0] for model in fitted])
        deepest = max(int(nodes["depth"].max()) for nodes in trees)
        return cls(**arrays, baseline=np.array([baseline]), depth=np.array([deepest], np.int16))
