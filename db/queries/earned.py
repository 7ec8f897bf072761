"""What studies of the past have earned: walk-forwards, whose newest rules the signal, and the rules of event studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, or_, select, text

from db.market_tables import EventRule, WalkForward


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A stored post; ``emotion`` is the champion's label, empty where there is none."""

    posted_at: datetime
    source: str
    author: str
    text: str
    symbols: list[str]
    emotion: str


@dataclass(frozen=True, slots=True)
class EventRuleRow:
    """A confirmed rule: which posts, of which market, what follows them (times the controls'), and how sure that is."""

    symbol: str
    rule: dict[str, Any]
    outcome: str
    minutes: int
    ratio: float
    low: float
    high: float
    n: int
    held: int
    tried: int


def stored_posts(connection: Connection) -> list[StoredPost]:
    """All public posts, oldest first; repeats of a campaign are left out."""
    rows = connection.execute(
        text(
            "select p.posted_at, p.source, coalesce(p.author_hash, ''), p.text, p.symbols, coalesce(("
            "  select v.answer #>> '{emotions,label}' from verdicts v where v.post_id = p.id "
            "  order by v.scored_at desc limit 1), '') from posts p "
            "where p.cluster is null and p.source <> all('{telegram,door}') order by p.posted_at"
        )
    )
    return [StoredPost(*row) for row in rows]


def replace_rules(connection: Connection, rows: Sequence[EventRuleRow]) -> int:
    """Put these rules in the place of those stored before, which are kept as retired; returns how many."""
    connection.execute(text("update event_rules set retired_at = now() where retired_at is null"))
    if rows:
        connection.execute(insert(EventRule).values([asdict(row) for row in rows]))
    return len(rows)


def event_rules(connection: Connection, at: datetime | None = None) -> list[EventRuleRow]:
    """The rules in force, now or at a moment."""
    query = select(*(getattr(EventRule, name) for name in _RULE)).order_by(EventRule.id)
    if at is None:
        query = query.where(EventRule.retired_at.is_(None))
    else:
        query = query.where(
            EventRule.confirmed_at <= at, or_(EventRule.retired_at.is_(None), EventRule.retired_at > at)
        )
    return [EventRuleRow(*row) for row in connection.execute(query)]


_RULE = tuple(EventRuleRow.__slots__)


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


_FOLD = ("source", "revision", "trials", "figures", "signal", "alarms", "made_at")


def add_fold(connection: Connection, fold: Fold) -> int:
    """Keep a run; returns its number."""
    row = {name: getattr(fold, name) for name in _FOLD[:-1]}
    return int(connection.execute(insert(WalkForward).values(row).returning(WalkForward.id)).scalar_one())


def latest_fold(connection: Connection, at: datetime | None = None) -> Fold | None:
    """The newest run, or the one that was the newest at a moment; None where there is none."""
    query = select(*(getattr(WalkForward, name) for name in _FOLD)).order_by(WalkForward.made_at.desc()).limit(1)
    if at is not None:
        query = query.where(WalkForward.made_at <= at)
    row = connection.execute(query).one_or_none()
    return None if row is None else Fold(*row)


def count_trials(connection: Connection) -> int:
    """How many comparisons all runs have made."""
    return sum(connection.execute(select(WalkForward.trials)).scalars())
