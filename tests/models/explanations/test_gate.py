"""What is shown and what is withheld."""

from __future__ import annotations

import pytest

from models.explanations.gate import CLUMSY, DIRECTION, EMPTY, FAR, NAMES, NUMBERS, Facts, Gate, direction, numbers

GATE = Gate(0.6, frozenset({"bitcoin", "tesla", "ethereum"}))
FACTS = Facts.of(["Bitcoin falls 3.50% as traders wait", "sellers stay away"])


@pytest.mark.parametrize(
    ("text", "round_trip", "code"),
    [
        ("bitcoin falls while traders wait", 0.9, None),
        ("bitcoin falls while traders wait", 0.5, FAR),
        ("bitcoin falls while traders wait", float("nan"), FAR),
        ("bitcoin rises while traders wait", 0.9, DIRECTION),
        ("bitcoin rises, then falls", 0.9, DIRECTION),
        ("bitcoin falls 4% today", 0.9, NUMBERS),
        ("bitcoin falls 3.5% today", 0.9, None),
        ("tesla falls while traders wait", 0.9, NAMES),
        ("bitcoin's fall worries traders", 0.9, None),
        ("", 0.9, EMPTY),
    ],
)
def test_each_fault_has_its_code(text: str, round_trip: float, code: str | None) -> None:
    """A text is refused for the first fault it has, and for none it lacks."""
    assert GATE.refuse(text, round_trip, FACTS) == code


def test_a_clumsy_text_is_refused() -> None:
    """A text that surprises a language model more than is allowed is withheld, however near it is."""
    gate = Gate(0.6, frozenset(), surprise=5.0)
    assert gate.refuse("bitcoin falls while traders wait", 0.9, FACTS, 4.9) is None
    assert gate.refuse("bitcoin falls while traders wait", 0.9, FACTS, 5.1) == CLUMSY
    assert gate.refuse("bitcoin falls while traders wait", 0.9, FACTS, float("nan")) == CLUMSY


def test_what_is_known_otherwise_counts_as_fact() -> None:
    """A direction that a chart shows, and names that are handed in, need not stand in a text."""
    facts = Facts.of([], names=["Ethereum"], also=["up"])
    assert GATE.refuse("ethereum rises again", 0.9, facts) is None
    assert GATE.refuse("ethereum falls again", 0.9, facts) == DIRECTION


def test_numbers_are_compared_by_value() -> None:
    """Separators, spaces from a tokenizer and trailing zeros make no other number."""
    assert numbers("up 1,000 points or 3 . 50 %") == numbers("1000 and 3.5")
    assert numbers("no figure") == set()


@pytest.mark.parametrize(
    ("text", "way"), [("Stocks surge", "up"), ("a slump", "down"), ("up", None), ("fell and rose", "mixed")]
)
def test_direction_words(text: str, way: str | None) -> None:
    """Only unambiguous words say a direction."""
    assert direction(text) == way
