"""What the answers have earned: whether the latest walk-forward allows a signal, and which event rules are confirmed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from db.queries.earned import event_rules, latest_fold
from domain.reasons import Reason
from models.trajectories.events import Earned, KnownRule


def earned(connection: Connection, at: datetime | None = None) -> Earned:
    """What stands in the database, or stood there at a moment."""
    rules = tuple(
        KnownRule(r.symbol, r.outcome, r.minutes, r.ratio, r.low, r.high, r.n, r.held, **_parts(r.rule))
        for r in event_rules(connection, at)
        if not r.rule.get("campaign")
    )
    fold = latest_fold(connection, at)
    if fold is None:
        return Earned(rules=rules)
    return Earned(fold.signal, reason_of(fold.figures, fold.signal), rules)


def _parts(rule: dict[str, Any]) -> dict[str, str]:
    return {name: str(rule[name]) for name in ("author", "text", "emotion") if name in rule}


def reason_of(figures: dict[str, Any], signal: bool) -> Reason:
    """Why a signal is given or not, with the figures of the fold, in percent."""
    spread = figures.get("intervals", {})
    numbers = {
        "crps": figures.get("crps_skill"),
        "crps_low": spread.get("crps_skill", [None])[0],
        "words": figures.get("words_skill"),
        "words_low": spread.get("words_skill", [None])[0],
        "words_high": spread.get("words_skill", [None, None])[-1],
    }
    if None in numbers.values():
        return Reason("signal_untested")
    told = {name: round(100 * float(value), 2) for name, value in numbers.items()}
    return Reason("signal_earned" if signal else "signal_not_earned", told)
