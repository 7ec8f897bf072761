"""The nightly walk-forward of hype: only what was published before its outcome is scored."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.queries.candles import upsert_candles
from domain.errors import InputError
from models.hype.forecast import load_hype
from tests.fakes.candles import candles_at
from tests.workers.test_series import NOW, PAIR
from training.hype.nightly import walk_published
from workers.series import refresh

pytestmark = pytest.mark.stack
DAYS = 12


def test_published_chances_meet_what_came_after(engine: Engine) -> None:
    """Windows stored as they closed are scored at both horizons; those written down later are not looked at."""
    start = NOW.replace(minute=0) - timedelta(days=DAYS)
    count = DAYS * 1440
    draw = np.random.default_rng(0)
    volume = np.exp(np.sin(np.arange(count) / 400) + draw.normal(0, 0.3, count))
    bars = np.column_stack([np.full((count, 4), 100.0) + draw.random((count, 1)), volume])
    with engine.begin() as connection:
        upsert_candles(connection, candles_at(start, list(range(count)), bars, PAIR, "x"))
        assert refresh(connection, load_hype(), NOW) == 7 * 96
    with pytest.raises(InputError, match="published"):
        walk_published(engine, NOW)
    with engine.begin() as connection:
        connection.execute(text("update series_windows set written_at = opened_at + interval '18 minutes'"))
        connection.execute(
            text("update series_windows set written_at = now() where opened_at < :at"), {"at": NOW - timedelta(days=5)}
        )
    found = walk_published(engine, NOW)
    assert set(found["horizons"]) == {"15"}
    quarter = found["horizons"]["15"]
    assert 460 < quarter["n"] <= 5 * 96
    assert quarter["auc"] > 0.7
    assert found["signal"]["15"] == (quarter["intervals"]["skill_over_persistence"][0] > 0)
