"""The answer to a post, the same from every door: these structs, and the JSON and its schema that are made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_origin

import msgspec
import numpy as np
from msgspec import Meta, Struct

from domain.reasons import REASONS, Reason
from domain.types import EMOTIONS, STEPS, Floats

Json = dict[str, Any]

_SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
Label = Annotated[str, Meta(extra_json_schema={"enum": list(EMOTIONS)})]
Shares = Annotated[
    dict[str, float],
    Meta(extra_json_schema={"properties": dict.fromkeys(EMOTIONS, _SHARE), "required": list(EMOTIONS)}),
]
Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0)]
_PATH: Json = {"type": "array", "items": {"type": "number"}, "maxItems": STEPS, "description": "percent since the post"}
Path = Annotated[Floats, Meta(extra_json_schema=_PATH | {"minItems": STEPS})]
Steps = Annotated[Floats, Meta(description="empty when its library row is gone", extra_json_schema=_PATH)]


class Emotions(Struct, frozen=True):
    """The mood of a post. ``label`` is null when ``abstained`` is set; ``text`` and ``image`` are the parts alone."""

    label: Label | None
    probabilities: Shares
    text: Shares | None
    image: Shares | None
    faces: Count
    abstained: Reason | None = None
    why: dict[str, Any] = {}


class HypeForecast(Struct, frozen=True):
    """Probability that activity in the next window exceeds its trailing 80th percentile (report 003, product form).

    ``probability`` is null when nothing can be said; ``reason`` then says why. ``signal`` is true only where the model
    beat persistence on its latest walk-forward fold.
    """

    probability: float | None
    base_rate: float | None
    horizon_minutes: Count
    threshold: float | None
    signal: bool
    reason: Reason | None = None


class Hype(Struct, frozen=True):
    """Hype of the market, and what this very post adds; ``post_reason`` says why ``post`` is null.

    ``horizons``: the market's forecasts at every horizon, the shortest first; ``symbol`` is the longest. ``post_of``: whose
    trailing percentile the post is held against, its author's or its channel's; the threshold is in likes.
    """

    symbol: HypeForecast
    post: HypeForecast | None = None
    post_reason: Reason | None = None
    horizons: tuple[HypeForecast, ...] = ()
    post_of: str | None = None


class Coverage(Struct, frozen=True):
    """Share of outcomes that the band is meant to hold, and the share it held in ``n`` settled predictions."""

    nominal: float
    live: float | None = None
    n: Count = 0


class Match(Struct, frozen=True, eq=False):
    """A past post whose words are near, and what the price did after it."""

    post_id: str
    source: str
    posted_at: Moment
    symbol: str
    similarity: float
    change: Steps


class Event(Struct, frozen=True):
    """A confirmed rule that this post falls under: what is expected of ``outcome`` in the next ``minutes``, from ``n`` events.

    ``expects`` and the interval in percent over the usual; ``held`` of the ``n`` lay above it.
    """

    rule: str
    expects: float
    n: Count
    interval: tuple[float, float]
    outcome: str = ""
    minutes: Count = 0
    held: Count = 0


class Trajectories(Struct, frozen=True, eq=False):
    """The forecast is the band with its median; what the matched posts' prices did stands beside it and never bends it.

    ``baseline_mean``: mean of the library for the symbol. ``matches_mean``: of the matches. ``control_mean``: of as many
    random ended windows of the symbol, each of the hour and volatility of a match, null where it has no others.
    ``independent_windows``: distinct 256-minute windows among the matches.
    """

    symbol: str
    median: Path
    low: Path
    high: Path
    coverage: Coverage
    baseline_mean: Path
    signal: bool
    reason: Reason | None
    independent_windows: Count
    matches: tuple[Match, ...]
    matches_mean: Path
    control_mean: Path | None = None
    events: tuple[Event, ...] = ()


class Explanation(Struct, frozen=True):
    """What the matched posts are about; ``round_trip`` is the cosine of the words' vector with the mean of theirs.

    ``kind``: the words are ``decoded`` from that mean, or those of a ``typical`` post: of the matched ones whose words are
    stored and public the one nearest to it, quoted without links and @names.
    """

    text: str
    round_trip: float
    kind: Literal["decoded", "typical"] = "decoded"


class Campaign(Struct, frozen=True):
    """A post that near-copies others: the ``first`` of them, and how many there were (``size``) when it was posted.

    In every count of predictions only the first counts.
    """

    first: str
    size: Count


class Verdict(Struct, frozen=True, eq=False):
    """The whole answer to one post by one model revision. ``trained_until`` is the newest data the models have seen.

    ``explanation_reason`` says why ``explanation`` is null.
    """

    post_id: str
    revision: str
    trained_until: Moment
    emotions: Emotions
    hype: Hype
    trajectories: Trajectories | None = None
    explanation: Explanation | None = None
    explanation_reason: Reason | None = None
    warnings: tuple[Reason, ...] = ()
    campaign: Campaign | None = None


def to_answer(verdict: Verdict) -> Json:
    """The answer as plain JSON types; steps of paths have four decimals, shares and cosines five.

    Raises:
        ValueError: a number of a path is not finite.
    """
    plain: Json = _rounded(msgspec.to_builtins(verdict, enc_hook=_encoded))
    return plain


def read_answer(stored: Json) -> Verdict:
    """The verdict that :func:`to_answer` wrote, also one in the shape of version 0.1 (:func:`_modern`).

    Raises:
        msgspec.ValidationError: it is neither.
    """
    return msgspec.convert(_modern(stored), Verdict, dec_hook=_decoded)


def answer_schema(template: str = "#/components/schemas/{name}") -> tuple[Json, dict[str, Json]]:
    """JSON schema of the answer and of its parts by name, referred to as in ``template``."""
    (answer,), parts = msgspec.json.schema_components([Verdict], schema_hook=_schema, ref_template=template)
    for part in parts.values():  # an answer has every key, whether its struct has a default for it or not
        part["required"] = list(part["properties"])
        for key in part["properties"].values():
            key.pop("default", None)
    return answer, parts


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.isoformat().replace("+00:00", "Z")


def numbers(values: Floats) -> list[float]:
    """Four decimals each.

    Raises:
        ValueError: a number is not finite, which is a defect of a model.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("an array of the answer holds a number that is not finite")
    out: list[float] = np.round(array, 4).tolist()
    return out


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return numbers(value)
    if isinstance(value, Reason):
        return value.json()
    raise NotImplementedError(f"{type(value).__name__} has no place in an answer")


def _decoded(kind: Any, value: Any) -> Any:
    if kind is Reason:
        return Reason.read(value)
    if get_origin(kind) is np.ndarray:
        return np.asarray(value, dtype=np.float32)
    raise NotImplementedError(f"{kind} has no place in an answer")


def _schema(kind: Any) -> Json:
    if kind is Reason:
        return {"type": "object", "properties": {"code": {"enum": list(REASONS)}}, "required": ["code"]}
    raise NotImplementedError(f"{kind} has no place in an answer")


def _rounded(value: Any) -> Any:
    """Numbers between -1 and 1 with five decimals; lists of numbers are paths and rounded already."""
    if isinstance(value, float):
        return round(value, 5) if -1 <= value <= 1 else value
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple) and not (value and isinstance(value[0], float)):
        return [_rounded(v) for v in value]
    return value


_PARTS = ("probabilities", "text", "image")


def _modern(stored: Json) -> Json:
    """An answer of version 0.1 in today's shape, one of today as it is; emotions in their order, which jsonb does not keep.

    Then hype was flat, ``mean`` was the matches' mean, and the band was widened to hold it; the models' median was not
    kept, so the middle of the band stands in and ``older_band`` says so.
    """
    emotions, old = stored["emotions"], stored["trajectories"]
    parts = {part: emotions[part] and {label: emotions[part][label] for label in EMOTIONS} for part in _PARTS}
    stored = {**stored, "emotions": {**emotions, **parts}}
    if "symbol" not in stored["hype"]:
        stored = {**stored, "hype": {"symbol": stored["hype"], "post_reason": {"code": "no_post_hype"}}}
    if old and "mean" in old:
        middle = (np.asarray(old["low"], dtype=np.float64) + np.asarray(old["high"], dtype=np.float64)) / 2
        now = {
            "median": middle.tolist(),
            "coverage": {"nominal": old["coverage"]},
            "signal": False,
            "reason": {"code": "older_band"},
            "matches_mean": old["mean"],
        }
        stored = {**stored, "trajectories": {**old, **now}}
    return stored
