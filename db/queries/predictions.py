"""What was said before the outcome existed, and what then came of it; live ones and those of replays are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, text
from sqlalchemy.dialects.postgresql import insert

from db.market_tables import Prediction, PredictionScore
from db.queries.outcomes import GIVE_UP, WHOLE


@dataclass(frozen=True, slots=True)
class Said:
    """One prediction: the hype forecast and the band, in percent; ``due_at`` is when the outcome is known.

    ``quantiles`` and the baseline ``climatology``: knots by levels, flattened (:mod:`models.trajectories.band`). ``miss``: the
    nominal miss rates per horizon. ``big_move``, ``persistence``: the other baselines.
    """

    post_id: str
    revision: str
    symbol: str
    due_at: datetime
    hype_probability: float | None
    hype_threshold: float | None
    end_mean: float | None
    end_low: float | None
    end_high: float | None
    quantiles: list[float] | None = None
    climatology: list[float] | None = None
    miss: list[float] | None = None
    big_move: float | None = None
    persistence: float | None = None
    volatility: float | None = None
    replayed: bool = False
    hype_minutes: int = 256


@dataclass(frozen=True, slots=True)
class Due:
    """A prediction whose time has come. ``change``: 256 numbers, percent, None where candles were given up.

    ``volume``: traded in the first ``hype_minutes`` of the window.
    """

    said: Said
    change: list[float] | None
    volume: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """What came of a prediction; figures are None where the candles or the forecast are not known."""

    post_id: str
    revision: str
    symbol: str
    closed_at: datetime
    replayed: bool
    end_change: float | None = None
    inside_band: bool | None = None
    hype: bool | None = None
    brier: float | None = None
    covered: float | None = None
    width: float | None = None
    crps: float | None = None
    crps_base: float | None = None
    volatility_error: float | None = None
    volatility_base: float | None = None
    big_chance: float | None = None
    big_moved: bool | None = None


_NAMES = tuple(field.name for field in fields(Said))

LOCK = 0x73636F72
"""Advisory lock of writing scores."""

_DUE = f"""
with due as (
    select p.*, p.due_at - interval '256 minutes' as starts_at from predictions p
    where p.due_at <= :now and (p.replayed or not :only_replays)
      and not exists (select from prediction_scores s where s.post_id = p.post_id and s.revision = p.revision)
),
spans as materialized (
    select distinct symbol, starts_at from due where symbol in (select symbol from markets where timeframe = '1m')
),
whole as materialized (
          select span.symbol, span.starts_at, found.change, found.volumes
          from spans span cross join lateral ({WHOLE}) found)
select {", ".join(f"d.{name}" for name in _NAMES)}, w.change,
       (select sum(v) from unnest(w.volumes[1:d.hype_minutes]) v) as volume
from due d left join whole w using (symbol, starts_at)
where w.change is not null or (case when d.replayed then d.made_at else d.due_at end) <= :given_up
order by d.due_at, d.post_id limit :limit
"""


def insert_predictions(connection: Connection, said: Sequence[Said]) -> int:
    """Keep predictions; what was said first stands. Returns how many are new."""
    rows = [{name: getattr(one, name) for name in _NAMES} for one in said]
    if not rows:
        return 0
    statement = insert(Prediction).values(rows).on_conflict_do_nothing().returning(Prediction.post_id)
    return len(connection.execute(statement).all())


def scored_by(connection: Connection) -> datetime:
    """The present, when no score is being written: one of an earlier moment can be seen by all from then on."""
    connection.execute(text("select pg_advisory_xact_lock_shared(:key)"), {"key": LOCK})
    now: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
    return now


def due_predictions(
    connection: Connection, now: datetime, clock: datetime, limit: int, only_replays: bool = False
) -> list[Due]:
    """Unscored predictions due by ``now`` whose 256 candles are there, or were given up by the wall's ``clock``."""
    values = {"now": now, "given_up": clock - GIVE_UP, "limit": limit, "only_replays": only_replays}
    rows = connection.execute(text(_DUE), values)
    return [Due(Said(*row[: len(_NAMES)]), row.change, row.volume) for row in rows]


def insert_scores(connection: Connection, scores: Sequence[Score]) -> int:
    """Write scores; one that is there stands. Returns how many are new. The transaction should end soon after."""
    if not scores:
        return 0
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
    written = {"scored_at": func.clock_timestamp()}
    rows = [{field.name: getattr(score, field.name) for field in fields(Score)} | written for score in scores]
    statement = insert(PredictionScore).values(rows).on_conflict_do_nothing().returning(PredictionScore.post_id)
    return len(connection.execute(statement).all())


_COUNTED = """
from prediction_scores s join posts p on p.id = s.post_id
where p.cluster is null and s.replayed = :replayed and s.closed_at > :since
  and not exists (select from model_revisions r where r.revision = s.revision and r.state = 'shadow')
"""
"""Of a campaign only the first post counts; a challenger's predictions are its own affair."""


def totals(connection: Connection, since: datetime, replayed: bool) -> list[dict[str, Any]]:
    """Sums per symbol of the scores closed since then; ``windows`` counts distinct 256 minutes."""
    rows = connection.execute(
        text(
            "select s.symbol, count(*) as n, count(s.covered) as banded, "
            "count(distinct floor(extract(epoch from s.closed_at) / 15360)) as windows, "
            "avg(s.covered) as covered, avg(s.inside_band::int) as inside_at_end, avg(s.width) as width, "
            "sum(s.crps) filter (where s.crps_base is not null) as crps, sum(s.crps_base) as crps_base, "
            "sum(s.volatility_error) filter (where s.volatility_base is not null) as volatility_error, "
            "sum(s.volatility_base) as volatility_base, avg(power(s.big_chance - s.big_moved::int, 2)) as big_brier, "
            "avg(s.big_moved::int) as big_rate, avg(s.brier) as hype_brier, avg(s.hype::int) as hype_rate "
            + _COUNTED + " group by s.symbol order by s.symbol"
        ),
        {"since": since, "replayed": replayed},
    )  # fmt: skip
    return [dict(row._mapping) for row in rows]


def worst(connection: Connection, since: datetime, replayed: bool, limit: int) -> list[dict[str, Any]]:
    """The predictions that cost most against the week before, worst first: losers are shown, too."""
    rows = connection.execute(
        text(
            "select s.post_id, s.symbol, s.closed_at, s.end_change, q.end_low, q.end_high, s.covered, s.crps, s.crps_base, "
            "left(p.text, 200) as text "
            + _COUNTED.replace("where", "join predictions q using (post_id, revision) where", 1)
            + " and s.crps_base is not null order by s.crps - s.crps_base desc, s.post_id limit :limit"
        ),
        {"since": since, "replayed": replayed, "limit": limit},
    )
    return [dict(row._mapping) for row in rows]


def by_day(connection: Connection, since: datetime, replayed: bool) -> list[dict[str, Any]]:
    """Coverage and width per UTC day of closing, oldest first."""
    rows = connection.execute(
        text(
            "select date_trunc('day', s.closed_at) as day, count(s.covered) as n, avg(s.covered) as covered, "
            "avg(s.width) as width " + _COUNTED + " group by 1 having count(s.covered) > 0 order by 1"
        ),
        {"since": since, "replayed": replayed},
    )
    return [dict(row._mapping) for row in rows]
