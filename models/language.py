"""The language of a text, or of many texts at once."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.wording import wording

FEW = 16
"""Texts up to which py3langid's own loop is the faster one."""

LONG = 1024
"""Bytes from which a text is walked alone: the others need not wait for it."""

Counts = NDArray[np.int_]
Floats = NDArray[np.float32]


class Identifier:
    """A py3langid identifier that gives probabilities, with the same answers up to rounding; one column per language."""

    def __init__(self, identifier: Any) -> None:
        if identifier._alias_pairs:
            raise ValueError("two columns of one language are not kept apart here")
        self._alone = identifier
        self._moves = np.asarray(identifier.tk_nextmove)
        self._rows = np.asarray(identifier.tk_row, dtype=np.intp) << 8
        self._features = np.asarray(identifier.tk_output, dtype=np.int32)

    @cached_property
    def _table(self) -> Floats:
        """(features, languages); 8 MB that a process pays for once many texts come at a time."""
        return np.ascontiguousarray(self._alone.nb_ptc, dtype=np.float32)

    def classify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest language of each text, and how certain that is (0…1)."""
        raw = [self._alone._encode(text) for text in texts]
        together = [i for i, text in enumerate(raw) if 0 < len(text) <= LONG]
        if len(together) <= FEW:
            together = []
        told = dict(zip(together, self._together([raw[i] for i in together]), strict=True)) if together else {}
        return [told[i] if i in told else self._one(texts[i]) for i in range(len(texts))]

    def _one(self, text: str) -> tuple[str, float]:
        code, certainty = self._alone.classify(text)
        return str(code), float(certainty)

    def _together(self, texts: list[bytes]) -> list[tuple[str, float]]:
        lengths = np.array([len(text) for text in texts])
        scores = self._scores(texts, lengths).astype(np.float64) / np.sqrt(lengths)[:, None]
        likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
        best = likelihoods.argmax(axis=1)
        certain = likelihoods.max(axis=1) / likelihoods.sum(axis=1)
        names = self._alone.nb_classes
        return [(names[i], p) for i, p in zip(best.tolist(), certain.tolist(), strict=True)]

    def _scores(self, texts: list[bytes], lengths: Counts) -> Floats:
        """Naive Bayes log-posteriors (texts, languages); 0 throughout for a text without features."""
        keys, counts = np.unique(self._visits(texts, lengths), return_counts=True)
        rows, features = np.divmod(keys, len(self._table))
        weights = np.log1p(counts.astype(np.float32))
        out = np.zeros((len(texts), self._table.shape[1]), dtype=np.float32)
        starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(rows)]):
            out[rows[start]] = weights[start:stop] @ self._table[features[start:stop]] + self._alone.nb_pc
        return out

    def _visits(self, texts: list[bytes], lengths: Counts) -> Counts:
        """``text · features + feature`` of every state with a feature in which the automaton was, text by text.

        The longest texts stand first, so that those not yet at their end are always the first ones.
        """
        order = np.argsort(-lengths, kind="stable")
        steps = np.arange(lengths[order[0]])
        letters = np.zeros((len(texts), len(steps)), dtype=np.uint8)
        letters[steps < lengths[order, None]] = np.frombuffer(b"".join([texts[i] for i in order]), dtype=np.uint8)
        alive = np.searchsorted(-lengths[order], -steps, side="left").tolist()
        states = np.zeros(len(texts), dtype=np.intp)
        visited = []
        for column, count in zip(np.ascontiguousarray(letters.T), alive, strict=True):
            states = self._moves.take(self._rows.take(states[:count]) + column[:count])
            visited.append(states)
        features = self._features[np.concatenate(visited)]
        place = np.concatenate([order[:count] for count in alive])
        found = features >= 0
        return np.asarray(place[found] * len(self._table) + features[found])


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
    return languages([text])[0]


def languages(texts: Sequence[str]) -> list[str]:
    """:func:`language` of each text; many together cost half to a third of what they cost one by one."""
    words = [wording(_CODES.sub(" ", text)) for text in texts]
    latin = [_latin(each) for each in words]
    asked = [i for i, share in enumerate(latin) if share is not None and (share < 0.5 or _enough(words[i]))]
    told = dict(zip(asked, identify_all([words[i].lower() for i in asked]), strict=True))
    return [
        _without_letters(text) if share is None else _code(share, *told.get(i, ("en", 0.0)))
        for i, (text, share) in enumerate(zip(texts, latin, strict=True))
    ]


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
    return identify_all([text])[0]


def identify_all(texts: Sequence[str]) -> list[tuple[str, float]]:
    """:func:`identify` of each text."""
    with _LOADING:
        identifier = _identifier()
    return identifier.classify(texts)


@cache
def _identifier() -> Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(NAMES))
    return Identifier(identifier)


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
