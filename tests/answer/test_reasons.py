"""The models' English sayings, in every language of the bot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import models
from answer.catalogue import Texts
from answer.reasons import SAYINGS, told

MODELS = " ".join(file.read_text() for file in Path(models.__file__).parent.glob("*.py"))
VALUES = {"first": "joy", "second": "fear", "symbol": "BTC/USDT", "count": "3", "windows": "28", "least": "14"}


@pytest.mark.parametrize("saying", SAYINGS)
def test_the_models_still_say_so(saying: str) -> None:
    """A saying that is worded anew in models/ has to be worded anew here."""
    longest = max(re.split(r"\{\w+\}", saying), key=len).strip()
    assert longest[:60] in MODELS


@pytest.mark.parametrize("language", Texts().languages)
@pytest.mark.parametrize("saying", SAYINGS)
def test_each_is_told_in_each_language(language: str, saying: str) -> None:
    """With its values; with or without its full stop; never in English where that is not the language."""
    filled = re.sub(r"\{(\w+)\}", lambda found: VALUES.get(found[1], "something"), saying)
    words = told(filled, Texts().speaker(language))
    assert words == told(filled + ".", Texts().speaker(language))
    assert "{" not in words
    assert language == "en" or not re.search(r"\b(the|is|are|of)\b", words)
    for name in re.findall(r"\{(symbol|count|windows|least)\}", saying):
        assert VALUES[name] in words


def test_several_reasons_are_told_one_by_one() -> None:
    """Half-sentences parted by a semicolon; one that nobody knows leaves all as they are."""
    say = Texts().speaker("de")
    both = told("unsure between joy and fear; no face found in the picture", say)
    assert both == "unsicher zwischen Freude und Angst; im Bild ist kein Gesicht zu finden"
    assert told("no face found in the picture; a new reason.", say) == "no face found in the picture; a new reason."
