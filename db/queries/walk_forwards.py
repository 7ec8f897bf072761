"""Walk-forwards: every run's figures are kept; the newest one says whether an answer may carry a signal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from db.market_tables import WalkForward


@dataclass(frozen=True, slots=True)
class Fold:
    """One run. ``source``: files or store; ``trials``: comparisons it made; ``alarms``: what looks wrong, by name."""

    source: str
    revision: str
    trials: int
    figures: dict[str, Any]
    signal: bool
    alarms: dict[str, Any]
    made_at: datetime | None = None


_NAMES = ("source", "revision", "trials", "figures", "signal", "alarms", "made_at")


def add(connection: Connection, fold: Fold) -> int:
    """Keep a run; returns its number."""
    row = {name: getattr(fold, name) for name in _NAMES[:-1]}
    return int(connection.execute(insert(WalkForward).values(row).returning(WalkForward.id)).scalar_one())


def latest(connection: Connection, at: datetime | None = None) -> Fold | None:
    """The newest run, or the one that was the newest at a moment; None where there is none."""
    query = select(*(getattr(WalkForward, name) for name in _NAMES)).order_by(WalkForward.made_at.desc()).limit(1)
    if at is not None:
        query = query.where(WalkForward.made_at <= at)
    row = connection.execute(query).one_or_none()
    return None if row is None else Fold(*row)


def count_trials(connection: Connection) -> int:
    """How many comparisons all runs have made."""
    return sum(connection.execute(select(WalkForward.trials)).scalars())
