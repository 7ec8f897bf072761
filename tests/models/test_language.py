"""The language of a text, by itself and in a batch."""

from __future__ import annotations

from models.language import NAMES, identify, language, languages

TEXTS = [
    "bitcoin is going to the moon, sell nothing",
    "heute habe ich alle meine coins verkauft",
    "el precio de bitcoin sube hoy y estamos muy contentos",
    "это конец, все пропало",
    "ビットコイン最高です",
    "le marché s'effondre encore et je suis triste",
    "gm",
    "",
    "1",
    "ÜBER ALLE MASSEN TRAURIG",
    "\x00\x01",
]


def test_no_text_no_answer() -> None:
    """Nothing in, nothing out."""
    assert languages([]) == []


def test_the_identifier_tells_a_language_and_how_certain_it_is() -> None:
    """One of the twenty languages, and a probability."""
    for text in TEXTS:
        code, certainty = identify(text)
        assert code in NAMES
        assert 0 < certainty <= 1


def test_posts_of_a_batch_as_alone() -> None:
    """What is told of a post does not depend on the batch, tickers, tags and numbers included."""
    posts = [f"{text} $BTC #Moon BTC/USDT 42x @you A_B 🚀" for text in TEXTS] * 3
    assert languages(posts) == [language(post) for post in posts]
