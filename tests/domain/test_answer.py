"""The answer's shape: one set of structs, their JSON and schema, and rows that earlier versions wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import numpy as np
import pytest

from domain.answer import answer_schema, numbers, read_answer, to_answer
from domain.reasons import REASONS, Reason
from domain.types import EMOTIONS
from tests.fakes.answers import verdict

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)

SHAPE: dict[str, set[str]] = {
    "": {
        "post_id", "revision", "trained_until", "emotions", "hype", "trajectories",
        "explanation", "explanation_reason", "warnings", "campaign",
    },
    "emotions": {"label", "probabilities", "text", "image", "faces", "abstained", "why"},
    "hype": {"symbol", "horizons", "post", "post_of", "post_reason"},
    "trajectories": {
        "symbol", "median", "low", "high", "coverage", "baseline_mean", "signal", "reason", "independent_windows",
        "matches", "matches_mean", "control_mean", "events",
    },
}  # fmt: skip


def old() -> dict[str, Any]:
    """An answer as version 0.1 stored it, without its matches' steps."""
    path = [0.0] * 256
    hype = {
        "probability": 0.3, "base_rate": 0.2, "horizon_minutes": 256, "threshold": 12.5, "signal": False,
        "reason": "No signal: on its latest test the model did not beat persistence.",
    }  # fmt: skip
    match = {
        "post_id": "s:1",
        "source": "s",
        "posted_at": "2024-01-01T00:00:00Z",
        "symbol": "BTC/USDT",
        "similarity": 0.5,
    }
    return {
        "post_id": "t:1", "revision": "r", "trained_until": "2024-01-01T00:00:00Z",
        "emotions": {
            "label": None, "probabilities": dict.fromkeys(EMOTIONS, 0.14286), "text": None, "image": None, "faces": 0,
            "abstained": "no face found in the picture", "why": {},
        },
        "hype": hype,
        "trajectories": {
            "symbol": "BTC/USDT", "mean": [-1.0] * 256, "low": [-1.0] * 256, "high": [0.5] * 256, "coverage": 0.8,
            "baseline_mean": path, "independent_windows": 1, "matches": [{**match, "change": []}],
        },
        "explanation": None, "warnings": ["No coin is named in the post; BTC/USDT is assumed."],
    }  # fmt: skip


def test_the_answer_has_the_published_shape() -> None:
    """Every key of the contract is there, numbers are rounded and finite, and it is plain JSON."""
    answer = to_answer(verdict())
    for key, names in SHAPE.items():
        assert set(answer[key] if key else answer) == names
    assert set(answer["hype"]["symbol"]) == {
        "probability", "base_rate", "horizon_minutes", "threshold", "signal", "reason",
    }  # fmt: skip
    assert answer["trajectories"]["coverage"] == {"nominal": 0.8, "live": None, "n": 0}
    match = answer["trajectories"]["matches"][0]
    assert set(match) == {"post_id", "source", "posted_at", "symbol", "similarity", "change"}
    assert answer["warnings"] == [{"code": "newest_windows"}]
    assert answer["trained_until"] == "2024-01-01T00:00:00Z"
    assert len(answer["trajectories"]["median"]) == len(match["change"]) == 256
    assert match["change"][9] == round(match["change"][9], 4)
    assert json.loads(json.dumps(answer)) == answer


def test_what_is_not_finite_is_a_defect() -> None:
    """It never reaches a reader."""
    with pytest.raises(ValueError, match="not finite"):
        numbers(np.array([np.nan], dtype=np.float32))


def test_answers_keep_to_their_schema() -> None:
    """Every key is required; an answer with everything in it fits, one without a key does not."""
    answer, parts = answer_schema("#/$defs/{name}")
    schema = {**answer, "$defs": parts}
    jsonschema.validate(to_answer(verdict()), schema)
    assert set(parts["Verdict"]["required"]) == SHAPE[""]
    broken = to_answer(verdict())
    del broken["trajectories"]["median"]
    with pytest.raises(jsonschema.ValidationError, match="median"):
        jsonschema.validate(broken, schema)


def test_a_stored_answer_is_read_back_in_the_published_order() -> None:
    """Whatever order the database keeps its keys in."""
    answer = to_answer(verdict())
    answer["emotions"]["why"] = {}
    shuffled = json.loads(json.dumps(answer, sort_keys=True))
    assert json.dumps(to_answer(read_answer(shuffled))) == json.dumps(answer)


def test_answers_of_version_0_1_are_read_in_todays_shape() -> None:
    """Sentences stay as they were worded, the matches' mean is called so, and the band says how it was made."""
    answer = to_answer(read_answer(old()))
    jsonschema.validate(answer, {**answer_schema("#/$defs/{name}")[0], "$defs": answer_schema("#/$defs/{name}")[1]})
    assert answer["emotions"]["abstained"] == {"code": "worded", "text": "no face found in the picture"}
    assert answer["hype"]["symbol"]["probability"] == 0.3
    assert answer["hype"]["post_reason"] == {"code": "no_post_hype"}
    paths = answer["trajectories"]
    assert (paths["matches_mean"][-1], paths["median"][-1], paths["low"][-1]) == (-1.0, -0.25, -1.0)
    assert (paths["control_mean"], paths["reason"]) == (None, {"code": "older_band"})
    assert paths["coverage"] == {"nominal": 0.8, "live": None, "n": 0}


def test_reasons_are_checked_when_they_are_made() -> None:
    """An unknown code, a missing and a strange parameter are defects of the caller; a reason does not change."""
    for code, parameters in (("no_such", {}), ("foreign", {}), ("no_words", {"symbol": "BTC/USDT"})):
        with pytest.raises(ValueError, match="reason"):
            Reason(code, parameters)
    with pytest.raises(AttributeError):
        Reason("no_words").code = "no_face"  # type: ignore[misc]


def test_reasons_survive_json() -> None:
    """Also one inside another; a code that only a later version knows is named."""
    both = Reason("both", {"text": Reason("foreign", {"language": "es"}), "picture": Reason("no_face")})
    assert both.json()["text"] == {"code": "foreign", "language": "es"}
    assert Reason.read(both.json()) == both
    assert len({both, Reason.read(both.json())}) == 1
    assert Reason.read({"code": "of_tomorrow", "x": 1}) == Reason("unknown", {"code": "of_tomorrow"})
    assert "unknown" in REASONS
