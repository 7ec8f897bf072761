"""Text to trajectories, and a price path to the posts that such paths followed: the use-case behind CLI and HTTP.

Both ways are the plainest that the figures allow (docs/results.md, report 000): near words, and near shape. Whether either
finds the right partner more often than its twin with exchanged words is what the latest walk-forward says. Nothing that had
not ended at the asked moment is found.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.earned import Fold, latest_fold
from db.queries.market_history import market_contexts
from db.queries.trajectories import near_shape
from domain.answer import Json, stamp
from domain.clock import Clock
from domain.errors import InputError, NoCandles
from domain.reasons import Reason
from domain.symbols import normalize
from domain.types import STEPS
from workers.client.analyze import Queue, Request, analyze

MOST = 10
FLAT = 0.05
"""Percent: an end move below this counts as flat."""

SHORTEST, LONGEST = 16, 100_000
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

Path256 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MatchRequest:
    """One of ``text``, ``prices`` (a path of any length from 16 on) or ``symbol`` with ``at`` (its last 256 minutes).

    With text or prices, ``symbol`` keeps to one market and ``at`` is the moment as of which to look; without them all, and now.
    """

    text: str = ""
    prices: tuple[float, ...] = ()
    symbol: str | None = None
    at: datetime | None = None


def match(engine: Engine, client: Queue, request: MatchRequest, *, clock: Clock, deadline: float = 30.0) -> Json:
    """What is near, its mean, how it ended, and by which rule it was found.

    Raises:
        InputError: nothing, or too much, was asked; the path is no path. NoCandles: no whole 256 minutes before ``at``.
    """
    if request.text.strip() and request.prices:
        raise InputError(Reason("match_both"))
    if request.text.strip():
        return _by_words(engine, client, request, clock, deadline)
    return _by_shape(engine, request, clock.now())


def _by_words(engine: Engine, client: Queue, request: MatchRequest, clock: Clock, deadline: float) -> Json:
    asked = Request(text=request.text, symbol=request.symbol, at=request.at)
    answer = analyze(engine, client, asked, clock=clock, deadline=deadline)
    paths = answer["trajectories"]
    if not paths:
        raise NoCandles(Reason("no_past"))
    with transaction(engine) as connection:
        tested = _tested(latest_fold(connection), "text_to_series")
    return _told("text_to_series", "near words", paths["matches"], request.at or clock.now(), None) | tested


def _by_shape(engine: Engine, request: MatchRequest, now: datetime) -> Json:
    at = request.at or now
    if at > now + timedelta(minutes=2):
        raise NoCandles(Reason("time_in_future", {"at": stamp(at)}))
    symbol = normalize(request.symbol) if request.symbol else None
    with transaction(engine) as connection:
        if request.prices:
            change = path_of(request.prices)
        elif symbol is not None:
            context = market_contexts(connection, [(symbol, at)])[0]
            if context is None or len(context.mid) < STEPS or not np.isfinite(context.mid).all():
                raise NoCandles(Reason("window_incomplete", {"symbol": symbol, "minutes": STEPS, "at": stamp(at)}))
            change = path_of(context.mid.tolist())
        else:
            raise InputError(Reason("match_nothing"))
        found = near_shape(connection, change, at, symbol if request.prices else None, MOST)
        tested = _tested(latest_fold(connection), "series_to_text")
    matches = [
        {
            "post_id": m.post_id, "source": m.source, "posted_at": stamp(m.posted_at), "symbol": m.symbol,
            "similarity": round(m.similarity, 5), "change": [round(float(v), 4) for v in m.change],
        }
        for m in found
    ]  # fmt: skip
    return _told("series_to_posts", "near shape", matches, at, change) | tested


def _tested(fold: Fold | None, way: str) -> Json:
    """What the latest walk-forward says of this matcher; nulls where there is none, or too few windows had closed for it."""
    figures = ((fold.figures.get("recall") or {}) if fold else {}).get(way)
    if fold is None or fold.made_at is None or figures is None:
        return {"beats_placebo": None, "tested": None}
    return {"beats_placebo": figures["interval"][0] > 0, "tested": {"at": stamp(fold.made_at), **figures}}


def _told(direction: str, rule: str, matches: list[Json], at: datetime, asked: Path256 | None) -> Json:
    ends = np.array([m["change"][-1] for m in matches], dtype=np.float64)
    mean = np.mean([m["change"] for m in matches], axis=0) if matches else np.zeros(0)
    shares = {"up": ends > FLAT, "down": ends < -FLAT, "flat": np.abs(ends) <= FLAT}
    return {
        "direction": direction,
        "matcher": rule,
        "as_of": stamp(at),
        "asked": None if asked is None else [round(float(v), 4) for v in asked],
        "matches": matches,
        "mean": [round(float(v), 4) for v in mean],
        "ended": {name: round(float(mask.mean()), 4) if len(ends) else None for name, mask in shares.items()},
    }


def path_of(prices: Any) -> Path256:
    """float64[256], percent since the first price; other lengths are interpolated.

    Raises:
        InputError: too short, too long, or a price that is no positive number.
    """
    values = np.asarray(prices, dtype=np.float64)
    if not SHORTEST <= len(values) <= LONGEST:
        raise InputError(Reason("series_length", {"count": len(values), "least": SHORTEST, "most": LONGEST}))
    if not (np.isfinite(values) & (values > 0)).all():
        raise InputError(Reason("series_not_positive"))
    change = 100.0 * (values / values[0] - 1.0)
    places = np.linspace(0, len(change) - 1, STEPS)
    return np.asarray(np.interp(places, np.arange(len(change)), change), dtype=np.float64)


def read_prices(text: str) -> tuple[float, ...]:
    """Prices of a file: a JSON list, or one number a line (of several columns, the last one).

    Raises:
        InputError: there is a line without a number.
    """
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            return tuple(float(v) for v in json.loads(stripped))
        except (ValueError, TypeError):
            raise InputError(Reason("series_not_numbers")) from None
    lines = [line for line in stripped.splitlines() if line.strip()]
    if len(lines) == 1:
        return tuple(float(n) for n in _NUMBER.findall(lines[0]))
    cells = [line.replace(";", ",").rpartition(",")[2].strip() for line in lines]
    if cells and not _NUMBER.fullmatch(cells[0]):
        cells = cells[1:]  # a header
    wrong = next((cell for cell in cells if not _NUMBER.fullmatch(cell)), None)
    if wrong is not None:
        raise InputError(Reason("series_not_price", {"text": wrong[:30]}))
    return tuple(map(float, cells))
