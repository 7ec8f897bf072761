"""The served hype models: one head per target, calibrated, in one folder; what they need is in :mod:`models.hype.features`.

``config.json`` holds each head's kind, horizon, base rate, calibration and signal, ``model.safetensors`` its arrays under
the head's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domain.errors import WeightsError
from domain.series import PAST
from domain.types import Floats, HypeForecast, MarketContext
from models import checkpoint
from models.hype.boosting import Boosting
from models.hype.features import MIN_PAST, NAMES, TROUBLES, Situations, past_of, sequences, situations
from models.hype.logistic import Logistic
from models.manifest import ARTIFACTS

FOLDER = "hype"
Doubles = NDArray[np.float64]


class Model(Protocol):
    """What a head computes with: logistic, boosting, or a sequence model."""

    @property
    def kind(self) -> str: ...

    def logit(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Logits float64[n] of features (n, f), or of windows (n, steps, channels) for a sequence model."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One target. ``name``: ``symbol-15``, ``symbol-60`` or ``post``; ``base_rate`` is of the training rows.

    ``slope`` and ``shift`` calibrate the logit (Platt, 1999); ``signal``: whether the model beat persistence on the
    latest walk-forward fold; ``trailing``: windows of 15 minutes that the threshold looks back on.
    """

    name: str
    model: Model
    horizon: int
    base_rate: float
    signal: bool
    slope: float = 1.0
    shift: float = 0.0
    trailing: int = PAST

    def probability(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Calibrated, float64[n]."""
        logit = self.slope * self.model.logit(features, sequence) + self.shift
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))), dtype=np.float64)

    @property
    def sequential(self) -> bool:
        """Whether the model looks at the windows themselves."""
        return self.model.kind not in ("logistic", "boosting")

    def about(self) -> dict[str, Any]:
        """For ``config.json``."""
        names = ("horizon", "base_rate", "signal", "slope", "shift", "trailing")
        return {"kind": self.model.kind, **{name: getattr(self, name) for name in names}}


class HypeHeads:
    """Implements :class:`models.parts.HypeModel`."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = {head.name: head for head in heads}

    def forecast(
        self, contexts: Sequence[MarketContext | None], embeddings: Floats, moods: Floats
    ) -> list[HypeForecast]:
        """The longest horizon's forecast of each context."""
        return [row[-1] for row in self.symbol(contexts)]

    def of_symbols(self) -> list[Head]:
        """The heads of a symbol, the shortest horizon first."""
        return sorted((h for h in self.heads.values() if h.name.startswith("symbol-")), key=lambda h: h.horizon)

    def symbol(self, contexts: Sequence[MarketContext | None]) -> list[list[HypeForecast]]:
        """For each context one forecast per horizon, the shortest first; None with a reason where the past is too short."""
        heads = self.of_symbols()
        known = [context for context in contexts if context is not None]
        by_head = [self._forecasts(head, known) for head in heads]
        out: list[list[HypeForecast]] = []
        place = 0
        for context in contexts:
            if context is None:
                reason = "There are no candles of this market before the post."
                out.append([_nothing(head, reason) for head in heads])
            else:
                out.append([row[place] for row in by_head])
                place += 1
        return out

    def _forecasts(self, head: Head, contexts: Sequence[MarketContext]) -> list[HypeForecast]:
        if not contexts:
            return []
        past = past_of(contexts)
        now = situations(past, head.horizon, head.trailing)
        windows = sequences(past, head.horizon, head.trailing) if head.sequential else None
        chances = head.probability(now.features, windows)
        return [_forecast(head, now, i, float(chances[i]), past.window_volume[i]) for i in range(len(contexts))]


def _forecast(head: Head, now: Situations, i: int, chance: float, windows: Doubles) -> HypeForecast:
    trouble = TROUBLES[now.trouble[i]]
    if trouble:
        count = int(np.isfinite(windows).sum())
        reasons = {
            "thin": "There are not enough candles in the 256 minutes before the post.",
            "short": f"Only {count} of the {PAST} windows before the post have enough candles; {MIN_PAST} are needed.",
            "idle": "Nothing was traded in the windows before the post.",
        }
        return _nothing(head, reasons[trouble])
    reason = None if head.signal else "No signal: on its latest test the model did not beat persistence."
    return HypeForecast(chance, head.base_rate, head.horizon, float(now.threshold[i]), head.signal, reason)


def _nothing(head: Head, reason: str) -> HypeForecast:
    return HypeForecast(None, head.base_rate, head.horizon, None, signal=False, reason=reason)


def save_hype(folder: Path, heads: Sequence[Head], config: Mapping[str, Any], card: str) -> None:
    """Write ``config.json`` (the heads and what the caller adds), ``model.safetensors`` and the card."""
    arrays = {f"{head.name}.{name}": value for head in heads for name, value in head.model.tensors().items()}
    body = {"heads": {head.name: head.about() for head in heads}, "features": NAMES, **config}
    checkpoint.save(folder, body, arrays, card)


def load_hype(artifacts: Path = ARTIFACTS) -> HypeHeads:
    """The shipped models.

    Raises:
        WeightsError: its files are missing, altered, unreadable or of other features.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        if tuple(config["features"]) != NAMES:
            raise ValueError("it was made for other features")
        heads = [_head(name, about, arrays) for name, about in config["heads"].items()]
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"The hype model cannot be read ({error}); install moodtape again.") from None
    return HypeHeads(heads)


def _head(name: str, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Head:
    own = {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(name + ".")}
    kind = about.pop("kind")
    return Head(name=name, model=_model(kind, own), **about)


def _model(kind: str, tensors: dict[str, NDArray[Any]]) -> Model:
    if kind == "logistic":
        return Logistic.from_tensors(tensors)
    if kind == "boosting":
        return Boosting.from_tensors(tensors)
    from models.hype.sequence import SequenceModel

    return SequenceModel.from_tensors(kind, tensors)
