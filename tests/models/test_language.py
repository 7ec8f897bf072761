"""The language of a text."""

from __future__ import annotations

import pytest

from models.language import NAMES, identify, language

TEXTS = {
    "bitcoin is going to the moon, sell nothing": "en",
    "heute habe ich alle meine coins verkauft": "de",
    "el precio de bitcoin sube hoy y estamos muy contentos": "es",
    "это конец, все пропало": "ru",
    "ビットコイン最高です": "ja",
    "le marché s'effondre encore et je suis triste": "fr",
    "gm": "en",
    "": "und",
    "1": "und",
    "ÜBER ALLE MASSEN TRAURIG": "en",
    "\x00\x01": "und",
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_identifier_tells_a_language_and_how_certain_it_is(text: str) -> None:
    """One of the twenty languages, and a probability."""
    code, certainty = identify(text)
    assert code in NAMES
    assert 0 < certainty <= 1


@pytest.mark.parametrize(("text", "code"), TEXTS.items())
def test_tickers_tags_and_numbers_change_no_language(text: str, code: str) -> None:
    """What a post is written in is said by its words."""
    assert language(text) == code
    if code != "und":
        assert language(f"{text} $BTC #Moon BTC/USDT 42x @you A_B 🚀") == code
