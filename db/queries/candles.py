"""Candles and markets: bulk upserts with revisions, and what was known of a market at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import errors, sql
from sqlalchemy import Connection, text

from db.copy import stage
from db.engine import raw
from db.migrate import ensure_months, month_of
from domain.candles import Columns, Key
from domain.types import MINUTE, Candle

STAGE = (
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


def market_ids(connection: Connection, keys: Iterable[Key]) -> dict[Key, int]:
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
    found = {(r[0], r[1], r[2], r[3]): r[4] for r in connection.execute(query, columns)}
    if len(found) < len(wanted):
        connection.execute(
            text(
                f"insert into markets (exchange, market, symbol, timeframe) select * from {source} on conflict do nothing"
            ),
            columns,
        )
        found = {(r[0], r[1], r[2], r[3]): r[4] for r in connection.execute(query, columns)}
    return found


def upsert_candles(connection: Connection, candles: Sequence[Candle]) -> Upserted:
    """Store a batch; the last of equal keys within the batch wins, an older revision never overwrites a newer one.

    A stored final candle that arrives with other values is corrected and its ``revision`` grows by one; a candle that
    is not final never replaces a final one.
    """
    if not candles:
        return Upserted(0, 0, 0)
    ids = market_ids(connection, ((c.exchange, c.market, c.symbol, c.timeframe) for c in candles))
    rows: dict[tuple[int, datetime], tuple[Any, ...]] = {}
    for c in candles:
        market = ids[(c.exchange, c.market, c.symbol, c.timeframe)]
        kept = rows.get((market, c.opened_at))
        if kept is None or c.final or not kept[-1]:
            rows[(market, c.opened_at)] = (
                market, c.opened_at, c.open, c.high, c.low, c.close, c.volume, c.final,
            )  # fmt: skip
    ensure_months(connection, {month_of(at) for _, at in rows})
    stage(connection, "stage_candles", STAGE, rows.values())
    inserted, corrected = merge_stage(connection)
    return Upserted(inserted, corrected, len(rows) - inserted - corrected)


def merge_stage(connection: Connection) -> tuple[int, int]:
    """Upsert the temporary table ``stage_candles`` (columns :data:`STAGE`, unique keys); returns inserted and corrected."""
    told_apart = connection.dialect.server_version_info or (0,)
    is_new = "old.market_id is null" if told_apart >= (18,) else "c.revision = 0"
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


def known_symbols(connection: Connection) -> list[str]:
    """Pairs with candles here, busiest first."""
    return list(
        connection.execute(
            text("select symbol from markets where timeframe = '1m' group by symbol order by min(id)")
        ).scalars()
    )


def recent(connection: Connection, symbol: str, until: datetime, minutes: int) -> list[Candle]:
    """One-minute candles of the pair's best market that had closed by ``until``, oldest first, at most ``minutes``."""
    market = best_markets(connection, [(symbol, until)])[0]
    if market is None:
        return []
    rows = connection.execute(
        text(
            """
            select m.exchange, m.market, m.symbol, c.opened_at, c.open, c.high, c.low, c.close, c.volume, c.final, c.revision
            from candles c join markets m on m.id = c.market_id
            where c.market_id = :market and c.opened_at >= :start and c.opened_at <= :last
            order by c.opened_at
            """
        ),
        {"market": market, "start": until - (minutes + 1) * MINUTE, "last": until - MINUTE},
    )
    found = [Candle(r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], final=r[9], revision=r[10]) for r in rows]
    return found[-minutes:]


def best_markets(connection: Connection, asked: Sequence[tuple[str, datetime]]) -> list[int | None]:
    """For each (symbol, moment) the id of the market with a candle in the 256 minutes before: spot first, then oldest."""
    """For each (symbol, moment) the market with candles in the 256 minutes before: spot first, then the oldest known."""
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


_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
WORTH_ASKING = 8
"""Rows of a market in a batch from which on it pays to ask first whether any of them is stored."""
_SOMETHING_THERE = """
select exists (
    select from unnest(cast(:ids as int[]), cast(:firsts as bigint[]), cast(:lasts as bigint[])) as r(id, first, last)
    where exists (
        select from candles c where c.market_id = r.id
          and c.opened_at between to_timestamp(r.first) and to_timestamp(r.last)
          and c.opened_at between to_timestamp(:since) and to_timestamp(:until)))
"""
_WIDTHS = {"int4": (">i4", 4), "timestamptz": (">i8", 8), "float8": (">f8", 8), "bool": ("u1", 1)}
_ROW = np.dtype(
    [("fields", ">i2")] + [part for name, kind in STAGE for part in ((f"{name}_size", ">i4"), (name, _WIDTHS[kind][0]))]
)


def upsert_columns(connection: Connection, columns: Columns) -> Upserted:
    """Store a batch by the rules of :func:`db.queries.candles.upsert_candles`: the last of equal keys wins, final first."""
    if not len(columns.at):
        return Upserted(0, 0, 0)
    found = market_ids(connection, columns.markets)
    ids = np.array([found[key] for key in columns.markets], dtype=np.int64)[columns.market]
    keep = _last_of_equals(ids, columns.at, columns.final)
    ids, at = ids[keep], columns.at[keep]
    rows = _rows(ids, at, columns.bars[keep], columns.final[keep])
    ensure_months(connection, _months(at))
    if _insert_new(connection, ids, at, rows):
        return Upserted(len(keep), 0, 0)
    _stage(connection, rows)
    inserted, corrected = merge_stage(connection)
    return Upserted(inserted, corrected, len(keep) - inserted - corrected)


def _insert_new(connection: Connection, ids: NDArray[np.int64], at: NDArray[np.int64], rows: NDArray[np.void]) -> bool:
    """Copy straight into the table when nothing is stored where the rows go: half the work of the upsert.

    Rows are sorted by market and time. False, with nothing changed, when something is there, when another process puts
    it there meanwhile, or when there are too few rows of a market to be worth the question.
    """
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(ids) < WORTH_ASKING * len(first):
        return False
    last = np.concatenate([first[1:], [len(ids)]]) - 1
    asked = {
        "ids": ids[first].tolist(), "firsts": at[first].tolist(), "lasts": at[last].tolist(),
        "since": int(at.min()), "until": int(at.max()),
    }  # fmt: skip
    if connection.execute(text(_SOMETHING_THERE), asked).scalar():
        return False
    try:
        with connection.begin_nested():
            _copy(connection, "candles", rows)
    except errors.UniqueViolation:
        return False
    return True


def _last_of_equals(ids: NDArray[np.int64], at: NDArray[np.int64], final: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Row numbers sorted by key, one per key."""
    order = np.lexsort((np.arange(len(at)), final, at, ids))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (ids[order][1:] != ids[order][:-1]) | (at[order][1:] != at[order][:-1])
    return order[last]


def _rows(
    ids: NDArray[np.int64], at: NDArray[np.int64], bars: NDArray[np.float64], final: NDArray[np.bool_]
) -> NDArray[np.void]:
    rows = np.empty(len(ids), dtype=_ROW)
    rows["fields"] = len(STAGE)
    for name, kind in STAGE:
        rows[f"{name}_size"] = _WIDTHS[kind][1]
    rows["market_id"] = ids
    rows["opened_at"] = (at - _POSTGRES_EPOCH) * 1_000_000
    for column, name in enumerate(("open", "high", "low", "close", "volume")):
        rows[name] = bars[:, column]
    rows["final"] = final
    return rows


def _stage(connection: Connection, rows: NDArray[np.void]) -> None:
    types = sql.SQL(", ").join(sql.SQL(f"{name} {kind}") for name, kind in STAGE)
    with raw(connection).cursor() as cursor:
        cursor.execute(sql.SQL("create temporary table if not exists stage_candles ({}) on commit drop").format(types))
        cursor.execute("truncate stage_candles")
    _copy(connection, "stage_candles", rows)


def _copy(connection: Connection, table: str, rows: NDArray[np.void]) -> None:
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in STAGE)
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(table), names)
    with raw(connection).cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER + rows.tobytes() + _TRAILER)


def _months(at: NDArray[np.int64]) -> list[datetime]:
    months = np.unique(at.astype("datetime64[s]").astype("datetime64[M]")).astype("datetime64[s]").astype(np.int64)
    return [datetime.fromtimestamp(int(m), UTC) for m in months]
