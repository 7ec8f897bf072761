"""The series of a symbol: posts in columns, and the published windows with their revisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from db.queries.market_history import markets_minutes
from domain.series import COLUMNS, MOODS, PostColumns, summaries
from domain.types import MINUTE, Minutes

_POSTS = """
select s.symbol, floor(extract(epoch from p.posted_at) / 60)::int8 as minute, p.author_hash,
       p.cluster is not null as repeats, v.answer -> 'emotions' -> 'probabilities' as moods
from posts p cross join lateral unnest(p.symbols) as s(symbol)
left join lateral (
    select answer from verdicts v join model_revisions r on r.revision = v.revision and r.state = 'champion'
    where v.post_id = p.id
) v on true
where p.posted_at >= :start and p.posted_at < :end and p.symbols && cast(:symbols as text[])
  and s.symbol = any(cast(:symbols as text[]))
order by p.posted_at
"""
_AGED = """
select s.symbol, floor(extract(epoch from p.posted_at) / 60)::int8 + 60 as minute, g.likes
from posts p cross join lateral unnest(p.symbols) as s(symbol)
join post_engagement g on g.post_id = p.id and g.age_minutes = 60
where p.posted_at >= cast(:start as timestamptz) - interval '1 hour'
  and p.posted_at < cast(:end as timestamptz) - interval '1 hour'
  and p.symbols && cast(:symbols as text[]) and s.symbol = any(cast(:symbols as text[]))
"""


def post_columns(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime
) -> dict[str, PostColumns]:
    """Posts about each symbol published in [start, end), and the likes of those that turned an hour old then."""
    bounds = {"symbols": list(symbols), "start": start, "end": end}
    posts: dict[str, list[Any]] = {symbol: [] for symbol in symbols}
    aged: dict[str, list[Any]] = {symbol: [] for symbol in symbols}
    for into, query in ((posts, _POSTS), (aged, _AGED)):
        for row in connection.execute(text(query), bounds):
            into[row.symbol].append(row)
    return {symbol: _columns(posts[symbol], aged[symbol]) for symbol in symbols}


def _columns(posts: Sequence[Any], aged: Sequence[Any]) -> PostColumns:
    unknown = [np.nan] * len(MOODS)
    moods = [[float(r.moods[m]) for m in MOODS] if r.moods else unknown for r in posts]
    return PostColumns(
        minutes=np.array([r.minute for r in posts], dtype=np.int64),
        authors=[r.author_hash for r in posts],
        repeats=np.array([r.repeats for r in posts], dtype=np.bool_),
        moods=np.array(moods, dtype=np.float64).reshape(len(posts), len(MOODS)),
        aged=np.array([r.minute for r in aged], dtype=np.int64),
        likes=np.array([r.likes for r in aged], dtype=np.float64),
    )


Rows = dict[datetime, dict[str, float | None]]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """``count`` windows of ``width`` minutes of a symbol from number ``first`` on, and what they are made of.

    ``columns``: float64[count] each, by the names of :data:`domain.series.COLUMNS`.
    """

    first: int
    width: int
    tape: Minutes
    columns: dict[str, NDArray[np.float64]]

    def rows(self) -> Rows:
        """The windows by what opened them, those without candles and posts left out: a gap is no row."""
        kept = np.flatnonzero((self.columns["minutes"] > 0) | (self.columns["posts"] > 0))
        return {
            moment((self.first + i) * self.width): {n: _plain(self.columns[n][i]) for n in COLUMNS if n in self.columns}
            for i in kept.tolist()
        }


def spans(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime, width: int, back: int = 0
) -> dict[str, Span]:
    """By symbol the whole windows in [start, end), and ``back`` minutes before them; none where no market has candles."""
    first, stop = -(-minute(start) // width), minute(end) // width
    begin, opened, close = moment(first * width - back), moment(first * width), moment(stop * width)
    markets = markets_of(connection, symbols, begin, close) if stop > first else {}
    if not markets:
        return {}
    tapes = markets_minutes(connection, markets, begin, close)
    posts = post_columns(connection, list(markets), opened, close)
    out = {}
    for symbol, tape in tapes.items():
        columns = summaries(tape.first, tape.mid, tape.volume, posts[symbol], first, stop - first, width)
        out[symbol] = Span(first, width, tape, columns)
    return out


def markets_of(connection: Connection, symbols: Sequence[str], start: datetime, end: datetime) -> dict[str, int]:
    """By symbol the market with a candle in [start, end): spot first, then the oldest, as for a forecast."""
    query = text(
        "select distinct on (m.symbol) m.symbol, m.id from markets m where m.symbol = any(:symbols) "
        "and m.timeframe = '1m' and exists (select from candles c where c.market_id = m.id "
        "and c.opened_at >= :start and c.opened_at < :end) order by m.symbol, m.market = 'spot' desc, m.id"
    )
    found = connection.execute(query, {"symbols": list(symbols), "start": start, "end": end})
    return {row[0]: row[1] for row in found}


def minute(at: datetime) -> int:
    """Whole minutes since the epoch."""
    return int(at.timestamp()) // 60


def moment(number: int) -> datetime:
    """The UTC time of an epoch minute."""
    return datetime.fromtimestamp(number * 60, UTC)


def _plain(value: float) -> float | None:
    return float(f"{value:.9g}") if np.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Published:
    """One window as published. ``revision`` 0 was written when it closed; later ones say their reason."""

    opened_at: datetime
    revision: int
    values: dict[str, float | None]
    reason: str
    written_at: datetime


def published(connection: Connection, symbol: str, since: datetime, until: datetime) -> list[Published]:
    """The newest revision of each stored window of 15 minutes that opened in [since, until), oldest first."""
    return _newest(connection, [symbol], since, until)[symbol]


def _newest(
    connection: Connection, symbols: Sequence[str], since: datetime, until: datetime
) -> dict[str, list[Published]]:
    query = text(
        "select distinct on (symbol, opened_at) symbol, opened_at, revision, values, reason, written_at "
        "from series_windows where symbol = any(:symbols) and opened_at >= :since and opened_at < :until "
        "order by symbol, opened_at, revision desc"
    )
    out: dict[str, list[Published]] = {symbol: [] for symbol in symbols}
    for symbol, *row in connection.execute(query, {"symbols": list(symbols), "since": since, "until": until}):
        out[symbol].append(Published(*row))
    return out


def first_published(
    connection: Connection, symbols: Sequence[str], since: datetime, until: datetime
) -> dict[str, dict[int, dict[str, float | None]]]:
    """By symbol and opening minute the windows as they were first stored, within five minutes of their close."""
    query = text(
        "select symbol, opened_at, values from series_windows where symbol = any(:symbols) and revision = 0 "
        "and opened_at >= :since and opened_at < :until and written_at < opened_at + interval '20 minutes'"
    )
    out: dict[str, dict[int, dict[str, float | None]]] = {symbol: {} for symbol in symbols}
    for symbol, at, values in connection.execute(query, {"symbols": list(symbols), "since": since, "until": until}):
        out[symbol][minute(at)] = values
    return out


def last_published(connection: Connection, symbols: Sequence[str]) -> dict[str, datetime]:
    """When the newest stored window of each symbol opened."""
    query = text("select symbol, max(opened_at) from series_windows where symbol = any(:symbols) group by symbol")
    return {row[0]: row[1] for row in connection.execute(query, {"symbols": list(symbols)})}


def publish(connection: Connection, made: Mapping[str, Rows], reason: str = "") -> int:
    """Store windows by symbol; one that is there with other values gets a further revision. Returns how many are new."""
    moments = [at for rows in made.values() for at in rows]
    if not moments:
        return 0
    stored = _newest(connection, list(made), min(moments), max(moments) + MINUTE)
    new = []
    for symbol, rows in made.items():
        old = {p.opened_at: p for p in stored[symbol]}
        new += [
            {
                "symbol": symbol,
                "opened_at": at,
                "revision": old[at].revision + 1 if at in old else 0,
                "values": json.dumps(values),
                "reason": reason if at in old else "",
            }
            for at, values in rows.items()
            if at not in old or _differs(old[at].values, values)
        ]
    if new:
        statement = text(
            "insert into series_windows (symbol, opened_at, revision, values, reason) "
            "values (:symbol, :opened_at, :revision, cast(:values as jsonb), :reason) on conflict do nothing"
        )
        connection.execute(statement, new)
    return len(new)


def _differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether anything but the hype is another number: a forecast stays what it was when its window closed."""
    return any(old.get(name) != value for name, value in new.items() if not name.startswith("hype"))
