"""What a text says before a tokenizer sees it: emoji named in words, links dropped.

Uncased BERT vocabularies hold almost no emoji: 🚀 would become [UNK], the same token as 😡.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

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
