"""Candles and markets: bulk upserts with revisions, and which market to read at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import errors
from sqlalchemy import Connection, text

from db.copy import empty_stage, read_numbers, write_numbers
from db.migrate import ensure_months
from domain.candles import NO_CANDLES, CandleColumns, MarketKey
from domain.types import MINUTE

_COLUMNS = (
    ("market_id", "int4"),
    ("opened_at", "timestamptz"),
    ("open", "float8"),
    ("high", "float8"),
    ("low", "float8"),
    ("close", "float8"),
    ("volume", "float8"),
    ("final", "bool"),
)


@dataclass(frozen=True, slots=True)
class Upserted:
    """What a batch did: new rows, rows whose values changed, rows that were there already."""

    inserted: int
    corrected: int
    unchanged: int


def market_ids(connection: Connection, keys: Iterable[MarketKey]) -> dict[MarketKey, int]:
    """Ids of the markets, made where new."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    columns = dict(zip(("e", "m", "s", "t"), (list(c) for c in zip(*wanted, strict=True)), strict=True))
    source = "unnest(cast(:e as text[]), cast(:m as text[]), cast(:s as text[]), cast(:t as text[]))"
    query = text(
        f"select exchange, market, symbol, timeframe, id from markets "
        f"where (exchange, market, symbol, timeframe) in (select * from {source})"
    )
    ids = {MarketKey(*r[:4]): r[4] for r in connection.execute(query, columns)}
    if len(ids) < len(wanted):
        connection.execute(
            text(
                f"insert into markets (exchange, market, symbol, timeframe) select * from {source} on conflict do nothing"
            ),
            columns,
        )
        ids = {MarketKey(*r[:4]): r[4] for r in connection.execute(query, columns)}
    return ids


def known_symbols(connection: Connection) -> list[str]:
    """Pairs with candles here, busiest first."""
    return list(
        connection.execute(
            text("select symbol from markets where timeframe = '1m' group by symbol order by min(id)")
        ).scalars()
    )


def recent(connection: Connection, symbol: str, until: datetime, minutes: int) -> CandleColumns:
    """One-minute candles of the pair's best market that had closed by ``until``, oldest first, at most ``minutes``."""
    market = best_markets(connection, [(symbol, until)])[0]
    if market is None:
        return NO_CANDLES
    named = text("select exchange, market, symbol, timeframe from markets where id = :id")
    key = MarketKey(*connection.execute(named, {"id": market}).one())
    values = {"market": market, "start": until - (minutes + 1) * MINUTE, "last": until - MINUTE}
    bars = (("open", "float8"), ("high", "float8"), ("low", "float8"), ("close", "float8"), ("volume", "float8"))
    rows = read_numbers(connection, _RECENT, values, (("at", "int8"), *bars, ("final", "bool")))[-minutes:]
    at, final = rows["at"].astype(np.int64), rows["final"].astype(bool)
    columns = np.stack([rows[name].astype(np.float64) for name, _ in bars], axis=1)
    return CandleColumns((key,), np.zeros(len(at), np.int64), at, columns, final)


_RECENT = """
select extract(epoch from opened_at)::int8, open::float8, high::float8, low::float8, close::float8, volume::float8, final
from candles where market_id = %(market)s and opened_at >= %(start)s and opened_at <= %(last)s order by opened_at
"""


def best_markets(connection: Connection, asked: Sequence[tuple[str, datetime]]) -> list[int | None]:
    """For each (symbol, moment) the id of the market with a candle in the 256 minutes before: spot first, then oldest."""
    rows = connection.execute(
        text(
            """
            select a.n, (
                select m.id from markets m
                where m.symbol = a.symbol and m.timeframe = '1m'
                  and exists (select from candles c where c.market_id = m.id
                              and c.opened_at >= a.moment - interval '256 minutes'
                              and c.opened_at <= a.moment - interval '1 minute')
                order by m.market = 'spot' desc, m.id limit 1)
            from unnest(cast(:symbols as text[]), cast(:moments as timestamptz[])) with ordinality a(symbol, moment, n)
            order by a.n
            """
        ),
        {"symbols": [s for s, _ in asked], "moments": [m for _, m in asked]},
    )
    return [market for _, market in rows]


WORTH_ASKING = 8
"""Rows of a market in a batch from which on it pays to ask first whether any of them is stored."""
_ANY_STORED = """
select exists (
    select from unnest(cast(:ids as int[]), cast(:firsts as bigint[]), cast(:lasts as bigint[])) as r(id, first, last)
    where exists (
        select from candles c where c.market_id = r.id
          and c.opened_at between to_timestamp(r.first) and to_timestamp(r.last)
          and c.opened_at between to_timestamp(:since) and to_timestamp(:until)))
"""


def upsert_candles(connection: Connection, candles: CandleColumns) -> Upserted:
    """Store a batch; of equal keys within it a final candle wins, then the last one.

    A stored final candle that arrives with other values is corrected and its ``revision`` grows by one; a candle that
    is not final never replaces a final one.
    """
    if not len(candles):
        return Upserted(0, 0, 0)
    id_of = market_ids(connection, candles.markets)
    ids = np.array([id_of[key] for key in candles.markets], dtype=np.int64)[candles.market]
    keep = _last_of_equals(ids, candles.at, candles.final)
    ids, candles = ids[keep], candles.take(keep)
    rows = (ids, candles.at, *candles.bars.T, candles.final)
    ensure_months(connection, _months(candles.at))
    if _insert_new(connection, rows):
        return Upserted(len(candles), 0, 0)
    empty_stage(connection, "stage_candles", _COLUMNS)
    write_numbers(connection, "stage_candles", _COLUMNS, rows)
    inserted, corrected = _merge_stage(connection)
    return Upserted(inserted, corrected, len(candles) - inserted - corrected)


def _merge_stage(connection: Connection) -> tuple[int, int]:
    """Upsert the temporary table ``stage_candles`` (unique keys); returns how many were inserted and corrected."""
    version = connection.dialect.server_version_info or (0,)
    is_new = "old.market_id is null" if version >= (18,) else "c.revision = 0"
    result = connection.execute(text(_UPSERT.format(is_new=is_new))).one()
    return result.inserted, result.corrected


_UPSERT = """
with written as (
    insert into candles as c (market_id, opened_at, open, high, low, close, volume, final)
    select market_id, opened_at, open, high, low, close, volume, final from stage_candles order by 1, 2
    on conflict (market_id, opened_at) do update set
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        volume = excluded.volume, final = excluded.final,
        revision = c.revision + case when c.final then 1 else 0 end
    where (c.open, c.high, c.low, c.close, c.volume, c.final)
          is distinct from (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.final)
      and (excluded.final or not c.final)
    returning {is_new} as is_new
)
select count(*) filter (where is_new) as inserted, count(*) filter (where not is_new) as corrected from written
"""


def _insert_new(connection: Connection, rows: Sequence[NDArray[Any]]) -> bool:
    """Copy straight into the table when nothing is stored where the rows go: half the work of the upsert.

    Rows are sorted by market and time. False, with nothing changed, when something is there, when another process puts
    it there meanwhile, or when there are too few rows of a market to be worth the question.
    """
    ids, at = rows[0], rows[1]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(ids) < WORTH_ASKING * len(first):
        return False
    last = np.concatenate([first[1:], [len(ids)]]) - 1
    asked = {
        "ids": ids[first].tolist(), "firsts": at[first].tolist(), "lasts": at[last].tolist(),
        "since": int(at.min()), "until": int(at.max()),
    }  # fmt: skip
    if connection.execute(text(_ANY_STORED), asked).scalar():
        return False
    try:
        with connection.begin_nested():
            write_numbers(connection, "candles", _COLUMNS, rows)
    except errors.UniqueViolation:
        return False
    return True


def _last_of_equals(ids: NDArray[np.int64], at: NDArray[np.int64], final: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Row numbers sorted by key, one per key."""
    order = np.lexsort((np.arange(len(at)), final, at, ids))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (ids[order][1:] != ids[order][:-1]) | (at[order][1:] != at[order][:-1])
    return order[last]


def _months(at: NDArray[np.int64]) -> list[datetime]:
    months = np.unique(at.astype("datetime64[s]").astype("datetime64[M]")).astype("datetime64[s]").astype(np.int64)
    return [datetime.fromtimestamp(int(m), UTC) for m in months]
