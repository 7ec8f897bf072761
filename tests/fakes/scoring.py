"""Parts and a scorer that answer at once and by rule, for tests of what is around them."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from domain.answer import Coverage, Emotions, Hype, HypeForecast, Trajectories, Verdict
from domain.errors import MoodtapeError, UnreadableImage
from domain.reasons import Reason
from domain.types import EMOTIONS, STEPS, AuthorHistory, Floats, MarketContext, Post
from models.parts import ImageReading, Matched, TextReading
from models.scorer import ScoringInput

TRAINED = datetime(2024, 1, 1, tzinfo=UTC)


def joyful() -> Floats:
    """All joy."""
    return np.eye(7, dtype=np.float32)[1]


@dataclass
class FakeText:
    """Breaks on texts that hold ``BREAK``; remembers the batches it was given."""

    batches: list[list[str]] = field(default_factory=list)
    padding: float = 0.0

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[len(text)] for text in texts]

    def read(
        self, texts: Sequence[str], *, ids: Sequence[list[int] | None] = (), languages: Sequence[str] = ()
    ) -> list[TextReading]:
        self.batches.append(list(texts))
        if any("BREAK" in text for text in texts):
            raise RuntimeError("this tensor does not fit")
        return [TextReading(joyful(), np.full(384, len(text), np.float32)) for text in texts]

    def why(self, text: str, label: str) -> list[dict[str, Any]]:
        return [{"word": text.split(maxsplit=1)[0], "weight": 1.0}]


class FakeImage:
    """A picture is its bytes; ``broken`` ones fail alone."""

    def decode(self, pictures: Sequence[bytes]) -> list[Any]:
        return list(pictures)

    def read(self, pictures: Sequence[bytes]) -> list[ImageReading | MoodtapeError]:
        return [
            UnreadableImage(Reason("picture_broken")) if picture == b"broken" else ImageReading(joyful(), 1)
            for picture in pictures
        ]

    def why(self, picture: bytes, label: str) -> list[dict[str, Any]]:
        return [{"box": [0, 0, 1, 1], "weight": 1.0}]


class FakeFusion:
    """Joy, from whatever is there."""

    def join(self, text: TextReading | None, image: ImageReading | None) -> Emotions:
        parts = [dict(zip(EMOTIONS, map(float, part.probabilities), strict=True)) if part else None
                 for part in (text, image)]  # fmt: skip
        return Emotions("joy", parts[0] or parts[1] or {}, parts[0], parts[1], faces=image.faces if image else 0)


class FakeHype:
    """One in five; nothing without a context."""

    reads_posts = False

    def forecast(
        self,
        posts: Sequence[Post],
        contexts: Sequence[MarketContext | None],
        histories: Sequence[AuthorHistory | None],
        embeddings: Floats,
    ) -> list[Hype]:
        return [
            Hype(
                HypeForecast(0.2, 0.2, STEPS, 10.0, signal=False)
                if context
                else HypeForecast(None, None, STEPS, None, signal=False, reason=Reason("few_candles"))
            )
            for context in contexts
        ]


class FakeTrajectories:
    """A flat band without matches."""

    def match(
        self,
        posts: Sequence[Post],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[Matched | None]:
        flat = np.zeros(STEPS, np.float32)
        coverage, reason = Coverage(0.8), Reason("signal_untested")
        return [
            Matched(Trajectories(symbol, flat, flat - 1, flat + 1, coverage, flat, False, reason, 0, (), flat))
            for symbol in symbols
        ]


class FakeScorer:
    """Verdicts by rule: ``FAIL`` in a text is an error, ``KILL`` ends the process, each post takes ``seconds``."""

    reads_posts = False

    def __init__(self, revision: str = "fake", seconds: float = 0.0) -> None:
        self.revision = revision
        self.seconds = seconds
        self.batches: list[list[str]] = []

    def prepare(self, inputs: Sequence[ScoringInput]) -> list[ScoringInput]:
        return list(inputs)

    def score(self, inputs: Sequence[ScoringInput]) -> list[Verdict | MoodtapeError]:
        self.batches.append([item.post.id for item in inputs])
        select.select([], [], [], self.seconds * len(inputs))  # time.sleep fails when libfaketime moves the clock
        if any("KILL" in item.post.text for item in inputs):
            os.kill(os.getpid(), signal.SIGKILL)
        return [self._one(item) for item in inputs]

    def _one(self, item: ScoringInput) -> Verdict | MoodtapeError:
        if "FAIL" in item.post.text:
            return UnreadableImage(Reason("picture_broken"))
        emotions = FakeFusion().join(TextReading(joyful(), np.ones(384, np.float32)), None)
        hype = FakeHype().forecast([item.post], [item.context], [None], np.ones((1, 384), np.float32))[0]
        match = FakeTrajectories().match([item.post], [item.symbol], np.ones((1, 384), np.float32), [None])[0]
        return Verdict(item.post.id, self.revision, TRAINED, emotions, hype, match and match.trajectories)
