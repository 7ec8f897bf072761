"""A verdict as the JSON that every door gives: one shape, plain types, finite numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from domain.types import EMOTIONS, Emotions, Explanation, Floats, HypeForecast, Match, Matches, Verdict

Json = dict[str, Any]


def to_answer(verdict: Verdict) -> Json:
    """The answer's JSON object (docs/architecture.md, “The answer”); arrays have 256 numbers with four decimals."""
    return {
        "post_id": verdict.post_id,
        "revision": verdict.revision,
        "trained_until": stamp(verdict.trained_until),
        "emotions": _emotions(verdict.emotions),
        "hype": _hype(verdict.hype),
        "trajectories": _matches(verdict.trajectories) if verdict.trajectories else None,
        "explanation": _explanation(verdict.explanation) if verdict.explanation else None,
        "warnings": list(verdict.warnings),
    }


ORDER: dict[str, tuple[str, ...]] = {
    "": ("post_id", "revision", "trained_until", "emotions", "hype", "trajectories", "explanation", "warnings"),
    "emotions": ("label", "probabilities", "text", "image", "faces", "abstained", "why"),
    "probabilities": EMOTIONS,
    "text": EMOTIONS,
    "image": EMOTIONS,
    "hype": ("probability", "base_rate", "horizon_minutes", "threshold", "signal", "reason"),
    "trajectories": (
        "symbol", "mean", "low", "high", "coverage", "baseline_mean", "independent_windows", "matches",
    ),
    "explanation": ("text", "round_trip"),
    "matches": ("post_id", "source", "posted_at", "symbol", "similarity", "change"),
}  # fmt: skip
"""The published order of keys, by the key that an object stands under; the database does not keep it."""


def in_order(value: Any, key: str = "") -> Any:
    """An answer read back from the database with its keys in the published order; unknown keys come last."""
    if isinstance(value, list) and key == "matches":
        return [in_order(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    wanted = [k for k in ORDER.get(key, ()) if k in value]
    return {k: in_order(value[k], k) for k in (*wanted, *(k for k in value if k not in wanted))}


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.isoformat().replace("+00:00", "Z")


def numbers(values: Floats) -> list[float]:
    """Four decimals each; a number that is not finite is a defect and raises ValueError."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("an array of the answer holds a number that is not finite")
    out: list[float] = np.round(array, 4).tolist()
    return out


def _rounded(probabilities: dict[str, float] | None) -> dict[str, float] | None:
    return None if probabilities is None else {k: round(float(v), 5) for k, v in probabilities.items()}


def _emotions(e: Emotions) -> Json:
    return {
        "label": e.label,
        "probabilities": _rounded(e.probabilities),
        "text": _rounded(e.text),
        "image": _rounded(e.image),
        "faces": e.faces,
        "abstained": e.abstained,
        "why": e.why,
    }


def _hype(h: HypeForecast) -> Json:
    return {
        "probability": None if h.probability is None else round(h.probability, 5),
        "base_rate": None if h.base_rate is None else round(h.base_rate, 5),
        "horizon_minutes": h.horizon_minutes,
        "threshold": h.threshold,
        "signal": h.signal,
        "reason": h.reason,
    }


def _match(m: Match) -> Json:
    return {
        "post_id": m.post_id,
        "source": m.source,
        "posted_at": stamp(m.posted_at),
        "symbol": m.symbol,
        "similarity": round(m.similarity, 5),
        "change": numbers(m.change),
    }


def _matches(t: Matches) -> Json:
    return {
        "symbol": t.symbol,
        "mean": numbers(t.mean),
        "low": numbers(t.low),
        "high": numbers(t.high),
        "coverage": t.coverage,
        "baseline_mean": numbers(t.baseline_mean),
        "independent_windows": t.independent_windows,
        "matches": [_match(m) for m in t.matches],
    }


def _explanation(e: Explanation) -> Json:
    return {"text": e.text, "round_trip": round(e.round_trip, 5)}
