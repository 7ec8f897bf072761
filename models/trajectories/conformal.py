"""Adaptive conformal inference: the band's stated miss rate follows what closed windows say.

Dynamically-tuned adaptive conformal inference (Gibbs and Candès, arXiv 2208.08401): one expert per step size, weighed by its
recent quantile loss, so that no step size has to be chosen. Large ones are left out, for windows an hour apart overlap and miss
together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = np.array([0.0005, 0.001, 0.002, 0.004, 0.008, 0.016])
TARGET = 0.2
WINDOW = 500
"""Closed windows over which regret is controlled; sets the learning rate and how much is shared between experts."""
SHARED = 1 / (2 * WINDOW)
RATE = float(
    np.sqrt(3 / WINDOW)
    * np.sqrt((np.log(len(STEPS) * WINDOW) + 2) / ((1 - TARGET) ** 2 * TARGET**3 + (1 - TARGET) ** 3 * TARGET**2))
)
LOW, HIGH = 0.02, 0.5
"""The miss rates that a band may be made for, whatever the experts say."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """``miss``: float64[k], the miss rate each expert would make the next band for; ``weight``: float64[k], sums to 1."""

    miss: Doubles
    weight: Doubles

    @classmethod
    def fresh(cls) -> Experts:
        """Before anything has closed: every expert says the nominal miss rate."""
        return cls(np.full(len(STEPS), TARGET), np.full(len(STEPS), 1 / len(STEPS)))

    @property
    def rate(self) -> float:
        """The miss rate to make the next band for."""
        return float(np.clip(self.weight @ self.miss, LOW, HIGH))

    def after(self, place: float) -> Experts:
        """The experts once an outcome is known; ``place``: its probability integral transform under the forecast, 0 to 1."""
        needed = 2 * min(place, 1 - place)
        loss = TARGET * (needed - self.miss) - np.minimum(0.0, needed - self.miss)
        weight = self.weight * np.exp(-RATE * loss)
        weight = (1 - SHARED) * weight / weight.sum() + SHARED / len(STEPS)
        miss = self.miss + STEPS * (TARGET - (needed < self.miss))
        return Experts(np.clip(miss, 0.0, 1.0), weight)
