"""Languages of short and mixed posts."""

from __future__ import annotations

import pytest

from models.language import UNKNOWN, detect


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Bitcoin to the moon!!!", "en"),
        ("gm", "en"),
        ("wen lambo", "en"),
        ("HODL 🚀🚀 $BTC", "en"),
        ("Ich liebe Bitcoin und halte weiter", "de"),
        ("el mercado está cayendo otra vez", "es"),
        ("le marché s'effondre encore", "fr"),
        ("биткоин снова растет", "ru"),
        ("比特币上涨了", "zh"),
        ("ビットコインが上がる", "ja"),
        ("", UNKNOWN),
        ("🚀🚀🚀", UNKNOWN),
        ("https://example.org $BTC #eth @someone 42", UNKNOWN),
    ],
)
def test_languages_are_told(text: str, language: str) -> None:
    """Clear texts get their language, slang counts as English, and nothing to read is unknown."""
    assert detect(text) == language
