"""What the models say in English half-sentences, in the words of a catalogue; what is not known here stays English."""

from __future__ import annotations

import re
from functools import cache

from answer.catalogue import Say

SAYINGS = {
    "the text has no words or emoji to read": "reason-no-words",
    "the text seems to be {name}; only English is read": "reason-foreign",
    "unsure between {first} and {second}": "reason-unsure",
    "no face found in the picture": "reason-no-face",
    "there is neither text nor a picture with a readable mood": "reason-nothing",
    "There are no candles of this market before the post": "reason-no-candles",
    "There are not enough candles in the 256 minutes before the post": "reason-few-candles",
    "Only {count} of the {windows} windows before the post have enough candles; {least} are needed": "reason-few-windows",
    "Nothing was traded in the windows before the post": "reason-no-trade",
    "No coin is named in the post; {symbol} is assumed": "warning-no-coin",
    "There are no candles of {symbol} in the 256 minutes before the post": "warning-no-candles",
    "The picture of this post is no longer stored; only its words were read": "warning-no-picture",
    "No past window had ended before this post; there are no trajectories to match": "warning-no-past",
    "Too few candles of {symbol} before the post: the band's width comes from {source}": "warning-width",
    "No past window of {symbol} is in the library yet: {consequence}": "warning-no-window",
    "The post has no words to match: the newest windows stand in": "warning-newest",
    "No explanation in words: it is not part of this generation of models": "warning-no-explanation",
    "language: {name}": "warning-language",
}
"""A model's saying, without its full stop → the key of its translation."""

PAIR = ("first", "second")
"""Values that are emotions, which each catalogue names."""


def told(sentence: str, say: Say) -> str:
    """A model's saying, or several parted by “; ”, in a language; as it is where the catalogue does not know it."""
    whole = _known(sentence.strip().rstrip("."), say)
    if whole is not None:
        return whole
    parts = [_known(part, say) for part in sentence.strip().rstrip(".").split("; ")]
    return sentence if None in parts else "; ".join(part for part in parts if part is not None)


def _known(sentence: str, say: Say) -> str | None:
    for pattern, key in _patterns():
        if found := pattern.fullmatch(sentence):
            values = {k: say(f"emotion-{v}") if k in PAIR else v for k, v in found.groupdict().items()}
            return say(key, **values)
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^;]+)", re.escape(saying))), key)
        for saying, key in SAYINGS.items()
    )
