"""The parts of a scorer and what they hand to one another; each is replaced in one place, :meth:`models.scorer.Scorer.load`.

Arrays are numpy, so that nothing outside a part needs torch. One forward pass per post and modality: a reading carries
everything that any head needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domain.answer import Emotions, Explanation, Hype, Trajectories
from domain.errors import MoodtapeError
from domain.reasons import Reason
from domain.types import AuthorHistory, Floats, MarketContext, Post

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextReading:
    """One text after its forward pass. ``probabilities``: float32[7], calibrated. ``embedding``: float32[384], norm 1.

    ``abstained`` says why no emotion is claimed (other language, no words, unsure); the embedding is valid all the same.
    """

    probabilities: Vector
    embedding: Vector
    abstained: Reason | None = None
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageReading:
    """One picture after its forward pass. ``probabilities``: float32[7] or None where the picture shows no readable mood.

    ``boxes``: faces as (left, top, width, height) in pixels of the picture given.
    """

    probabilities: Vector | None
    faces: int
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    abstained: Reason | None = None
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Matched:
    """The trajectories of one post, and what else is to be known of them. ``vectors``: (k, 384), of the matches' words."""

    trajectories: Trajectories
    warnings: tuple[Reason, ...] = ()
    vectors: Floats | None = None


class TextReader(Protocol):
    """Words to readings. ``padding``: share of the token positions computed so far that were padding."""

    @property
    def padding(self) -> float: ...

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """What :meth:`read` needs beside each text; may run while another batch is read."""
        ...

    def read(
        self, texts: Sequence[str], *, ids: Sequence[list[int] | None] = (), languages: Sequence[str] = ()
    ) -> list[TextReading]:
        """One reading per text, in order; a batch is one packed forward pass. ``ids``, ``languages``: theirs, where known."""
        ...

    def why(self, text: str, label: str) -> list[dict[str, Any]]:
        """The words that speak for ``label``: ``[{"word": str, "weight": float}, …]``, most important first."""
        ...


class ImageReader(Protocol):
    """Picture bytes to readings."""

    def decode(self, pictures: Sequence[bytes]) -> list[Any]:
        """Pictures ready for :meth:`read`, or the error of one that breaks; may run while another batch is read."""
        ...

    def read(self, pictures: Sequence[Any]) -> list[ImageReading | MoodtapeError]:
        """One reading per picture (bytes or decoded), in order; one that breaks fails alone, as an error in its place."""
        ...

    def why(self, picture: bytes, label: str) -> list[dict[str, Any]]:
        """Regions that speak for ``label``: ``[{"box": [left, top, width, height], "weight": float}, …]``."""
        ...


class Fusion(Protocol):
    """Two readings to one emotion; either may be missing."""

    def join(self, text: TextReading | None, image: ImageReading | None) -> Emotions:
        """The joint, calibrated emotions; abstains where both parts do, and reports disagreement in ``why``."""
        ...


class HypeModel(Protocol):
    """What was known of the market, and the post, to a forecast. ``reads_posts``: contexts must count posts."""

    @property
    def reads_posts(self) -> bool: ...

    def forecast(
        self,
        posts: Sequence[Post],
        contexts: Sequence[MarketContext | None],
        histories: Sequence[AuthorHistory | None],
        embeddings: Floats,
    ) -> list[Hype]:
        """``embeddings``: (n, 384), zeros without words; a missing context or history gives its reason."""
        ...


class TrajectoryModel(Protocol):
    """Text embeddings to matched trajectories and a band."""

    def match(
        self,
        posts: Sequence[Post],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[Matched | None]:
        """``embeddings``: (n, 384). Only library windows that ended before a post was posted may match it."""
        ...


class ExplanationModel(Protocol):
    """Vectors of posts to words about them."""

    def of_posts(
        self,
        vectors: Floats,
        said: Sequence[str],
        symbol: str,
        embed: Callable[[Sequence[str]], Floats],
        direction: str | None = None,
    ) -> Explanation | Reason:
        """What posts of these vectors (k, 384) are about; ``said``: texts that are known to be true of them.

        ``direction``: ``up`` or ``down`` where something beside the texts, such as a chart, shows it.
        """
        ...
