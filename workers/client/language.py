"""Which language a post is written in; short and mixed texts make the usual detectors guess, so guesses are held back."""

from __future__ import annotations

import re
import threading
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
"""ISO 639 code for a text whose language cannot be told."""

LANGUAGES = (
    "ar", "de", "en", "es", "fa", "fr", "hi", "id", "it", "ja", "ko",
    "nl", "pl", "pt", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""What people write about markets here; fewer candidates make short texts safer."""

SURE = 0.6

_LOADING = threading.Lock()
"""Without it, threads that come at the same time each load the model, which takes half a second and 100 MB for each."""

_TAGS = re.compile(r"https?://\S+|www\.\S+|[@#$]\w+")
_NOT_WORDS = re.compile(r"[\W\d_]+")
_NOT_LATIN = re.compile("[\u0370-\u1fff\u2c80-\ua71f\ua800-\uabff\uac00-\ufaff]")


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


def detect(text: str) -> str:
    """The ISO 639-1 code, or ``und`` without words.

    Links, names and tickers are left out. Latin letters count as English unless another language is rather certain,
    because most posts are English and slang such as “wen lambo” fools every detector.
    """
    words = _NOT_WORDS.sub(" ", _TAGS.sub(" ", text)).strip()
    if len(words) < 2:
        return UNKNOWN
    with _LOADING:
        identifier = _identifier()
    best, certainty = identifier.classify(words.lower())
    return str(best) if certainty >= SURE or _NOT_LATIN.search(words) else "en"
