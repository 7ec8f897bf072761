"""The language of a text, or of many texts at once."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from threading import Lock
from typing import Any

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_SYMBOLS = frozenset({"So", "Sk"})
_SILENT = re.compile("[\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff\u2640\u2642]")
_SIGN = re.compile("[\u200d\u2190-\U0010ffff]")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_PLAIN = re.compile("[A-Za-z0-9]")
_NAMES = {
    "\U0001f62d": "loudly crying face, sad",
    "\U0001f480": "skull, dead",
    "\U0001f4a9": "poop, disgusting",
    "\U0001f602": "laughing face",
    "\U0001f923": "laughing face",
    "\U0001f621": "angry red face",
    "\U0001f620": "angry face",
    "\U0001f92c": "angry swearing face",
    "\U0001f4c8": "chart going up",
    "\U0001f4c9": "chart going down",
    "\U0001f48e": "diamond",
    "\U0001f64c": "raised hands, celebrating",
    "\U0001f610": "neutral face",
    "\U0001f611": "neutral face",
}
"""Where the Unicode name misleads or says less than what the sign is used for."""


def wording(text: str) -> str:
    """The text as the encoder reads it: links dropped, emoji as words, spaces single."""
    if _may_link(text):
        text = _LINK.sub(" ", text)
    if not text.isascii():
        text = _SIGN.sub(lambda found: _named(found[0]), text)
    return " ".join(text.split())


def readable(text: str) -> bool:
    """Whether :func:`wording` leaves a letter or a digit of a text."""
    if not _may_link(text) and _PLAIN.search(text):
        return True
    return _ALPHANUMERIC.search(wording(text)) is not None


def _may_link(text: str) -> bool:
    return "://" in text or "www." in text


@lru_cache(maxsize=4096)
def _named(letter: str) -> str:
    if _SILENT.match(letter):
        return ""
    if unicodedata.category(letter) not in _SYMBOLS:
        return letter
    name = _NAMES.get(letter) or unicodedata.name(letter, "").lower()
    return f" {name.replace('-', ' ')} " if name else " "


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
