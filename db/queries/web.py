"""What the web door shows: the newest verdicts, the markets, and whether the feed moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

PRIVATE = ("telegram", "door")
"""Sources whose posts somebody sent to us, not to the world: never listed."""


@dataclass(frozen=True, slots=True)
class MarketInfo:
    """A series of candles and its newest minute; None before the first candle."""

    symbol: str
    exchange: str
    market: str
    newest: datetime | None


_VERDICT = """
select p.id, p.source, left(p.text, 500) as text, p.posted_at, p.symbols, p.image_sha256 is not null as has_image,
       v.scored_at, v.answer -> 'emotions' as emotions, v.answer -> 'hype' as hype,
       v.answer #> '{trajectories,symbol}' as symbol, v.answer #> '{trajectories,mean,-1}' as "end",
       v.answer #> '{trajectories,low,-1}' as low, v.answer #> '{trajectories,high,-1}' as high
from verdicts v join posts p on p.id = v.post_id
where p.source <> all(:private)
  and not exists (select from model_revisions r where r.revision = v.revision and r.state = 'shadow')
  and not exists (select from jobs j where j.post_id = v.post_id and j.revision = v.revision and j.priority = 2)
"""
"""What a challenger says is not shown, nor is an old post news because it has been rescored."""


def newest_verdicts(
    connection: Connection, limit: int, before: datetime | None = None, source: str | None = None
) -> list[dict[str, Any]]:
    """Public posts and what was said of them, newest verdict first, scored before ``before``."""
    rows = connection.execute(
        text(
            _VERDICT
            + """
            and (cast(:before as timestamptz) is null or v.scored_at < :before)
              and (cast(:source as text) is null or p.source = :source)
            order by v.scored_at desc, p.id limit :limit
            """
        ),
        {"private": list(PRIVATE), "before": before, "source": source, "limit": limit},
    )
    return [dict(row._mapping) for row in rows]


def verdicts_of(connection: Connection, post_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The same rows for given posts, oldest verdict first; private and unknown ones are left out."""
    rows = connection.execute(
        text(_VERDICT + "and p.id = any(:ids) order by v.scored_at"),
        {"ids": list(post_ids), "private": list(PRIVATE)},
    )
    return [dict(row._mapping) for row in rows]


def markets(connection: Connection) -> list[MarketInfo]:
    """Every one-minute market with its newest candle, oldest market first."""
    rows = connection.execute(
        text(
            """
            select m.symbol, m.exchange, m.market,
                   (select c.opened_at from candles c where c.market_id = m.id order by c.opened_at desc limit 1)
            from markets m where m.timeframe = '1m' order by m.id
            """
        )
    )
    return [MarketInfo(*row) for row in rows]


def newest_minute(connection: Connection, symbol: str) -> datetime | None:
    """When the newest candle of a pair opened, over all its markets."""
    return connection.execute(
        text(
            """
            select max((select c.opened_at from candles c where c.market_id = m.id order by c.opened_at desc limit 1))
            from markets m where m.symbol = :symbol and m.timeframe = '1m'
            """
        ),
        {"symbol": symbol},
    ).scalar()


def feed_moved_at(connection: Connection) -> datetime | None:
    """When a consumer last stored something."""
    return connection.execute(text("select max(moved_at) from stream_offsets")).scalar()


def migrated(connection: Connection) -> bool:
    """Whether the tables are there."""
    return connection.execute(text("select to_regclass('verdicts') is not null")).scalar_one() is True
