"""Minutes that an exchange did not deliver: recorded, and noted as filled when they come after all; never invented."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

_NOTE = """
insert into candle_gaps (market_id, start_at, end_at)
select market_id, before + interval '1 minute', opened_at
from (
    select c.market_id, c.opened_at, coalesce(
        lag(c.opened_at) over (partition by c.market_id order by c.opened_at),
        (select b.opened_at from candles b where b.market_id = c.market_id and b.final and b.opened_at < c.opened_at
         order by b.opened_at desc limit 1)) as before
    from candles c join markets m on m.id = c.market_id
    where m.timeframe = '1m' and c.final and c.opened_at >= :since and c.opened_at < :until
) neighbours
where opened_at - before > interval '1 minute'
on conflict (market_id, start_at) do nothing
returning market_id
"""
"""The candle before a market's first one in the span may lie any time before it: a hole can be longer than the look."""

_FILL = """
update candle_gaps g set filled_at = now()
where g.filled_at is null and g.end_at >= :since and g.start_at < :until
  and (select count(*) from candles c where c.market_id = g.market_id and c.opened_at >= g.start_at and c.opened_at < g.end_at)
      >= extract(epoch from g.end_at - g.start_at) / 60
"""


def note_gaps(connection: Connection, since: datetime, until: datetime | None = None) -> tuple[int, int]:
    """Record the holes before stored one-minute candles in [since, until); returns how many are new, and how many filled."""
    values = {"since": since, "until": until or since + timedelta(days=100_000)}
    new = len(connection.execute(text(_NOTE), values).all())
    filled = connection.execute(text(_FILL), values).rowcount
    return new, filled
