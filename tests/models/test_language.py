"""Many texts at once get the language and the certainty that py3langid gives each of them alone."""

from __future__ import annotations

import random

import pytest

from models.language import FEW, LONG, identify, identify_all, language, languages

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


@pytest.mark.parametrize("count", [len(TEXTS), 20 * len(TEXTS)])
def test_together_as_alone(count: int) -> None:
    """Order, length and neighbours change no answer, and certainty by rounding only."""
    texts = random.Random(7).choices([*TEXTS, "so " * LONG, " ".join(TEXTS)], k=count)
    together, alone = identify_all(texts), [identify(text) for text in texts]
    assert [code for code, _ in together] == [code for code, _ in alone]
    assert [p for _, p in together] == pytest.approx([p for _, p in alone], abs=1e-4)


def test_no_text_no_answer() -> None:
    """Nothing in, nothing out."""
    assert identify_all([]) == []
    assert languages([]) == []


def test_posts_of_a_batch_as_alone() -> None:
    """What is told of a post does not depend on the batch, tickers, tags and numbers included."""
    posts = [f"{text} $BTC #Moon BTC/USDT 42x @you A_B 🚀" for text in TEXTS] * (FEW + 1)
    assert languages(posts) == [language(post) for post in posts]
