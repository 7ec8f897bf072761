"""An answer in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from answer.words import DISCLAIMER, facts, move, tell
from domain.answer import Json, to_answer
from domain.types import EMOTIONS, Emotions, Explanation, HypeForecast
from tests.fakes.answers import verdict


@pytest.fixture
def answer() -> Json:
    return to_answer(verdict())


def test_facts_are_the_numbers_of_the_answer(answer: Json) -> None:
    """Shares become percent; moves are those at the end of the window."""
    said = facts(answer)
    assert said["certainty"] == round(100 * max(answer["emotions"]["probabilities"].values()))
    assert (said["hype"], said["base_rate"]) == (31, 20)
    assert said["end"] == answer["trajectories"]["mean"][-1]
    assert (said["matches"], said["windows"], said["minutes"]) == (12, 7, 256)


def test_a_whole_answer_is_told_with_all_its_caveats(answer: Json) -> None:
    """Mood, hype against its base rate, prices with band and windows, warnings, and the disclaimer last."""
    said, words = facts(answer), tell(answer)
    assert f"Mood: {said['label']}, {said['certainty']} % sure" in words
    assert "above all “happy”;" in words
    assert "Hype: 31 %" in words
    assert "usually 20 %" in words
    assert "Weak" in words
    assert "12 most similar past posts (7 independent windows)" in words
    assert move(said["low"]) in words
    assert "Note: A small library." in words
    assert words.splitlines()[-1] == DISCLAIMER


def test_what_is_not_claimed_says_why() -> None:
    """An abstention, a missing forecast and missing matches each give their reason."""
    nothing = dict.fromkeys(EMOTIONS, 1 / 7)
    unsure = replace(
        verdict(),
        emotions=Emotions(None, nothing, nothing, None, 0, abstained="The words are too few."),
        hype=HypeForecast(None, None, 256, None, signal=False, reason="No candles are known."),
        trajectories=None,
    )
    words = tell(to_answer(unsure))
    assert "Mood: none is claimed – The words are too few." in words
    assert "no forecast – No candles are known." in words
    assert "no similar past post" in words


def test_an_explanation_is_told() -> None:
    """Decoded words stand among the lines."""
    explained = replace(verdict(), explanation=Explanation("people expect a rise", 0.8))
    assert "Posts like this one say: people expect a rise" in tell(to_answer(explained))


@pytest.mark.parametrize(
    ("value", "text"), [(0.421, "+0.42 %"), (-1.3, "−1.30 %"), (0.001, "0.00 %"), (-0.001, "0.00 %")]
)
def test_moves_carry_their_sign(value: float, text: str) -> None:
    """Plus, a real minus, and no sign for nothing."""
    assert move(value) == text
