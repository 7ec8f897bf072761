"""What a market's past says of its band, read from PostgreSQL: the day's history, and the experts that adapt its miss rate.

Both follow from closed candles alone, so that live, a replay and the walk-forward give the same numbers. A day's history is
read once per market and kept; the experts are told of one window every 64 minutes; every state is a row that never changes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.queries.bands import State, add_states, fresh_markets, live_coverage, newest_state
from db.queries.market_history import market_minutes
from db.queries.predictions import scored_by
from domain.types import MINUTE, STEPS, BandHistory, BandStanding, MarketContext, Minutes
from models.trajectories.band import (
    AT,
    KNOTS,
    LEVELS,
    MISS,
    SPAN,
    STRIDE,
    BandParameters,
    changes,
    clip,
    forecast,
    history,
    persistence,
)
from models.trajectories.conformal import Experts
from models.trajectories.measures import DAY, LONG
from workers.closing import settle

KEPT = 64
"""Histories kept in memory, 5 kB each."""
SETTLED = 5
"""Minutes that a window must have been closed for before the experts hear of it, so that its last candles are there."""
BLOCK, LEAD = 10 * DAY, 5 * DAY
"""A chain of states begins at a multiple of ten days, five to fifteen before the moment: wherever one asks first, the same."""
MEMORY = (BLOCK + LEAD) // STRIDE
"""Slots after which an older state is not taken on."""


class Bands:
    """One per scoring process; several threads take turns."""

    def __init__(self, engine: Engine, parameters: BandParameters) -> None:
        self._engine = engine
        self.parameters = parameters
        self._lock = threading.Lock()
        self._histories: OrderedDict[tuple[int, int], BandHistory] = OrderedDict()

    def known(
        self, connection: Connection, context: MarketContext, replayed: bool = False, scored_by: datetime | None = None
    ) -> MarketContext:
        """The context with the day's history and the band's standing as of its moment, from scores written by another."""
        if not context.market:
            return context
        minute = int(context.as_of.timestamp()) // 60
        with self._lock:
            experts = self._experts(connection, context.market, context.symbol, minute)
            past = self.history(connection, context.market, context.symbol, minute // DAY * DAY)
        inside, count = live_coverage(connection, context.symbol, context.as_of, replayed, scored_by)
        miss = [e.rate for e in experts]
        standing = BandStanding((miss[0], miss[1], miss[2]), inside, count, scored_by)
        return replace(context, history=past, standing=standing)

    def scored_by(self) -> datetime:
        """A moment as of which scores can be counted now, and again later with the same result."""
        with transaction(self._engine) as connection:
            return scored_by(connection)

    def settle_replays(self, until: datetime) -> int:
        """Close the replayed cases that were due by a moment of the replay's clock, as live they would have been."""
        with transaction(self._engine) as connection:
            return settle(connection, until, clock=datetime.now(UTC), only_replays=True)

    def keep_up(self, now: datetime) -> None:
        """Bring the experts of every market with fresh candles up to a moment, so that no post has to wait for it."""
        with transaction(self._engine) as connection, self._lock:
            for market, symbol in fresh_markets(connection, now):
                self._experts(connection, market, symbol, int(now.timestamp()) // 60)

    def history(self, connection: Connection, market: int, symbol: str, midnight: int) -> BandHistory:
        """What the 45 days before an epoch minute (a UTC midnight) say."""
        key = (market, midnight)
        if key not in self._histories:
            tape = market_minutes(connection, market, symbol, _moment(midnight - SPAN), _moment(midnight))
            self._histories[key] = history(self.parameters, tape, midnight)
            while len(self._histories) > KEPT:
                self._histories.popitem(last=False)
        self._histories.move_to_end(key)
        return self._histories[key]

    def _experts(self, connection: Connection, market: int, symbol: str, minute: int) -> list[Experts]:
        """The experts at an epoch minute; states that are missing up to it are worked out and kept."""
        last = (minute - SETTLED - STEPS) // STRIDE
        state = newest_state(connection, market, last, last - MEMORY)
        if state is not None and state.slot == last:
            return _unpacked(state)
        begin = (last * STRIDE - LEAD) // BLOCK * BLOCK // STRIDE
        first = state.slot + 1 if state else begin
        states = self._told(connection, market, symbol, first, last, _unpacked(state) if state else _fresh())
        with transaction(self._engine) as own:
            add_states(own, states)
            stored = newest_state(own, market, last, last)
        return _unpacked(stored or states[-1])

    def _told(
        self, connection: Connection, market: int, symbol: str, first: int, last: int, experts: list[Experts]
    ) -> list[State]:
        start, end = first * STRIDE, last * STRIDE + STEPS
        tape = market_minutes(connection, market, symbol, _moment(start - LONG - 1), _moment(end))
        out = []
        for slot in range(first, last + 1):
            places = self._places(connection, market, tape, slot * STRIDE)
            if places is not None:
                experts = [e.after(p) for e, p in zip(experts, places, strict=True)]
            out.append(_packed(market, slot, places, experts))
        return out

    def _places(self, connection: Connection, market: int, tape: Minutes, start: int) -> list[float] | None:
        """Where the outcome of the window at an epoch minute lies in its forecast, per horizon; None where it is not known."""
        truth = changes(tape, np.array([start - tape.first]), KNOTS[AT])[0]
        if not np.isfinite(truth).all():
            return None
        before = clip(tape, start - LONG - 1, start)
        if np.isfinite(before.mid[-STEPS:]).mean() < 0.8:
            return None
        past = self.history(connection, market, tape.symbol, start // DAY * DAY)
        nothing = np.zeros(0)
        context = MarketContext(tape.symbol, _moment(start), before.mid[-STEPS:], nothing, before, past)
        made = forecast(self.parameters, context, 1.0)
        return [
            float(np.interp(value, made.quantiles[step], LEVELS, left=0.0, right=1.0))
            for value, step in zip(truth, KNOTS[AT], strict=True)
        ]


def forecast_of(parameters: BandParameters, context: MarketContext | None) -> dict[str, Any]:
    """The fields of a prediction that come from the band, with its baselines and what went in; empty where it is blind."""
    if context is None or context.minutes is None:
        return {}
    made = forecast(parameters, context, 1.0)
    if made.widened == "blind":
        return {}
    past, standing = context.history, context.standing
    return {
        "quantiles": made.quantiles[KNOTS].ravel().tolist(),
        "climatology": past.climatology.ravel().tolist() if past and past.climatology is not None else None,
        "miss": list(standing.miss) if standing else [MISS] * len(AT),
        "big_move": past.big_move if past else None,
        "persistence": persistence(context),
        "volatility": float(made.expected[-1]),
    }


def went_in(context: MarketContext | None, library: int) -> dict[str, Any]:
    """What is kept beside an answer so that it can be made again: the library's end, the newest minute known, a digest."""
    kept: dict[str, Any] = {"library": library}
    if context is not None and context.minutes is not None:
        known = np.flatnonzero(np.isfinite(context.minutes.mid))
        newest = context.minutes.first + int(known[-1]) if len(known) else None
        if context.standing is not None and context.standing.scored_by is not None:
            kept["scored_by"] = context.standing.scored_by.isoformat()
        kept |= {"market": context.market, "newest": newest, "digest": digest(context)}
    return kept


def digest(context: MarketContext) -> str:
    """A short digest of every number of a market that went into an answer."""
    found = hashlib.sha256()
    parts = [context.mid, context.volume]
    if context.windows is not None:
        parts += [context.windows.volume, context.windows.volatility, context.windows.posts, context.windows.authors]
    if context.minutes is not None:
        parts += [context.minutes.mid, context.minutes.volume]
    if context.history is not None:
        parts.append(context.history.quantiles)
    if context.standing is not None:
        parts.append(np.array(context.standing.miss))
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()[:16]


def _fresh() -> list[Experts]:
    return [Experts.fresh() for _ in AT]


def _packed(market: int, slot: int, places: list[float] | None, experts: Sequence[Experts]) -> State:
    miss = np.concatenate([e.miss for e in experts]).tolist()
    return State(market, slot, places, miss, np.concatenate([e.weight for e in experts]).tolist())


def _unpacked(state: State) -> list[Experts]:
    miss, weight = np.split(np.array(state.miss), len(AT)), np.split(np.array(state.weight), len(AT))
    return [Experts(m, w) for m, w in zip(miss, weight, strict=True)]


def _moment(minute: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + MINUTE * minute
