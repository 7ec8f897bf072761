"""Text as it may be stored: no NUL, no lone surrogates, no bidi tricks; emoji keep their joiners."""

from __future__ import annotations

import re
import unicodedata

from domain.errors import TooLarge
from domain.reasons import Reason

MAX_CHARACTERS = 20_000
"""Longest post that is taken; Telegram's own limit is 4,096."""

_DROP = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_LONE_JOINER = re.compile("(?<![\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u0900-\u0dff])[\u200b-\u200d\u2060]+")
_SPACES = re.compile(r"[^\S\n]+")


def clean(text: str) -> str:
    """NFC, without control characters, bidi controls, lone surrogates or lone zero-width characters; trimmed.

    Raises:
        TooLarge: more than :data:`MAX_CHARACTERS` characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(Reason("text_too_long", {"count": len(text), "most": MAX_CHARACTERS}))
    text = _DROP.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _LONE_JOINER.sub("", unicodedata.normalize("NFC", text))
    return _SPACES.sub(" ", text).strip()
