"""Languages of short and mixed posts."""

from __future__ import annotations

import pytest

from models.language import language as detect


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Bitcoin to the moon!!!", "en"),
        ("gm", "en"),
        ("wen lambo", "en"),
        ("HODL 🚀🚀 $BTC", "en"),
        ("Ich liebe Bitcoin und halte weiter", "de"),
        ("el mercado está cayendo otra vez y nadie lo esperaba hoy", "es"),
        ("le marché s'effondre encore", "fr"),
        ("биткоин снова растет", "ru"),
        ("比特币上涨了", "zh"),
        ("ビットコインが上がる", "ja"),
        ("", "und"),
        ("🚀🚀🚀", "en"),
        ("https://example.org $BTC #eth @someone 42", "en"),
    ],
)
def test_languages_are_told(text: str, language: str) -> None:
    """Clear texts get their language; slang, emoji (read by their English names) and doubt count as English."""
    assert detect(text) == language
