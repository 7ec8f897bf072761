"""How a market's bands have held: the conformal experts after each closed window, and the share of scored outcomes inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from db.market_tables import BandState
from domain.types import HORIZON

RECENT = timedelta(days=45)
"""Scores that ``coverage.live`` counts."""


@dataclass(frozen=True, slots=True)
class State:
    """One row of ``band_states``: the experts once the window of ``slot`` has closed, flattened by horizon."""

    market_id: int
    slot: int
    places: list[float] | None
    miss: list[float]
    weight: list[float]


def newest_state(connection: Connection, market: int, last: int, first: int) -> State | None:
    """The newest state of a market whose slot lies in [first, last]; None where there is none."""
    row = connection.execute(
        text(
            "select market_id, slot, places, miss, weight from band_states "
            "where market_id = :market and slot between :first and :last order by slot desc limit 1"
        ),
        {"market": market, "first": first, "last": last},
    ).one_or_none()
    return None if row is None else State(*row)


def add_states(connection: Connection, states: Sequence[State]) -> int:
    """Keep states; one that is there stands. Returns how many are new."""
    if not states:
        return 0
    rows = [{name: getattr(state, name) for name in State.__slots__} for state in states]
    statement = insert(BandState).values(rows).on_conflict_do_nothing().returning(BandState.slot)
    return len(connection.execute(statement).all())


def fresh_markets(connection: Connection, now: datetime) -> list[tuple[int, str]]:
    """(id, symbol) of the one-minute markets with a candle in the 256 minutes before a moment."""
    rows = connection.execute(
        text(
            "select m.id, m.symbol from markets m where m.timeframe = '1m' and exists (select from candles c "
            "where c.market_id = m.id and c.opened_at > :since and c.opened_at <= :now) order by m.id"
        ),
        {"since": now - HORIZON, "now": now},
    )
    return [(market, symbol) for market, symbol in rows]


def live_coverage(
    connection: Connection, symbol: str, until: datetime, replayed: bool, known_at: datetime | None = None
) -> tuple[float | None, int]:
    """(mean share of steps inside, number of scores) of a symbol's bands that closed in the 45 days before a moment.

    ``known_at``: only scores written by then, so that a stored answer can be made again.
    """
    row = connection.execute(
        text(
            "select avg(s.covered), count(s.covered) from prediction_scores s join posts p on p.id = s.post_id "
            "where s.symbol = :symbol and s.replayed = :replayed and p.cluster is null "
            "and s.closed_at > :since and s.closed_at <= :until "
            "and (cast(:known as timestamptz) is null or s.scored_at <= :known)"
        ),
        {"symbol": symbol, "since": until - RECENT, "until": until, "replayed": replayed, "known": known_at},
    ).one()
    return (None if row[0] is None else float(row[0])), int(row[1])
