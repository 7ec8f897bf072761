"""Closing the case: when a prediction's 256 minutes have passed, the candles say what happened."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from db.queries.windows import GIVE_UP, WHOLE

_SETTLE = f"""
with due as (
    select p.*, p.due_at - interval '256 minutes' as starts_at from predictions p
    where p.due_at <= :now
      and not exists (select from prediction_scores s where s.post_id = p.post_id and s.revision = p.revision)
),
spans as materialized (
    select distinct symbol, starts_at from due where symbol in (select symbol from markets where timeframe = '1m')
),
whole as materialized (
          select span.symbol, span.starts_at, found.change[256] as end_change, found.volume
          from spans span cross join lateral ({WHOLE}) found),
seen as (
    select d.*, w.end_change, w.volume > d.hype_threshold as hype
    from due d left join whole w using (symbol, starts_at)
    where w.end_change is not null or d.due_at <= :given_up
    order by d.due_at limit :limit
)
insert into prediction_scores (post_id, revision, end_change, inside_band, hype, brier)
select post_id, revision, end_change, end_change between end_low and end_high, hype,
       power(hype_probability - case when hype then 1 else 0 end, 2) * case when hype is null then null else 1 end
from seen
on conflict do nothing
returning post_id
"""


def settle(connection: Connection, now: datetime, limit: int = 5_000) -> int:
    """Score predictions whose window has closed and whose 256 candles are all there; returns how many.

    ``hype``: whether the traded volume of the window exceeded the threshold that the forecast was made with. A window
    that is still incomplete after :data:`~db.queries.windows.GIVE_UP` gets a score without figures. A score stands: it is
    written once, by the candles as they were then.
    """
    values = {"now": now, "given_up": now - GIVE_UP, "limit": limit}
    return len(connection.execute(text(_SETTLE), values).all())
