"""Closing the case: when a prediction's 256 minutes have passed, the candles say what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from domain.types import LibraryRows, from_micros

GIVE_UP = timedelta(days=2)
"""How long the missing candles of a window are waited for."""

MARKETS = 3
"""Markets of a post whose windows are followed."""

SLOT = timedelta(minutes=64)
"""Searches see one live window per pair and slot, so four in 256 minutes, as many as the starter library holds."""

WHOLE = """
    select m.id as market_id,
           array_agg(100 * ((c.open + c.close) / first.mid - 1) order by c.opened_at) as change,
           array_agg(c.volume order by c.opened_at) as volumes
    from markets m
    cross join lateral (select open + close as mid from candles where market_id = m.id and opened_at = span.starts_at) first
    join candles c on c.market_id = m.id and c.final
     and c.opened_at >= span.starts_at and c.opened_at < span.starts_at + interval '256 minutes'
    where m.symbol = span.symbol and m.timeframe = '1m'
    group by m.id, m.market having count(*) = 256
    order by m.market = 'spot' desc, m.id limit 1
"""
"""The best market whose candles cover ``span`` (symbol, starts_at) without a hole: percent change of the mid price."""

_OPEN = """
insert into open_windows (post_id, symbol, starts_at)
select p.id, s, date_trunc('minute', p.posted_at + interval '1 minute' - interval '1 microsecond')
from posts p cross join lateral unnest(p.symbols[1:{markets}]) s
where p.id = any(:ids) and p.cluster is null
on conflict do nothing
"""

_CLOSED = f"""
with spans as materialized (
    select distinct w.symbol, w.starts_at from open_windows w
    where w.starts_at <= :closed and w.symbol in (select symbol from markets where timeframe = '1m')
      and exists (select from verdicts v where v.post_id = w.post_id)
    order by w.starts_at
),
whole as materialized (
    select span.symbol, span.starts_at, found.change from spans span cross join lateral ({WHOLE}) found limit :limit
)
select w.post_id, w.symbol, w.starts_at, p.source, p.text, p.posted_at, whole.change
from whole join open_windows w using (symbol, starts_at) join posts p on p.id = w.post_id
where exists (select from verdicts v where v.post_id = w.post_id)
order by w.starts_at, w.post_id limit :limit for key share of p skip locked
"""
"""Materialised, because the candles of a minute are looked at once, however many posts it has."""

_CORRECT = f"""
with spans as materialized (
    select distinct t.symbol, t.starts_at
    from candles c join markets m on m.id = c.market_id
    join trajectories t on t.symbol = m.symbol
     and t.starts_at > c.opened_at - interval '256 minutes' and t.starts_at <= c.opened_at
    where c.revision > 0 and c.opened_at >= :since and m.timeframe = '1m'
),
whole as materialized (
          select span.symbol, span.starts_at,
                 (select array_agg(least(step, 65000)) from unnest(found.change) step)::halfvec(256) as change
          from spans span cross join lateral ({WHOLE}) found)
update trajectories t set change = whole.change
from whole where t.symbol = whole.symbol and t.starts_at = whole.starts_at and t.change <> whole.change
"""


@dataclass(frozen=True, slots=True)
class Closed:
    """A window with all its candles. ``change``: 256 numbers, percent since the first step."""

    post_id: str
    symbol: str
    starts_at: datetime
    source: str
    text: str
    posted_at: datetime
    change: Sequence[float]


def open_windows(connection: Connection, post_ids: Sequence[str]) -> int:
    """Follow what the price does after these stored posts; returns how many windows are new."""
    return connection.execute(text(_OPEN.format(markets=MARKETS)), {"ids": list(post_ids)}).rowcount


def closed_windows(connection: Connection, now: datetime, limit: int) -> list[Closed]:
    """The oldest open windows whose 256 candles are all there and whose post was scored, at most ``limit``."""
    closed = now - timedelta(minutes=256)
    return [Closed(*row) for row in connection.execute(text(_CLOSED), {"closed": closed, "limit": limit})]


def forget_windows(connection: Connection, windows: Sequence[Closed]) -> None:
    """Take windows off the list, once they are in the library."""
    connection.execute(
        text(
            "delete from open_windows w using unnest(cast(:posts as text[]), cast(:symbols as text[])) as n(post, symbol) "
            "where w.post_id = n.post and w.symbol = n.symbol"
        ),
        {"posts": [w.post_id for w in windows], "symbols": [w.symbol for w in windows]},
    )


def give_up(connection: Connection, now: datetime) -> int:
    """Drop windows that never became whole; returns how many."""
    return connection.execute(
        text("delete from open_windows where starts_at <= :late and opened_at <= :late"), {"late": now - GIVE_UP}
    ).rowcount


def shelve(connection: Connection, rows: LibraryRows, revision: str) -> list[bool]:
    """For each row whether searches are to see it: the first of its pair and :data:`SLOT`."""
    if not len(rows):
        return []
    micros = SLOT // timedelta(microseconds=1)
    slots = [(symbol, int(at) // micros) for symbol, at in zip(rows.symbols, rows.posted_at, strict=True)]
    first, last = min(slot for _, slot in slots), max(slot for _, slot in slots) + 1
    found = connection.execute(
        text(
            "select symbol, (extract(epoch from posted_at) * 1000000)::int8 from trajectories where revision = :revision "
            "and shelved and symbol = any(:symbols) and posted_at >= :first and posted_at < :last "
            "and post_id not like 'starter:%'"
        ),
        {
            "revision": revision,
            "symbols": sorted(set(rows.symbols)),
            "first": from_micros(first * micros),
            "last": from_micros(last * micros),
        },
    )
    taken = {(symbol, at // micros) for symbol, at in found}
    out = []
    for slot in slots:
        out.append(slot not in taken)
        taken.add(slot)
    return out


def correct(connection: Connection, since: datetime) -> int:
    """Compute joined windows anew that hold a corrected candle opened since then; returns how many changed."""
    return connection.execute(text(_CORRECT), {"since": since}).rowcount
