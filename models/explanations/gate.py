"""Whether decoded words may be shown: near the vector they came from, and true of the facts they are about.

A text is withheld when re-encoding it lands far from its vector, when its direction words contradict the facts, or when it
has numbers or names that the facts lack (report 001; embedding similarity alone rates "rises" and "falls" alike).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_UP = """
rise rises rising rose risen gain gains gained gaining climb climbs climbed climbing jump jumps jumped jumping surge
surges surged surging soar soars soared soaring rally rallies rallied rallying rebound rebounds rebounded higher
boost boosts boosted increase increases increased advance advances advanced bull bulls bullish moon mooning pump
pumps pumped pumping uptrend breakout upward upwards recover recovers recovered rocket skyrocket rocketing tops
"""
UP = frozenset(_UP.split())
"""Words that say a price or figure goes up."""

_DOWN = """
fall falls falling fell fallen drop drops dropped dropping slide slides slid sliding slip slips slipped sink sinks
sank sinking plunge plunges plunged plunging tumble tumbles tumbled lower decline declines declined declining
decrease decreases decreased crash crashes crashed crashing bear bears bearish dump dumps dumped dumping dip dips
dipped slump slumps slumped downtrend downward downwards lose loses loss losses plummet plummets plummeted tank
tanks tanked weaken weakens cut cuts collapse collapses collapsed
"""
DOWN = frozenset(_DOWN.split())
"""Words that say it goes down."""

_RUDE = "fuck fucking fucked shit shitty shitcoin ass bitch cunt dick retard retarded faggot stupid dumb idiot"
RUDE = frozenset(_RUDE.split())
"""Words that are shown only when the facts have them."""

WORD = re.compile(r"[a-z][a-z'’]*|\d[\d.,]*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

FAR, CLUMSY, DIRECTION, NUMBERS, NAMES, EMPTY = (
    "explanation_far",
    "explanation_clumsy",
    "explanation_direction",
    "explanation_numbers",
    "explanation_names",
    "explanation_empty",
)
"""Codes of the reasons for which a text is withheld."""


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return [found.lower() for found in WORD.findall(text)]


def direction(text: str) -> str | None:
    """``up`` or ``down`` by the words that say so; ``mixed`` where both do, None where none does."""
    have = set(words(text))
    up, down = bool(have & UP), bool(have & DOWN)
    if up and down:
        return "mixed"
    return "up" if up else "down" if down else None


def numbers(text: str) -> set[str]:
    """The numbers of a text, without thousands separators and trailing zeros after the point."""
    plain = (found.replace(",", "") for found in _NUMBER.findall(re.sub(r"(?<=\d)\s*([.,])\s*(?=\d)", r"\1", text)))
    return {number.rstrip("0").rstrip(".") if "." in number else number for number in plain}


def names(text: str, known: Collection[str]) -> set[str]:
    """The words of a text that are names: those in ``known`` (lower case)."""
    return {word.removesuffix("'s").removesuffix("’s") for word in words(text)} & set(known)


@dataclass(frozen=True, slots=True)
class Facts:
    """What an explanation is held against. ``texts``: of the posts it is about, and other true sentences.

    ``directions``: those that the facts support (``up``, ``down``); ``names``: allowed beside those in the texts, lower case.
    """

    texts: tuple[str, ...]
    directions: frozenset[str]
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str], names: Iterable[str] = (), also: Iterable[str] = ()) -> Facts:
        """Facts of texts: their own direction words count, and ``also`` what is known of the direction otherwise."""
        texts = tuple(texts)
        have: set[str] = set(also)
        for text in texts:
            seen = direction(text)
            have |= {"up", "down"} if seen == "mixed" else {seen} if seen else set()
        return cls(texts, frozenset(have), frozenset(name.lower() for name in names))


@dataclass(frozen=True, slots=True)
class Gate:
    """What a text must reach.

    ``round_trip``: least cosine of the re-encoded text with its vector; ``known_names``: words that are names;
    ``surprise``: most nats per token to a language model without a vector.
    """

    round_trip: float
    known_names: frozenset[str] = frozenset()
    surprise: float = float("inf")

    def refuse(self, text: str, round_trip: float, facts: Facts, surprise: float = 0.0) -> str | None:
        """The code of the first reason to withhold a text; None when it may be shown."""
        said = direction(text)
        allowed = facts.names | {word.removesuffix("'s") for fact in facts.texts for word in words(fact)}
        faults = {
            EMPTY: len(words(text)) < 2,
            FAR: not round_trip >= self.round_trip,
            CLUMSY: not surprise <= self.surprise,
            DIRECTION: said == "mixed" or (said is not None and said not in facts.directions),
            NUMBERS: bool(numbers(text) - set().union(*(numbers(fact) for fact in facts.texts))),
            NAMES: bool((names(text, self.known_names) | set(words(text)) & RUDE) - allowed),
        }
        return next((code for code, wrong in faults.items() if wrong), None)
