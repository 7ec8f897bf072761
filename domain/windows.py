"""The rules of time: which minutes a post is matched with, and what may be known at its moment.

A post at time t is paired with the 256 one-minute candles that open at or after t (report 000). Its entry price is
p0 = (open + close) / 2 of the first of them. A match may be used for a query only when its whole window had ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from domain.types import STEPS, Candle, Floats

MINUTE = timedelta(minutes=1)
HORIZON = STEPS * MINUTE
HYPE_QUANTILE = 0.8


def utc(moment: datetime) -> datetime:
    """The same instant in UTC; a naive time is refused.

    Raises:
        ValueError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment.isoformat()} has no time zone")
    return moment.astimezone(UTC)


def first_minute(posted_at: datetime) -> datetime:
    """The opening time of the first candle at or after the post."""
    floor = posted_at.replace(second=0, microsecond=0)
    return floor if floor == posted_at else floor + MINUTE


def complete_at(posted_at: datetime) -> datetime:
    """When the last candle of the post's window has closed."""
    return first_minute(posted_at) + HORIZON


def usable(match_posted_at: datetime, query_posted_at: datetime) -> bool:
    """Whether a past post's trajectory was fully known when the query was posted."""
    return match_posted_at + HORIZON <= query_posted_at


def change(candles: Sequence[Candle]) -> Floats:
    """Percent change of the mid price since the first candle: float32[n], first value 0 (report 000)."""
    mid = np.array([(c.open + c.close) / 2 for c in candles], dtype=np.float64)
    return np.asarray(100.0 * (mid / mid[0] - 1.0), dtype=np.float32)


def window_bin(start: datetime) -> int:
    """Number of the 256-minute bin since the epoch that a window starts in; windows of one bin are not independent."""
    return int(start.timestamp()) // int(HORIZON.total_seconds())
