"""An answer in plain words."""

from __future__ import annotations

import pytest
from msgspec import structs

from answer.catalogue import texts
from answer.words import complain, explain, facts, move, page, sentence, tell
from domain.answer import Emotions, Explanation, Hype, HypeForecast, Json, to_answer
from domain.errors import TooLarge, Unavailable
from domain.reasons import Reason
from domain.types import EMOTIONS
from tests.fakes.answers import verdict

ENGLISH = texts().speaker("en")


@pytest.fixture
def answer() -> Json:
    return to_answer(verdict())


def test_facts_are_the_numbers_of_the_answer(answer: Json) -> None:
    """Shares become percent; moves are those at the end of the window."""
    said = facts(answer)
    assert said["certainty"] == round(100 * max(answer["emotions"]["probabilities"].values()))
    assert (said["hype"], said["base_rate"]) == (31, 20)
    assert said["median"] == answer["trajectories"]["median"][-1]
    assert said["matches_end"] == answer["trajectories"]["matches_mean"][-1]
    assert (said["matches"], said["windows"], said["minutes"]) == (12, 7, 256)


def test_a_whole_answer_is_told_with_all_its_caveats(answer: Json) -> None:
    """Mood, hype against its base rate, the band with its median, the evidence, warnings, and the disclaimer last."""
    said, words = facts(answer), tell(answer, ENGLISH)
    assert f"Mood: {said['label']}, {said['certainty']} % sure" in words
    assert "Above all “happy”." in words
    assert "Hype: 31 %" in words
    assert "Usual: 20 %" in words
    assert "Weak – on its latest test" in words
    assert f"{move(said['low'])} to {move(said['high'])} (80 % band), median {move(said['median'])}" in words
    assert "No direction is claimed – no test has shown" in words
    assert "12 most similar past posts (7 independent windows)" in words
    assert f"After as many random windows of the same hours and volatility: {move(said['control_end'])}." in words
    assert "Note: the post has no words to match" in words
    assert "Note: no explanation in words" in words
    assert words.splitlines()[-1] == "Not financial advice."


def test_a_band_says_how_it_has_held(answer: Json) -> None:
    """Once predictions are scored, their share and number stand behind the band; before, nothing is said of it."""
    assert "So far it held" not in tell(answer, ENGLISH)
    answer["trajectories"]["coverage"] = {"nominal": 0.8, "live": 0.8134, "n": 611}
    assert "So far it held 81 % (611 scored predictions)." in tell(answer, ENGLISH)
    answer["trajectories"]["coverage"]["n"] = 1
    assert "81 % (one scored prediction)." in page(answer, ENGLISH)["price"]["more"]


def test_what_is_not_claimed_says_why() -> None:
    """An abstention, a missing forecast and missing matches each give their reason."""
    nothing = dict.fromkeys(EMOTIONS, 1 / 7)
    unsure = structs.replace(
        verdict(),
        emotions=Emotions(None, nothing, nothing, None, 0, abstained=Reason("no_words")),
        hype=Hype(HypeForecast(None, None, 256, None, signal=False, reason=Reason("no_trade"))),
        trajectories=None,
        warnings=(Reason("no_words"), Reason("no_past")),
    )
    words = tell(to_answer(unsure), ENGLISH)
    assert "Mood: none is claimed – the text has no words or emoji to read." in words
    assert words.count("no words or emoji") == 1
    assert "no forecast – nothing was traded" in words
    assert "no similar past post" in words
    assert "Note: no past window had ended" in words


def test_an_explanation_is_told() -> None:
    """Decoded words stand among the lines, and no reason for their absence does."""
    explained = structs.replace(
        verdict(), explanation=Explanation("people expect a rise", 0.8), explanation_reason=None
    )
    words = tell(to_answer(explained), ENGLISH)
    assert "Posts like this one say: people expect a rise" in words
    assert "no explanation" not in words


@pytest.mark.parametrize(
    ("language", "line"),
    [("en", "A typical post among them: “gm all”"), ("de", "Ein typischer Beitrag darunter: „gm all“")],
)
def test_a_typical_post_is_told_as_one(language: str, line: str) -> None:
    """A quoted post is never told as what posts say in general; it stands after the matches that it is of."""
    quoted = structs.replace(verdict(), explanation=Explanation("gm all", 0.8, "typical"), explanation_reason=None)
    lines = tell(to_answer(quoted), texts().speaker(language)).splitlines()
    assert line in lines
    assert "12" in lines[lines.index(line) - 1]


def test_reasons_inside_reasons_are_told_in_one_language() -> None:
    """Emotions, languages and other reasons among the parameters are worded, too."""
    both = Reason("both", {"text": Reason("unsure", {"first": "joy", "second": "fear"}), "picture": Reason("no_face")})
    say = texts().speaker("de")
    assert sentence(both, say) == "unsicher zwischen Freude und Angst; im Bild ist kein Gesicht zu finden"
    assert "Spanisch" in sentence({"code": "foreign", "language": "es"}, say)


def test_errors_are_told_to_everybody_by_their_reason_only() -> None:
    """A message for operators is theirs; strangers read how to go on, with the id; a defect tells nothing."""
    reasoned, ours = TooLarge(Reason("picture_huge", {"most": 25})), Unavailable("PostgreSQL does not answer.")
    assert complain(reasoned, ENGLISH).startswith("The picture has far too many pixels")
    assert "Megapixel" in explain(reasoned, texts().speaker("de"))
    assert ours.id in complain(ours, ENGLISH)
    assert "PostgreSQL" not in complain(ours, ENGLISH)
    assert explain(ours, ENGLISH) == "PostgreSQL does not answer."
    assert "Something went wrong" in complain(ZeroDivisionError("x"), ENGLISH)


@pytest.mark.parametrize(
    ("value", "text"), [(0.421, "+0.42 %"), (-1.3, "−1.30 %"), (0.001, "0.00 %"), (-0.001, "0.00 %")]
)
def test_moves_carry_their_sign(value: float, text: str) -> None:
    """Plus, a real minus, and no sign for nothing."""
    assert move(value) == text
