"""From posts to verdicts: one forward pass per post and modality feeds every head. Parts are chosen in :meth:`Scorer.load`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
from msgspec import structs

from domain.answer import Campaign, Emotions, Explanation, Hype, Trajectories, Verdict
from domain.clock import Clock, SystemClock
from domain.errors import EmptyPost, InputError, MoodtapeError
from domain.reasons import Reason
from domain.types import AuthorHistory, Floats, LibraryRows, MarketContext, Post
from models.manifest import ARTIFACTS, verify
from models.parts import (
    ExplanationModel,
    Fusion,
    HypeModel,
    ImageReader,
    ImageReading,
    Matched,
    TextReader,
    TextReading,
    TrajectoryModel,
)
from models.trajectories.events import Earned, events_of

log = structlog.get_logger()

EMBEDDING = 384
WHY_SECONDS = 0.5
"""Time a batch may spend on saying why; what does not fit goes without."""

SEVERAL = 4
"""So many posts at once, each of which breaks alone, say that the models are broken and not the posts."""

LOST_DEVICE = frozenset({"AcceleratorError"})
"""Names of torch's errors after which a GPU serves this process no more; by name, for doors load no torch."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """A post with what is needed to score it. ``named``: whether the post names ``symbol``; ``why``: say what spoke for it.

    A post with ``post.image`` set and ``image`` None has lost its picture and fails when it has no words either.
    ``ids`` and ``opened`` are what :meth:`Scorer.prepare` made of words and picture; ``history``: of its author or channel.
    """

    post: Post
    image: bytes | None
    context: MarketContext | None
    symbol: str
    named: bool = True
    why: bool = False
    campaign: Campaign | None = None
    ids: list[int] | None = None
    opened: Any = None
    history: AuthorHistory | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The models of one scorer, each behind its protocol."""

    text: TextReader
    image: ImageReader
    fusion: Fusion
    hype: HypeModel
    trajectories: TrajectoryModel
    explanation: ExplanationModel | None = None


@dataclass(frozen=True, slots=True)
class _Mood:
    """A post after its forward passes."""

    item: ScoringInput
    text: TextReading | None
    image: ImageReading | None
    emotions: Emotions


class Scorer:
    """Scores batches; a post that cannot be scored becomes an error in its place and leaves its neighbours alone."""

    def __init__(
        self, parts: Parts, revision: str, trained_until: datetime, clock: Clock | None = None, device: str = "cpu"
    ) -> None:
        self.parts = parts
        self.revision = revision
        self.trained_until = trained_until
        self.device = device
        self.earned = Earned()
        self._clock = clock or SystemClock()

    @classmethod
    def load(cls, artifacts: Path = ARTIFACTS, library_rows: LibraryRows | None = None, device: str = "cpu") -> Scorer:
        """Check the weights and put the parts together: the one place where they are chosen.

        Raises:
            WeightsError: a file is missing, altered or does not fit; the message names it.
        """
        from models.device import half_or_full
        from models.emotion.image import ImageMoodReader
        from models.emotion.text import EmotionFusion, EmotionTextReader
        from models.explanations.explainer import load_explainer
        from models.hype.forecast import load_hype
        from models.trajectories.library import load_library
        from models.trajectories.retrieval import load_trajectories

        manifest = verify(artifacts)
        dtype = half_or_full(device)
        text = EmotionTextReader.from_pretrained(artifacts / "emotion-text", dtype, device)
        parts = Parts(
            text=text,
            image=ImageMoodReader.from_pretrained(artifacts / "emotion-image", device=device),
            fusion=EmotionFusion.from_pretrained(artifacts / "emotion-fusion"),
            hype=load_hype(artifacts),
            trajectories=load_trajectories(library_rows or load_library(artifacts).rows, artifacts, device),
            explanation=load_explainer(artifacts, text.net.encoder.tokenizer),
        )
        return cls(parts, manifest.revision, manifest.trained_until, device=device)

    @property
    def padding(self) -> float:
        """Share of the token positions computed so far that were padding."""
        return self.parts.text.padding

    @property
    def reads_posts(self) -> bool:
        """Whether contexts must say how many posts were published."""
        return self.parts.hype.reads_posts

    def prepare(self, inputs: Sequence[ScoringInput]) -> list[ScoringInput]:
        """Words tokenised and pictures decoded: work that needs no model and may overlap with another batch's score."""
        worded, pictured = _places(inputs)
        ids = dict(zip(worded, _each(self.parts.text.tokenise, [inputs[i].post.text for i in worded]), strict=True))
        opened = dict(
            zip(pictured, _each(self.parts.image.decode, [_picture(inputs[i]) for i in pictured]), strict=True)
        )
        good = {i: found for i, found in ids.items() if not isinstance(found, MoodtapeError)}
        return [replace(item, ids=good.get(i), opened=opened.get(i)) for i, item in enumerate(inputs)]

    def score(self, inputs: Sequence[ScoringInput]) -> list[Verdict | MoodtapeError]:
        """One verdict or error per input, in order."""
        moods = self._moods(inputs)
        sound = [i for i, mood in enumerate(moods) if isinstance(mood, _Mood)]
        answers = _each(self._answers, [mood for mood in moods if isinstance(mood, _Mood)])
        out: list[Verdict | MoodtapeError] = [m if isinstance(m, MoodtapeError) else _UNREACHED for m in moods]
        for i, answer in zip(sound, answers, strict=True):
            out[i] = answer
        return out

    def _moods(self, inputs: Sequence[ScoringInput]) -> list[_Mood | MoodtapeError]:
        worded, pictured = _places(inputs)
        texts = dict(zip(worded, _each(self._read, [inputs[i] for i in worded]), strict=True))
        pictures: dict[int, ImageReading | MoodtapeError] = dict(
            zip(pictured, _each(self.parts.image.read, [_picture(inputs[i]) for i in pictured]), strict=True)
        )
        return [self._mood(item, texts.get(i), pictures.get(i)) for i, item in enumerate(inputs)]

    def _read(self, items: Sequence[ScoringInput]) -> list[TextReading]:
        posts = [item.post for item in items]
        return self.parts.text.read(
            [post.text for post in posts], ids=[item.ids for item in items], languages=[post.language for post in posts]
        )

    def _mood(
        self, item: ScoringInput, text: TextReading | MoodtapeError | None, image: ImageReading | MoodtapeError | None
    ) -> _Mood | MoodtapeError:
        for reading in (text, image):
            if isinstance(reading, MoodtapeError):
                return reading
        if text is None and image is None:
            return EmptyPost(Reason("nothing_left"))
        assert not isinstance(text, MoodtapeError)
        assert not isinstance(image, MoodtapeError)
        return _Mood(item, text, image, self.parts.fusion.join(text, image))

    def _answers(self, moods: Sequence[_Mood]) -> list[Verdict]:
        embeddings = np.stack([_embedding(mood.text) for mood in moods])
        posts, contexts = [mood.item.post for mood in moods], [mood.item.context for mood in moods]
        hypes = self.parts.hype.forecast(posts, contexts, [mood.item.history for mood in moods], embeddings)
        symbols = [mood.item.symbol for mood in moods]
        matches = self.parts.trajectories.match(posts, symbols, embeddings, contexts)
        end = self._clock.monotonic() + WHY_SECONDS
        return [self._verdict(mood, hype, match, end) for mood, hype, match in zip(moods, hypes, matches, strict=True)]

    def _verdict(self, mood: _Mood, hype: Hype, matched: Matched | None, end: float) -> Verdict:
        emotions = mood.emotions
        if mood.item.why and emotions.label is not None and self._clock.monotonic() < end:
            emotions = structs.replace(emotions, why={**emotions.why, **self._why(mood, emotions.label)})
        explanation = self._explanation(mood, matched)
        return Verdict(
            post_id=mood.item.post.id,
            revision=self.revision,
            trained_until=self.trained_until,
            emotions=emotions,
            hype=hype,
            trajectories=self._with_earned(mood, matched.trajectories, emotions.label) if matched else None,
            explanation=explanation if isinstance(explanation, Explanation) else None,
            explanation_reason=explanation if isinstance(explanation, Reason) else None,
            warnings=_warnings(mood, matched),
            campaign=mood.item.campaign,
        )

    def _explanation(self, mood: _Mood, matched: Matched | None) -> Explanation | Reason:
        """Words for the matched posts, for people who wait; the post's own words are the facts they are held against."""
        model = self.parts.explanation
        if matched is None or matched.vectors is None or mood.text is None:
            return Reason("explanation_empty")
        if model is None:
            return Reason("no_explanation")
        if not mood.item.why:
            return Reason("explanation_not_asked")
        try:
            return model.of_posts(matched.vectors, [mood.item.post.text], mood.item.symbol, self.embed)
        except Exception:
            log.exception("explaining failed; the answer goes without", post_id=mood.item.post.id)
            return Reason("explanation_empty")

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors float32 (n, 384) of texts, as the library has them."""
        return np.stack([reading.embedding for reading in self.parts.text.read(texts)])

    def _with_earned(self, mood: _Mood, paths: Trajectories, label: str | None) -> Trajectories:
        """The paths with what the latest walk-forward and the event study let an answer say."""
        events = events_of(self.earned.rules, mood.item.post, mood.item.symbol, label)
        return structs.replace(paths, signal=self.earned.signal, reason=self.earned.reason, events=events)

    def _why(self, mood: _Mood, label: str) -> dict[str, Any]:
        said: dict[str, Any] = {}
        try:
            if mood.text is not None and mood.text.abstained is None:
                said["words"] = self.parts.text.why(mood.item.post.text, label)
            if mood.image is not None and mood.image.abstained is None and mood.item.image is not None:
                said["regions"] = self.parts.image.why(mood.item.image, label)
        except Exception:
            log.exception("saying why failed; the answer goes without", post_id=mood.item.post.id)
        return said


_UNREACHED = MoodtapeError(Reason("not_scored"))


def _places(inputs: Sequence[ScoringInput]) -> tuple[list[int], list[int]]:
    """Which inputs have words, and which have a picture."""
    worded = [i for i, item in enumerate(inputs) if item.post.text]
    return worded, [i for i, item in enumerate(inputs) if item.image is not None]


def _picture(item: ScoringInput) -> Any:
    return item.image if item.opened is None else item.opened


def _embedding(text: TextReading | None) -> Floats:
    return np.zeros(EMBEDDING, dtype=np.float32) if text is None else text.embedding


def _warnings(mood: _Mood, matched: Matched | None) -> tuple[Reason, ...]:
    item = mood.item
    reasons: list[Reason] = []
    if not item.named:
        reasons.append(Reason("no_coin", {"symbol": item.symbol}))
    if item.context is None:
        reasons.append(Reason("no_candles", {"symbol": item.symbol}))
    if item.post.image is not None and item.image is None:
        reasons.append(Reason("no_picture"))
    if matched is None:
        reasons.append(Reason("no_past"))
    for part in (mood.text, mood.image, matched):
        reasons += part.warnings if part is not None else ()
    return tuple(dict.fromkeys(reasons))


def _each(
    work: Callable[[Sequence[In]], Sequence[Out | MoodtapeError]], items: Sequence[In]
) -> list[Out | MoodtapeError]:
    """``work`` over all items at once; where that breaks, in halves, until what breaks stands alone as an error.

    Raises:
        Exception: what broke last, where the device is lost or each of several items broke: then it is not the posts.
    """
    broken: list[Exception] = []
    out = _halved(work, items, broken)
    if len(broken) == len(items) >= SEVERAL:
        raise broken[-1]
    return out


def _halved(
    work: Callable[[Sequence[In]], Sequence[Out | MoodtapeError]], items: Sequence[In], broken: list[Exception]
) -> list[Out | MoodtapeError]:
    if not items:
        return []
    try:
        return list(work(items))
    except MoodtapeError as error:
        if len(items) == 1:
            return [error]
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__ in LOST_DEVICE:
            raise
        if len(items) == 1:
            broken.append(error)
            log.exception("a post could not be scored")
            return [InputError(Reason("not_scored"))]
    middle = len(items) // 2
    return _halved(work, items[:middle], broken) + _halved(work, items[middle:], broken)
