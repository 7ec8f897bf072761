"""Closing the case: when a prediction's 256 minutes have passed, the candles say what it was worth."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from db.queries.predictions import Due, Said, Score, due_predictions, insert_scores
from models.trajectories.band import AT, KNOTS, LEVELS, at_levels, exceeds, horizon_rates, quantile_loss
from models.trajectories.measures import Doubles, log_volatility_of

LIMIT = 2_000


def settle(
    connection: Connection,
    now: datetime,
    limit: int = LIMIT,
    clock: datetime | None = None,
    only_replays: bool = False,
) -> int:
    """Score predictions whose window has closed by ``now`` and whose 256 candles are all there; returns how many.

    A window that is still incomplete two days later (by ``clock``, the wall's) gets a score without figures. A score stands: it
    is written once, by the candles as they were then.
    """
    due = due_predictions(connection, now, clock or now, limit, only_replays)
    return insert_scores(connection, [score(one) for one in due])


def score(due: Due) -> Score:
    """What a prediction was worth. ``hype``: whether the volume exceeded the threshold that the forecast was made with.

    ``crps`` and its baseline are means over the three horizons, each in units of the root of its minutes.
    """
    said = due.said
    blank: dict[str, Any] = {
        "post_id": said.post_id,
        "revision": said.revision,
        "symbol": said.symbol,
        "closed_at": said.due_at,
    }
    if due.change is None:
        return Score(**blank, replayed=said.replayed)
    change = np.asarray(due.change, dtype=np.float64)
    end, hype = float(change[-1]), _hype(due)
    return Score(
        **blank,
        replayed=said.replayed,
        end_change=end,
        inside_band=None if said.end_low is None or said.end_high is None else said.end_low <= end <= said.end_high,
        hype=hype,
        brier=None if hype is None or said.hype_probability is None else (said.hype_probability - hype) ** 2,
        width=None if said.end_low is None or said.end_high is None else said.end_high - said.end_low,
        **_band(said, change),
        **_volatility(said, change),
    )


def _hype(due: Due) -> bool | None:
    if due.volume is None or due.said.hype_threshold is None:
        return None
    return bool(due.volume > due.said.hype_threshold)


def _band(said: Said, change: Doubles) -> dict[str, Any]:
    table = _table(said.quantiles)
    if table is None or said.miss is None:
        return {}
    truth, rates = change[KNOTS], horizon_rates(said.miss)[KNOTS]
    low, high = at_levels(table, rates / 2), at_levels(table, 1 - rates / 2)
    found: dict[str, Any] = {
        "covered": float(((truth >= low) & (truth <= high)).mean()),
        "crps": _crps(truth, table),
    }
    base = _table(said.climatology)
    if base is not None:
        found["crps_base"] = _crps(truth, base)
    if said.big_move is not None:
        found["big_chance"] = exceeds(said.big_move, table[-1])
        found["big_moved"] = bool(abs(change[-1]) > said.big_move)
    return found


def _crps(truth: Doubles, table: Doubles) -> float:
    return float((quantile_loss(truth[AT], table[AT]) / np.sqrt(KNOTS[AT])).mean())


def _volatility(said: Said, change: Doubles) -> dict[str, Any]:
    if said.volatility is None:
        return {}
    true = log_volatility_of(change)
    base = None if said.persistence is None else (said.persistence - true) ** 2
    return {"volatility_error": (said.volatility - true) ** 2, "volatility_base": base}


def _table(numbers: list[float] | None) -> Doubles | None:
    if numbers is None or len(numbers) != len(KNOTS) * len(LEVELS):
        return None
    return np.asarray(numbers, dtype=np.float64).reshape(len(KNOTS), len(LEVELS))
