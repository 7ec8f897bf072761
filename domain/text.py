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
_SHARED = re.compile(r"^\s*RT\s+@\w+:?\s*|\S+@\S+\.\w+|(?:https?://|www\.|t\.me/)\S+", re.IGNORECASE)
_NAMED = re.compile(r"(?<!\w)(?:@(?=\w*[A-Za-z_])|/?u/)[\w-]+")

QUOTED = 160
"""Most characters of a post that are quoted to somebody else."""


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


def excerpt(text: str, most: int = QUOTED) -> str:
    """A post as it may be quoted: one line without links, addresses and @names, cut after a word; empty without any word."""
    bare = " ".join(_NAMED.sub("@…", _SHARED.sub(" ", text)).split())
    if not any(letter.isalpha() for letter in bare):
        return ""
    if len(bare) <= most:
        return bare
    cut = bare[: most - 1]
    head = cut.rpartition(" ")[0]
    return f"{head if len(head) >= most // 2 else cut}…"
