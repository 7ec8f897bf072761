"""What the OpenAPI description says of answers and errors; docs/architecture.md says the same in words."""

from __future__ import annotations

from typing import Any

from domain.types import EMOTIONS, STEPS

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time"}
SHARES: Schema = _object(**{label: {"type": "number", "minimum": 0, "maximum": 1} for label in EMOTIONS})
PATH: Schema = {"type": "array", "items": NUMBER, "minItems": STEPS, "maxItems": STEPS, "description": "percent"}

MATCH = _object(
    post_id=TEXT,
    source=TEXT,
    posted_at=MOMENT,
    symbol=TEXT,
    similarity=NUMBER,
    change={"type": "array", "items": NUMBER, "maxItems": STEPS, "description": "percent, minute by minute"},
)

ANSWER = _object(
    post_id=TEXT,
    revision=TEXT,
    trained_until=MOMENT,
    emotions=_object(
        label=_or_null({"enum": list(EMOTIONS)}),
        probabilities=SHARES,
        text=_or_null(SHARES),
        image=_or_null(SHARES),
        faces=COUNT,
        abstained=_or_null(TEXT),
        why={"type": "object"},
    ),
    hype=_object(
        probability=_or_null(NUMBER),
        base_rate=_or_null(NUMBER),
        horizon_minutes=COUNT,
        threshold=_or_null(NUMBER),
        signal={"type": "boolean"},
        reason=_or_null(TEXT),
    ),
    trajectories=_or_null(
        _object(
            symbol=TEXT,
            mean=PATH,
            low=PATH,
            high=PATH,
            coverage=NUMBER,
            baseline_mean=PATH,
            independent_windows=COUNT,
            matches={"type": "array", "items": MATCH},
        )
    ),
    explanation=_or_null(_object(text=TEXT, round_trip=NUMBER)),
    warnings={"type": "array", "items": TEXT},
)

ERROR = _object(error=_object(code=TEXT, message=TEXT, id=TEXT))

_REFUSALS = {
    400: "Neither text nor a picture.",
    401: "The API key is missing or wrong.",
    404: "Nothing is there.",
    409: "The post was taken off the queue before it was read.",
    413: "Too many bytes, pixels or letters.",
    415: "Not a picture that can be read.",
    422: "Something else cannot be used: market, time, form.",
    503: "A service is away or the queue is full; Retry-After says when to come back.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these statuses, in the one error shape."""
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in statuses}


ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer.", "content": {"application/json": {"schema": ANSWER}}}
}
