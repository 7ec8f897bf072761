"""What was said before the outcome existed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from db.tables import Prediction


@dataclass(frozen=True, slots=True)
class Said:
    """One prediction: the hype forecast and the band's end, in percent; ``due_at`` is when the outcome is known."""

    post_id: str
    revision: str
    symbol: str
    due_at: datetime
    hype_probability: float | None
    hype_threshold: float | None
    end_mean: float | None
    end_low: float | None
    end_high: float | None


def insert_predictions(connection: Connection, said: Sequence[Said]) -> int:
    """Keep predictions; what was said first stands. Returns how many are new."""
    rows = [{name: getattr(one, name) for name in Said.__slots__} for one in said]
    if not rows:
        return 0
    statement = insert(Prediction).values(rows).on_conflict_do_nothing().returning(Prediction.post_id)
    return len(connection.execute(statement).all())
