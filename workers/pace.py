"""How many posts make a batch of about the wished duration, from what the last batches took."""

from __future__ import annotations

FIRST = 16
LEAST = (2, 12, 12)
"""Fewest posts per batch of each priority: below, a batch's fixed costs would be most of it."""

GROWTH = 1.5
SHARE = 0.3
"""Weight of the newest batch in the running mean of the rate."""


class Pace:
    """Bounds per priority: a full batch that was quick lets the next one be larger, a slow one smaller.

    The duration of a batch is fixed costs plus so much per post, so seconds per post would mislead: they are worst for
    the smallest batches.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._limits = [min(FIRST, most)] * 3
        self._rate = 0.0

    @property
    def rate(self) -> float:
        """Posts per second while busy, of all priorities; 0 before the first batch."""
        return self._rate

    def limits(self) -> tuple[int, int, int]:
        """Most posts in the next batch of each priority."""
        people, live, rescore = self._limits
        return people, live, rescore

    def note(self, priority: int, posts: int, seconds: float) -> None:
        """Learn from a batch."""
        if posts == 0:
            return
        limit = self._limits[priority]
        wished = posts * self._seconds / max(seconds, 1e-6)
        if seconds > self._seconds:
            limit = min(limit, int(max(wished, posts / 2)))
        elif posts >= limit:
            limit = int(min(wished, GROWTH * limit + 1))
        self._limits[priority] = max(min(LEAST[priority], self._most), min(self._most, limit))
        rate = posts / max(seconds, 1e-6)
        weight = SHARE * min(1.0, posts / 8)
        self._rate = rate if self._rate == 0.0 else (1 - weight) * self._rate + weight * rate
