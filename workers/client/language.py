"""Which language a post is written in; short and mixed texts make the usual detectors guess, so guesses are held back."""

from __future__ import annotations

import re

from models.wording import identify

UNKNOWN = "und"
"""ISO 639 code for a text whose language cannot be told."""

SURE = 0.6
"""Enough to note a language with a post; a model that would refuse to read it must be surer (models/wording.py)."""

_TAGS = re.compile(r"https?://\S+|www\.\S+|[@#$]\w+")
_NOT_WORDS = re.compile(r"[\W\d_]+")
_NOT_LATIN = re.compile("[\u0370-\u1fff\u2c80-\ua71f\ua800-\uabff\uac00-\ufaff]")


def detect(text: str) -> str:
    """The ISO 639-1 code, or ``und`` without words.

    Links, names and tickers are left out. Latin letters count as English unless another language is rather certain,
    because most posts are English and slang such as “wen lambo” fools every detector.
    """
    words = _NOT_WORDS.sub(" ", _TAGS.sub(" ", text)).strip()
    if len(words) < 2:
        return UNKNOWN
    best, certainty = identify(words.lower())
    return best if certainty >= SURE or _NOT_LATIN.search(words) else "en"
