"""Confirmed kinds of posts that a market answered to, and which of them a post is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.answer import Event
from domain.reasons import Reason
from domain.types import Post


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule of the event study, confirmed on later posts than those it was found on.

    ``author`` is a hash or a source; ``ratio`` with ``low`` and ``high``: ``outcome`` (volume or volatility) over ``minutes``
    in times of matched controls; ``held`` of ``n`` confirming events lay above their controls' median.
    """

    symbol: str
    outcome: str
    minutes: int
    ratio: float
    low: float
    high: float
    n: int
    held: int
    author: str = ""
    text: str = ""
    emotion: str = ""
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the pattern once."""
        object.__setattr__(self, "pattern", re.compile(self.text, re.IGNORECASE))

    @property
    def name(self) -> str:
        """The rule in a line: what a post must be."""
        parts = (("author", self.author), ("text", self.text), ("emotion", self.emotion))
        return " ".join(f"{name}={value}" for name, value in parts if value)

    def fits(self, post: Post, symbol: str, emotion: str | None) -> bool:
        """Whether a post about a market is such a post."""
        return (
            symbol == self.symbol
            and self.author in ("", post.author_hash, post.source)
            and (not self.text or self.pattern.search(post.text) is not None)
            and self.emotion in ("", emotion)
        )


def events_of(rules: Sequence[KnownRule], post: Post, symbol: str, emotion: str | None) -> tuple[Event, ...]:
    """The events that a post is, most surprising first; ``expects`` and the interval in percent more than usual."""
    found = sorted((r for r in rules if r.fits(post, symbol, emotion)), key=lambda r: -r.ratio)
    return tuple(
        Event(
            rule=rule.name,
            expects=_more(rule.ratio),
            n=rule.n,
            interval=(_more(rule.low), _more(rule.high)),
            outcome=rule.outcome,
            minutes=rule.minutes,
            held=rule.held,
        )
        for rule in found
    )


def _more(ratio: float) -> float:
    return round(100 * (ratio - 1), 2)


@dataclass(frozen=True, slots=True)
class Earned:
    """What answers may say beyond the band: ``signal`` with its reason from the latest walk-forward, and confirmed rules."""

    signal: bool = False
    reason: Reason = field(default_factory=lambda: Reason("signal_untested"))
    rules: tuple[KnownRule, ...] = ()
