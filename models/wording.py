"""What a text says before a tokenizer sees it: emoji named in words, links dropped, the language recognised.

Uncased BERT vocabularies hold almost no emoji: 🚀 would become [UNK], the same token as 😡.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from threading import Lock
from typing import Any

_LINK = re.compile(r"(?:https?://|www\.)\S+")
_SPACES = re.compile(r"\s+")
_SYMBOLS = frozenset({"So", "Sk"})
_SILENT = re.compile("[\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff\u2640\u2642]")
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
    text = _SILENT.sub("", _LINK.sub(" ", text))
    if not text.isascii():
        text = "".join(_named(letter) for letter in text)
    return _SPACES.sub(" ", text).strip()


@lru_cache(maxsize=4096)
def _named(letter: str) -> str:
    if ord(letter) < 0x2190 or unicodedata.category(letter) not in _SYMBOLS:
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

_CODES = re.compile(r"[@#$]\w+|\b[A-Z]{2,6}(?:/[A-Z]{2,6})?\b|\d\S*|_")
_SURE = 0.97
_WORDS = 4


def language(text: str) -> str:
    """ISO 639-1 code, ``en`` in doubt, ``und`` without letters.

    Latin-script text counts as foreign only when it has at least four words that are neither tickers, tags nor numbers
    and the identifier is nearly certain; slang of two words stays English.
    """
    words = wording(_CODES.sub(" ", text))
    letters = [letter for letter in words if letter.isalpha()]
    if not letters:
        return "und" if not any(letter.isalpha() for letter in wording(text)) else "en"
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters) / len(letters)
    code, probability = identify(words.lower())
    if latin < 0.5:
        return code if code != "en" else "und"
    return code if len(words.split()) >= _WORDS and probability >= _SURE else "en"


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
