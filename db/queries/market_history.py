"""What was known of a market at a moment: the SQL side of :class:`domain.types.MarketContext`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from db.copy import read_numbers
from db.queries.candles import best_markets
from domain.series import PAST, QUARTER, PastWindows, last_window, on_grid, rates, volatilities
from domain.types import MINUTE, STEPS, WINDOWS, MarketContext, Minutes

SPAN = PAST * QUARTER + QUARTER
"""Minutes that a context looks back: the past windows, and at most one begun before the moment."""

NEAR = timedelta(days=1)
"""Moments nearer than this are answered from one read."""

Asked = tuple[str, datetime]
Values = NDArray[np.float64]

_CANDLES = """
select market_id::int4, (extract(epoch from opened_at)::int8 / 60)::int4, ((open + close) / 2)::float8, volume::float8
from candles where market_id = any(%(markets)s) and opened_at >= %(start)s and opened_at < %(end)s
"""
_CANDLE = (("market", "int4"), ("minute", "int4"), ("mid", "float8"), ("volume", "float8"))
_POSTS = f"""
select symbol, quarter, sum(posts)::float8 as posts,
       (count(author) + coalesce(sum(posts) filter (where author is null), 0))::float8 as authors
from (
    select s.symbol, floor(extract(epoch from p.posted_at))::int8 / {60 * QUARTER} as quarter,
           nullif(p.author_hash, '') as author, count(*) as posts
    from posts p cross join lateral unnest(p.symbols) as s(symbol)
    where p.posted_at >= :start and p.posted_at < :end and p.symbols && cast(:symbols as text[])
      and s.symbol = any(cast(:symbols as text[])) and (cast(:known as timestamptz) is null or p.received_at <= :known)
    group by 1, 2, 3
) by_author
group by 1, 2
"""
"""Posts and their authors in each quarter of an hour; those without an author count once each."""


def market_contexts(
    connection: Connection, asked: Sequence[Asked], known_at: datetime | None = None, posts: bool = False
) -> list[MarketContext | None]:
    """One context per (symbol, moment), in order; None where the market has no candle in the 256 minutes before.

    ``posts``: count those of the week before, which takes long where there are many; NaN without. ``known_at``: those that
    were stored later are not counted, so that a stored answer can be made again.

    Moments are floored to the minute. Only candles that had closed by then (opened_at + 1 min ≤ as_of) and posts
    published before it are read. Moments of one market within a day share one read.
    """
    floored = [(symbol, moment.astimezone(UTC).replace(second=0, microsecond=0)) for symbol, moment in asked]
    distinct = sorted(set(floored))
    groups: dict[tuple[str, int], list[datetime]] = defaultdict(list)
    known: dict[Asked, MarketContext | None] = dict.fromkeys(distinct)
    for (symbol, moment), market in zip(distinct, best_markets(connection, distinct), strict=True):
        if market is not None:
            groups[symbol, market].append(moment)
    for (symbol, market), moments in groups.items():
        for near in _runs(moments):
            for context in _read(connection, symbol, market, near, known_at, posts):
                known[symbol, context.as_of] = context
    return [known[key] for key in floored]


def _runs(moments: list[datetime]) -> list[list[datetime]]:
    runs: list[list[datetime]] = []
    for moment in moments:
        if runs and moment - runs[-1][0] <= NEAR:
            runs[-1].append(moment)
        else:
            runs.append([moment])
    return runs


def _read(
    connection: Connection,
    symbol: str,
    market: int,
    moments: list[datetime],
    known_at: datetime | None,
    posts: bool,
) -> list[MarketContext]:
    start, end = moments[0] - SPAN * MINUTE, moments[-1]
    tape = market_minutes(connection, market, symbol, start, end)
    lowest = tape.first // QUARTER
    count = last_window(tape.first + len(tape.mid)) - lowest
    published = post_counts(connection, [symbol], start, end, known_at)[symbol] if posts else None
    grid = windows_of(tape, published, lowest, count)
    return [_context(m, tape, grid, lowest, market) for m in moments]


@dataclass(frozen=True, slots=True, eq=False)
class PostCounts:
    """Windows of the grid in which a symbol was written about: their numbers, how many posts, and of how many authors."""

    numbers: NDArray[np.int64]
    posts: Values
    authors: Values

    def on_grid(self, values: Values, start: int, count: int) -> Values:
        """One of the columns for ``count`` windows from number ``start`` on, 0 where nobody wrote."""
        place = self.numbers - start
        inside = (place >= 0) & (place < count)
        return np.bincount(place[inside], values[inside], minlength=count).astype(np.float64)


def post_counts(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime, known_at: datetime | None = None
) -> dict[str, PostCounts]:
    """Of each symbol what was written in [start, end) by windows of the grid, counted by PostgreSQL."""
    bounds = {"symbols": list(symbols), "start": start, "end": end, "known": known_at}
    rows: dict[str, list[tuple[float, float, float]]] = {symbol: [] for symbol in symbols}
    for row in connection.execute(text(_POSTS), bounds):
        rows[row.symbol].append((row.quarter, row.posts, row.authors))
    columns = {symbol: np.array(some, dtype=np.float64).reshape(-1, 3).T for symbol, some in rows.items()}
    return {symbol: PostCounts(number.astype(np.int64), *rest) for symbol, (number, *rest) in columns.items()}


def windows_of(tape: Minutes, posts: PostCounts | None, start: int, count: int) -> PastWindows:
    """``count`` windows of the grid from number ``start`` on; posts and authors are NaN where they were not counted."""
    unknown = np.full(count, np.nan)
    return PastWindows(
        volume=rates(on_grid(tape.first, tape.volume, start, count)),
        volatility=volatilities(on_grid(tape.first, tape.mid, start, count)),
        posts=unknown if posts is None else posts.on_grid(posts.posts, start, count),
        authors=unknown if posts is None else posts.on_grid(posts.authors, start, count),
    )


def _context(as_of: datetime, tape: Minutes, grid: PastWindows, lowest: int, market: int) -> MarketContext:
    minute = int(as_of.timestamp()) // 60
    stop, start = minute - tape.first, last_window(minute) - PAST - lowest
    near, past = slice(stop - STEPS * WINDOWS, stop), slice(start, start + PAST)
    known = Minutes(tape.symbol, minute - STEPS * WINDOWS, tape.mid[near], tape.volume[near])
    return MarketContext(
        symbol=tape.symbol,
        as_of=as_of,
        mid=known.mid[-STEPS:].copy(),
        volume=known.volume[-STEPS:].copy(),
        windows=PastWindows(
            volume=grid.volume[past].copy(),
            volatility=grid.volatility[past].copy(),
            posts=grid.posts[past].copy(),
            authors=grid.authors[past].copy(),
        ),
        minutes=known,
        market=market,
    )


def market_minutes(connection: Connection, market: int, symbol: str, start: datetime, end: datetime) -> Minutes:
    """The closed candles of one market that opened in [start, end), whole minutes both."""
    return markets_minutes(connection, {symbol: market}, start, end)[symbol]


def markets_minutes(
    connection: Connection, markets: Mapping[str, int], start: datetime, end: datetime
) -> dict[str, Minutes]:
    """By symbol the closed candles of several markets that opened in [start, end), whole minutes both, from one read."""
    first, length = int(start.timestamp()) // 60, int((end - start) / MINUTE)
    ids = list(markets.values())
    rows = read_numbers(connection, _CANDLES, {"markets": ids, "start": start, "end": end}, _CANDLE)
    order = np.argsort(ids)
    place = order[np.searchsorted(np.array(ids)[order], rows["market"])]
    mid, volume = np.full((2, len(ids), length), np.nan)
    mid[place, rows["minute"] - first] = rows["mid"]
    volume[place, rows["minute"] - first] = rows["volume"]
    return {symbol: Minutes(symbol, first, mid[i], volume[i]) for i, symbol in enumerate(markets)}


def unfilled_gaps(connection: Connection, since: datetime) -> int:
    """How many holes in candles noticed since then are still open."""
    query = "select count(*) from candle_gaps where filled_at is null and noticed_at >= :since"
    return int(connection.execute(text(query), {"since": since}).scalar_one())


def open_gaps(connection: Connection, exchange: str, since: datetime) -> list[tuple[str, datetime, datetime]]:
    """(symbol, start, end) of the open holes in an exchange's one-minute candles that end after a moment, newest first."""
    rows = connection.execute(
        text(
            "select m.symbol, g.start_at, g.end_at from candle_gaps g join markets m on m.id = g.market_id "
            "where g.filled_at is null and g.end_at > :since and m.exchange = :exchange and m.timeframe = '1m' "
            "order by g.end_at desc limit 100"
        ),
        {"exchange": exchange, "since": since},
    )
    return [tuple(row) for row in rows]


def market_span(connection: Connection) -> list[tuple[int, str, datetime, datetime]]:
    """(id, symbol, first minute, end) of every one-minute market that has candles, oldest market first."""
    rows = connection.execute(
        text(
            "select m.id, m.symbol, min(c.opened_at), max(c.opened_at) + interval '1 minute' from markets m "
            "join candles c on c.market_id = m.id where m.timeframe = '1m' group by m.id, m.symbol order by m.id"
        )
    )
    return [tuple(row) for row in rows]


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


def note_hole(connection: Connection, market: int, start: datetime, end: datetime) -> int:
    """Record that the exchange had no candles of a market in [start, end); returns 1 where that is new, else 0."""
    statement = (
        "insert into candle_gaps (market_id, start_at, end_at) values (:market, :start, :end) on conflict do nothing"
    )
    return connection.execute(text(statement), {"market": market, "start": start, "end": end}).rowcount
