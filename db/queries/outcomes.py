"""Closing the case: when a prediction's 256 minutes have passed, the candles say what happened."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

LATE = timedelta(minutes=10)
"""How long the last candle of a window is waited for."""

GIVE_UP = timedelta(days=2)
"""A window that is still incomplete by then (a hole at the exchange) gets a score without figures."""

_SETTLE = """
with due as (
    select p.*, (
        select m.id from markets m
        where m.symbol = p.symbol and m.timeframe = '1m'
          and exists (select from candles c where c.market_id = m.id and c.opened_at >= p.due_at - interval '256 minutes'
                      and c.opened_at < p.due_at)
        order by m.market = 'spot' desc, m.id limit 1) as market_id
    from predictions p
    where p.due_at <= :now
      and not exists (select from prediction_scores s where s.post_id = p.post_id and s.revision = p.revision)
    order by p.due_at limit :limit
),
seen as (
    select d.post_id, d.revision, d.due_at, d.hype_probability, d.hype_threshold, d.end_low, d.end_high,
           (select count(*) from posts q where d.symbol = any(q.symbols)
              and q.posted_at >= d.due_at - interval '256 minutes' and q.posted_at < d.due_at) as posts,
           w.*
    from due d cross join lateral (
        select count(*) as minutes, sum(c.volume) as volume,
               (array_agg((c.open + c.close) / 2 order by c.opened_at))[1] as first_mid,
               (array_agg((c.open + c.close) / 2 order by c.opened_at desc))[1] as last_mid
        from candles c
        where c.market_id = d.market_id and c.final
          and c.opened_at >= d.due_at - interval '256 minutes' and c.opened_at < d.due_at
    ) w
    where w.minutes = 256 or d.due_at <= :given_up
)
insert into prediction_scores (post_id, revision, end_change, inside_band, hype, brier)
select post_id, revision,
       case when minutes = 256 then 100 * (last_mid / first_mid - 1) end,
       case when minutes = 256 and end_low is not null
            then 100 * (last_mid / first_mid - 1) between end_low and end_high end,
       case when minutes = 256 and hype_threshold is not null then {activity} > hype_threshold end,
       case when minutes = 256 and hype_threshold is not null and hype_probability is not null
            then power(hype_probability - case when {activity} > hype_threshold then 1 else 0 end, 2) end
from seen
on conflict do nothing
returning post_id
"""


def settle(connection: Connection, now: datetime, limit: int = 500) -> int:
    """Score predictions whose window has closed and whose 256 candles are all there; returns how many.

    ``hype``: whether the traded volume of the window exceeded the threshold that the forecast was made with.
    """
    query = text(_SETTLE.format(activity="volume"))
    return len(connection.execute(query, {"now": now, "given_up": now - GIVE_UP, "limit": limit}).all())
