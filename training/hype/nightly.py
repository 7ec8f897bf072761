"""The nightly walk-forward of hype on the live store: what was published when each window closed, against what came after.

Every forecast scored here was stored before its outcome existed, so nothing is fitted and nothing can leak. ``signal`` says
whether the published chances beat persistence, with an interval above zero, as they must to be told as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.queries.candles import known_symbols
from db.queries.market_history import markets_minutes
from db.queries.series import first_published, markets_of, minute, moment
from domain.errors import InputError
from domain.series import PAST, QUARTER
from domain.types import MINUTE
from models.hype.forecast import Head, load_hype
from models.manifest import ARTIFACTS
from training.hype.figures import Rows, concatenated, scores
from training.hype.windows import Target, windows
from training.trajectories.tape import Tape

DAYS = 45
"""Days whose published windows are scored."""
FEWEST = 200
"""Published windows from which on figures mean something."""
TOGETHER = 16
"""Symbols whose minutes are in memory at a time."""


def walk_published(engine: Engine, now: datetime, artifacts: Path = ARTIFACTS) -> dict[str, Any]:
    """Figures of every horizon over the last days: ``{"horizons": {minutes: figures}, "signal": {minutes: bool}}``.

    Raises:
        InputError: too few published windows have an outcome.
    """
    heads = load_hype(artifacts).of_symbols()
    found: dict[str, list[Published]] = {head.name: [] for head in heads}
    with transaction(engine) as connection:
        names = known_symbols(connection)
        for i in range(0, len(names), TOGETHER):
            for name, part in _scored(connection, names[i : i + TOGETHER], now, heads):
                found[name].append(part)
    told: dict[str, Any] = {"horizons": {}, "signal": {}}
    for head in heads:
        if sum(len(rows) for rows, _ in found[head.name]) >= FEWEST:
            rows = concatenated([rows for rows, _ in found[head.name]])
            measured = scores(np.concatenate([chances for _, chances in found[head.name]]), rows, rows)
            low = (measured["intervals"]["skill_over_persistence"] or [0.0])[0]
            told["horizons"][str(head.horizon)] = measured
            told["signal"][str(head.horizon)] = bool(low > 0)
    if not told["horizons"]:
        raise InputError(f"Fewer than {FEWEST} published windows of {DAYS} days have an outcome.")
    return told


Published = tuple[Rows, NDArray[np.float64]]
"""Rows with an outcome, and the chances that were published for them."""


def _scored(
    connection: Connection, symbols: Sequence[str], now: datetime, heads: Sequence[Head]
) -> Iterator[tuple[str, Published]]:
    end = moment(minute(now) // QUARTER * QUARTER)
    since = end - timedelta(days=DAYS)
    begin = since - PAST * QUARTER * MINUTE
    markets = markets_of(connection, symbols, begin, end)
    tapes = markets_minutes(connection, markets, begin, end) if markets else {}
    said = first_published(connection, symbols, since, end)
    for symbol, tape in tapes.items():
        known = {(symbol, symbol): Tape(symbol, tape.first, tape.mid, tape.volume, np.zeros(0, np.int64))}
        for head in heads:
            rows = windows(known, Target(head.horizon, head.trailing), max(QUARTER, head.horizon), since)
            own = [said[symbol].get(int(at) // 60 - QUARTER, {}).get(f"hype_{head.horizon}") for at in rows.time]
            chances = np.array(own, dtype=np.float64)
            kept = np.isfinite(chances)
            yield head.name, (rows.take(kept), chances[kept])
