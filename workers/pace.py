"""How many posts make a batch of about the wished duration, from what the last batches took."""

from __future__ import annotations

FIRST_GUESS = 0.04
"""Seconds per post before anything was measured."""

SHARE = 0.3
"""Weight of the newest batch in the running mean."""

LEAST = 2


class Pace:
    """Seconds per post of each priority (people's posts cost more: they are told why), as running means."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._per_post: list[float | None] = [None, None, None]
        self._rate = 0.0

    @property
    def rate(self) -> float:
        """Posts per second while busy, of all priorities; 0 before the first batch."""
        return self._rate

    def limits(self) -> tuple[int, int, int]:
        """Most posts in the next batch of each priority."""
        people, live, rescore = (self._limit(each) for each in self._per_post)
        return people, live, rescore

    def note(self, priority: int, posts: int, seconds: float) -> None:
        """Learn from a batch; single posts say little about batches and count for less."""
        if posts == 0:
            return
        each = seconds / posts
        weight = SHARE * min(1.0, posts / 8)
        before = self._per_post[priority]
        self._per_post[priority] = each if before is None else (1 - weight) * before + weight * each
        rate = posts / max(seconds, 1e-6)
        self._rate = rate if self._rate == 0.0 else (1 - weight) * self._rate + weight * rate

    def _limit(self, each: float | None) -> int:
        return max(LEAST, min(self._most, int(self._seconds / max(each or FIRST_GUESS, 1e-6))))
