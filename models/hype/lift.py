"""How much this very post adds: features of a post against its author's (or channel's) own past, for report 003's product form.

Hot means more likes than the trailing 80th percentile of the same author. A past post counts only with the likes it had a
day after it was published, so a post is judged without anything that was still to come.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from domain.types import AuthorHistory

Doubles = NDArray[np.float64]

RECENT = 50
"""Past posts that the percentile looks back on."""

LEAST = 10
"""Fewest past posts for a percentile to mean something."""

MATURE = 86_400
"""Seconds after which a post's likes count."""

COMPONENTS = 32
"""Numbers that are kept of a text's embedding."""

_HISTORY = (
    "last five posts",
    "last post",
    "the post before it",
    "last three posts",
    "last ten posts",
    "last twenty posts",
    "all recent posts",
    "spread of the likes",
    "hot among the last five",
    "hot among the last ten",
    "hot among all recent",
    "best recent post",
    "median recent post",
    "log threshold",
    "log of the posts known",
    "log seconds since the last post",
    "log posts of the last day",
    "log posts of the last week",
    "log seconds since the last post that counts",
    "recent likes weighted by age",
    "length over the author's usual",
    "posts of the last hours, fading",
    "posts of the last six hours",
    "all known posts",
    "last ten posts over all recent",
)
_ALIKE = (
    "posts in like words",
    "posts in nearly the same words",
    "likeness of the nearest post",
    "the nearest post",
)
_TEXT = (
    "log length",
    "words",
    "links",
    "nothing but a link",
    "ends with a link",
    "names a person",
    "starts with a name",
    "hashtags",
    "cashtags",
    "asks",
    "exclaims",
    "lines",
    "share of capitals",
    "all lower case",
    "share of digits",
    "symbols and emoji",
    "trails off",
    "quotes",
    "has a picture",
)
_CLOCK = ("sin of the hour", "cos of the hour", "sin of 2 × hour", "cos of 2 × hour", "weekday")
NAMES = (*_HISTORY, *_ALIKE, *_TEXT, *_CLOCK, *(f"embedding {i}" for i in range(COMPONENTS)))

_ONLY_LINK = re.compile(r"\s*(https?://\S+\s*)+")
_END_LINK = re.compile(r"https?://\S+\s*$")
_CASHTAG = re.compile(r"\$[A-Za-z]{2,}")
_TOKEN = re.compile(r"[a-z0-9$#]+|[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Written:
    """A post as the lift sees it. ``clock``: whether the time of day is known, ``text`` None where there is none."""

    posted_at: datetime
    text: str | None
    picture: bool | None = None
    clock: bool = True


def lift_features(post: Written, history: AuthorHistory, projected: Doubles) -> tuple[Doubles, float, float] | None:
    """Features float64[f], the threshold in likes and the level; None where fewer than LEAST past posts count.

    ``projected``: float64[COMPONENTS], the text's embedding in fewer numbers, NaN without a text. ``level``: mean of the
    last five posts' log likes over the threshold's.
    """
    now = post.posted_at.timestamp()
    known = np.flatnonzero((history.posted_at + MATURE <= now) & np.isfinite(history.likes))
    counting = known[-RECENT:]
    if len(counting) < LEAST:
        return None
    likes = np.log1p(np.maximum(history.likes[counting], 0))
    threshold = float(np.quantile(np.expm1(likes), 0.8))
    ratios = likes - np.log1p(threshold)
    earlier = history.posted_at[history.posted_at < now]
    past = _past(ratios, now - history.posted_at[counting], np.log1p(threshold), now - earlier)
    length = _length(post.text, history.lengths[counting])
    older = np.log1p(np.maximum(history.likes[known], 0)) - np.log1p(threshold)
    pace = _pace(now - earlier, ratios, older)
    row = [*past, length, *pace, *_alike(post.text, history, known, older), *_words(post), *_clock(post), *projected]
    return np.array(row, dtype=np.float64), threshold, float(ratios[-5:].mean())


def _past(ratios: Doubles, ages: Doubles, threshold: float, since: Doubles) -> list[float]:
    """``ages``: seconds since each counted post; ``since``: seconds since every earlier post, oldest first."""
    weights = np.exp(-ages / (7 * MATURE))
    means = [float(ratios[-count:].mean()) for count in (5, 1)]
    return [
        *means,
        float(ratios[-2]),
        *(float(ratios[-count:].mean()) for count in (3, 10, 20)),
        float(ratios.mean()),
        float(ratios.std()),
        *(float((ratios[-count:] > 0).mean()) for count in (5, 10)),
        float((ratios > 0).mean()),
        float(ratios.max()),
        float(np.median(ratios)),
        float(threshold),
        float(np.log(len(ratios))),
        float(np.log1p(since[-1])) if len(since) else np.nan,
        float(np.log1p((since <= MATURE).sum())),
        float(np.log1p((since <= 7 * MATURE).sum())),
        float(np.log1p(ages[-1])),
        float((ratios * weights).sum() / (weights.sum() + 1e-9)),
    ]


def _pace(since: Doubles, ratios: Doubles, older: Doubles) -> list[float]:
    return [
        float(np.exp(-since / 3600).sum()),
        float((since < 6 * 3600).sum()),
        float(older.mean()),
        float(ratios[-10:].mean() - ratios.mean()),
    ]


def _alike(text: str | None, history: AuthorHistory, known: NDArray[np.intp], older: Doubles) -> list[float]:
    """What the author's posts in like words earned, over all that count; NaN where the words are not known."""
    if text is None or not len(history.texts):
        return [np.nan] * len(_ALIKE)
    own = tokens(text)
    shared = np.array([_likeness(own, tokens(history.texts[i] or "")) for i in known])
    apart = older - older.mean()
    means = [float((shared**power * apart).sum() / ((shared**power).sum() + 0.3)) for power in (2, 4)]
    nearest = int(np.argmax(shared))
    return [*means, float(shared[nearest]), float(older[nearest]) if shared[nearest] > 0 else np.nan]


@lru_cache(maxsize=4096)
def tokens(text: str) -> frozenset[str]:
    """The different words, numbers, tags and symbols of a text."""
    return frozenset(_TOKEN.findall(text.lower()))


def _likeness(a: frozenset[str], b: frozenset[str]) -> float:
    """Cosine of two sets of tokens."""
    shared = len(a & b)
    return shared / float(np.sqrt(len(a) * len(b))) if shared else 0.0


def _length(text: str | None, lengths: Doubles) -> float:
    return float("nan") if text is None else float(np.log1p(len(text)) - np.log1p(np.nanmedian(lengths)))


def _words(post: Written) -> list[float]:
    picture = float("nan") if post.picture is None else float(post.picture)
    if post.text is None:
        return [float("nan")] * (len(_TEXT) - 1) + [picture]
    text = post.text
    lower = text.lower()
    characters = sum(c.isalpha() for c in text)
    counts: Sequence[float] = (
        np.log1p(len(text)),
        np.log1p(len(text.split())),
        text.count("http"),
        bool(_ONLY_LINK.fullmatch(text)),
        bool(_END_LINK.search(text)),
        lower.count("@"),
        text.startswith("@"),
        text.count("#"),
        len(_CASHTAG.findall(text)),
        "?" in text,
        "!" in text,
        text.count("\n"),
        sum(c.isupper() for c in text) / max(1, characters),
        text == lower,
        sum(c.isdigit() for c in text) / max(1, len(text)),
        sum(ord(c) > 0x2190 for c in text),
        text.rstrip().endswith("…") or "..." in text,
        '"' in text or "“" in text,
    )
    return [*(float(c) for c in counts), picture]


def _clock(post: Written) -> list[float]:
    weekday = float(post.posted_at.weekday())
    if not post.clock:
        return [float("nan")] * 4 + [weekday]
    day = 2 * np.pi * (post.posted_at.hour * 60 + post.posted_at.minute) / 1440
    return [np.sin(day), np.cos(day), np.sin(2 * day), np.cos(2 * day), weekday]
