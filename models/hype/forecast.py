"""The served hype models: one head per target, calibrated, in one folder; what they need is in :mod:`models.hype.features`.

``config.json`` holds each head's kind, horizon, base rate, calibration and signal, ``model.safetensors`` its arrays under
the head's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domain.answer import Hype, HypeForecast
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.series import PAST
from domain.types import AuthorHistory, Floats, MarketContext, Post
from models import checkpoint
from models.hype.boosting import Boosting
from models.hype.features import MIN_PAST, NAMES, POSTS, TROUBLES, Situations, sequences, situations
from models.hype.lift import COMPONENTS, LEAST, Written, lift_features
from models.hype.lift import NAMES as POST_NAMES
from models.hype.logistic import Logistic
from models.hype.past import past_of
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

    def looks_at(self, columns: Sequence[int]) -> bool:
        """Whether any of these features can change an answer."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """The mean of linear models and boosted trees of hot or not and of how hot, each of one deviation: they err differently."""

    parts: Mapping[str, Logistic | Boosting]

    kind = "blend"

    def logit(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Of features (n, f): float64[n]."""
        return np.asarray(np.mean([self.parts[name].logit(features) for name in sorted(self.parts)], axis=0))

    def looks_at(self, columns: Sequence[int]) -> bool:
        """Whether any of these features can change an answer."""
        return any(part.looks_at(columns) for part in self.parts.values())

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For ``model.safetensors``."""
        tensors = {name: part.tensors() for name, part in self.parts.items()}
        return {f"{part}.{name}": value for part, own in tensors.items() for name, value in own.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Blend:
        """The model of :meth:`tensors`."""
        parts: dict[str, Logistic | Boosting] = {}
        for name in dict.fromkeys(key.partition(".")[0] for key in tensors):
            own = {k.partition(".")[2]: value for k, value in tensors.items() if k.startswith(f"{name}.")}
            parts[name] = Boosting.from_tensors(own) if "threshold" in own else Logistic.from_tensors(own)
        return cls(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One target. ``name``: ``symbol-15``, ``symbol-60`` or ``post``; ``base_rate`` is of the training rows.

    ``slope`` and ``shift`` calibrate the logit (Platt, 1999); ``signal``: whether the model beat persistence on the
    latest walk-forward fold; ``trailing``: windows of 15 minutes that the threshold looks back on; ``columns``: which of
    the features it was fitted on, all where none is named.
    """

    name: str
    model: Model
    horizon: int
    base_rate: float
    signal: bool
    slope: float = 1.0
    shift: float = 0.0
    trailing: int = PAST
    columns: tuple[int, ...] = ()

    def probability(self, features: Doubles, sequence: Doubles | None = None) -> Doubles:
        """Calibrated, float64[n]."""
        own = features[:, self.columns] if self.columns else features
        logit = self.slope * self.model.logit(own, sequence) + self.shift
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))), dtype=np.float64)

    @property
    def sequential(self) -> bool:
        """Whether the model looks at the windows themselves."""
        return self.model.kind not in ("logistic", "boosting", "blend")

    def about(self) -> dict[str, Any]:
        """For ``config.json``."""
        names = ("horizon", "base_rate", "signal", "slope", "shift", "trailing")
        return {"kind": self.model.kind, **{name: getattr(self, name) for name in names}}


class HypeHeads:
    """Implements :class:`models.parts.HypeModel`.

    ``projection``: float64 (384, COMPONENTS), what turns a text's embedding into the numbers that the post's head looks at.
    """

    def __init__(self, heads: Sequence[Head], projection: Doubles | None = None) -> None:
        self.heads = {head.name: head for head in heads}
        self.projection = projection

    @property
    def reads_posts(self) -> bool:
        """Whether a symbol's forecast looks at how many posts were published; the shipped trees do not."""
        return any(head.model.looks_at(POSTS) for head in self.of_symbols())

    def forecast(
        self,
        posts: Sequence[Post],
        contexts: Sequence[MarketContext | None],
        histories: Sequence[AuthorHistory | None],
        embeddings: Floats,
    ) -> list[Hype]:
        """One hype per post: of its market at every horizon, and what the post itself adds."""
        out = []
        for horizons, post, history, vector in zip(self.symbol(contexts), posts, histories, embeddings, strict=True):
            lift = self.lift(post, history, vector)
            reason, said = (lift, None) if isinstance(lift, Reason) else (None, lift)
            whose = history.whose if said is not None and history is not None else None
            out.append(Hype(horizons[-1], said, reason, tuple(horizons), whose))
        return out

    def of_symbols(self) -> list[Head]:
        """The heads of a symbol, the shortest horizon first."""
        return sorted((h for h in self.heads.values() if h.name.startswith("symbol-")), key=lambda h: h.horizon)

    def symbol(self, contexts: Sequence[MarketContext | None]) -> list[list[HypeForecast]]:
        """For each context one forecast per horizon, the shortest first; None with a reason where the past is too short."""
        heads = self.of_symbols()
        known = [context for context in contexts if context is not None]
        columns = [self._forecasts(head, known) for head in heads]
        rows = iter(zip(*columns, strict=True))
        nothing = [_nothing(head, Reason("no_market_history")) for head in heads]
        return [list(nothing) if context is None else list(next(rows)) for context in contexts]

    def _forecasts(self, head: Head, contexts: Sequence[MarketContext]) -> list[HypeForecast]:
        if not contexts:
            return []
        past = past_of(contexts)
        now = situations(past, head.horizon, head.trailing)
        windows = sequences(past, head.horizon, head.trailing) if head.sequential else None
        chances = head.probability(now.features, windows)
        return [_forecast(head, now, i, float(chances[i]), past.window_volume[i]) for i in range(len(contexts))]

    def lift(self, post: Post, history: AuthorHistory | None, embedding: Floats) -> HypeForecast | Reason:
        """Whether the post will be hot for its author or channel, or why that is not said."""
        head = self.heads.get("post")
        if head is None:
            return Reason("no_post_hype")
        if history is None:
            return Reason("no_author")
        known = np.full(COMPONENTS, np.nan)
        if self.projection is not None and np.any(embedding):
            known = embedding.astype(np.float64) @ self.projection
        written = Written(post.posted_at, post.text or None, post.image is not None)
        found = lift_features(written, history, known)
        if found is None:
            count = int(np.isfinite(history.likes).sum())
            return Reason(f"short_{history.whose}_history", {"count": count, "least": LEAST})
        features, threshold, _ = found
        reason = None if head.signal else Reason("no_better_than_persistence")
        chance = float(head.probability(features[None])[0])
        return HypeForecast(chance, head.base_rate, head.horizon, threshold, head.signal, reason)


def _forecast(head: Head, now: Situations, i: int, chance: float, windows: Doubles) -> HypeForecast:
    trouble = TROUBLES[now.trouble[i]]
    if trouble:
        count = int(np.isfinite(windows).sum())
        reasons = {
            "thin": Reason("few_candles"),
            "short": Reason("few_windows", {"count": count, "windows": PAST, "least": MIN_PAST}),
            "idle": Reason("no_trade"),
        }
        return _nothing(head, reasons[trouble])
    reason = None if head.signal else Reason("no_better_than_persistence")
    return HypeForecast(chance, head.base_rate, head.horizon, float(now.threshold[i]), head.signal, reason)


def _nothing(head: Head, reason: Reason) -> HypeForecast:
    return HypeForecast(None, head.base_rate, head.horizon, None, signal=False, reason=reason)


def save_hype(
    folder: Path, heads: Sequence[Head], config: Mapping[str, Any], card: str, projection: Doubles | None = None
) -> None:
    """Write a checkpoint: the heads and what the caller adds as config, their arrays as weights."""
    arrays = {f"{head.name}.{name}": value for head in heads for name, value in head.model.tensors().items()}
    if projection is not None:
        arrays["projection"] = projection
    names = {"features": NAMES, "post_features": POST_NAMES}
    checkpoint.save(folder, {"heads": {head.name: head.about() for head in heads}, **names, **config}, arrays, card)


def load_hype(artifacts: Path = ARTIFACTS) -> HypeHeads:
    """The shipped models; the post's head may look at some of the features only.

    Raises:
        WeightsError: its files are missing, altered or unreadable, or of another version of moodtape.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        if tuple(config["features"]) != NAMES:
            raise ValueError("it was trained on other features")
        heads = [_head(name, dict(about), arrays) for name, about in config["heads"].items()]
        columns = tuple(POST_NAMES.index(name) for name in config["post_features"])
        heads = [replace(head, columns=columns) if head.name == "post" else head for head in heads]
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"The hype model does not fit this program ({error}); install moodtape again.") from None
    return HypeHeads(heads, arrays.get("projection"))


def _head(name: str, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Head:
    own = {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(name + ".")}
    kind = about.pop("kind")
    return Head(name=name, model=_model(kind, own), **about)


def _model(kind: str, tensors: dict[str, NDArray[Any]]) -> Model:
    if kind == "logistic":
        return Logistic.from_tensors(tensors)
    if kind == "boosting":
        return Boosting.from_tensors(tensors)
    if kind in ("blend", "mean"):  # a mean is a blend of the days before there were more than two parts
        return Blend.from_tensors(tensors)
    from models.hype.networks import SequenceModel

    return SequenceModel.from_tensors(kind, tensors)
