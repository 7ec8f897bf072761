"""The language of a text, or of many texts at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from threading import Lock
from typing import Any

from models.wording import wording

NAMES = {
    "en": "English",
    "es": "Spanish",
    "pt": "Portuguese",
    "fr": "French",
    "de": "German",
    "it": "Italian",
    "nl": "Dutch",
    "tr": "Turkish",
    "id": "Indonesian",
    "pl": "Polish",
    "ru": "Russian",
    "uk": "Ukrainian",
    "ar": "Arabic",
    "fa": "Persian",
    "hi": "Hindi",
    "ja": "Japanese",
    "ko": "Korean",
    "zh": "Chinese",
    "vi": "Vietnamese",
    "th": "Thai",
}
"""What is told apart; more languages would make short English slang look like one of them."""

_CODES = re.compile(
    r"[@#$A-Z\d_](?:(?<=[@#$])\w+|(?<=\d)\S*|(?<=_)|(?<=[A-Z])(?<!\w[A-Z])[A-Z]{1,5}(?:/[A-Z]{2,6})?\b)"
)
"""Tags, numbers, underscores and tickers; the first letter stands first, for then a search skips what cannot begin one."""

_LETTER = re.compile("[A-Za-z]")
_SURE = 0.97
_WORDS = 4


def language(text: str) -> str:
    """ISO 639-1 code, ``en`` in doubt, ``und`` without letters.

    Latin-script text counts as foreign only when it has at least four words that are neither tickers, tags nor numbers
    and the identifier is nearly certain; slang of two words stays English.
    """
    words = wording(_CODES.sub(" ", text))
    latin = _latin(words)
    if latin is None:
        return _without_letters(text)
    if latin >= 0.5 and not _enough(words):
        return "en"
    return _code(latin, *identify(words.lower()))


def languages(texts: Sequence[str]) -> list[str]:
    """:func:`language` of each text."""
    return [language(text) for text in texts]


def _latin(words: str) -> float | None:
    """Share of Latin letters among the letters; None without any."""
    if words.isascii():
        return 1.0 if _LETTER.search(words) else None
    letters = [letter for letter in words if letter.isalpha()]
    return sum(map(_is_latin, letters)) / len(letters) if letters else None


@lru_cache(maxsize=4096)
def _is_latin(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")


def _enough(words: str) -> bool:
    return len(words.split(" ", _WORDS - 1)) >= _WORDS


def _without_letters(text: str) -> str:
    return "en" if any(letter.isalpha() for letter in wording(text)) else "und"


def _code(latin: float, code: str, probability: float) -> str:
    if latin < 0.5:
        return code if code != "en" else "und"
    return code if probability >= _SURE else "en"


_LOADING = Lock()
"""Without it, threads that come at the same time each load the model, which takes half a second and 100 MB for each."""


def identify(text: str) -> tuple[str, float]:
    """The likeliest of the languages in :data:`NAMES` for lower-case words, and how certain that is (0…1)."""
    with _LOADING:
        identifier = _identifier()
    code, certainty = identifier.classify(text)
    return str(code), float(certainty)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(NAMES))
    return identifier
