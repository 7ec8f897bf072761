"""One emotion from words and picture: calibrated log-linear pooling with learned weights, a class bias and a doubt.

``p ∝ exp(bias + w · log p_text + log((1 − doubt) · q + doubt / 7))`` with ``q ∝ exp(shift) · p_image``: the picture shows
what the words mean, or with the chance ``doubt`` anything. Fitted on pairs of which a share contradict each other (report 002
wished for a joint answer and never built it). Equal averages are badly calibrated, and weights learned without conflict
trust the picture too much. A part that is alone is passed on as it is calibrated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domain.answer import Emotions
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import EMOTIONS
from models import checkpoint
from models.manifest import ARTIFACTS
from models.parts import ImageReading, TextReading, Vector

KIND = "emotion-fusion"
FOLDER = ARTIFACTS / "emotion-fusion"
FLOOR = 1e-4
"""Smallest probability that enters a logarithm: no part may veto alone."""


class Pool(nn.Module):
    """The pooling itself: probabilities (n, 7) of both parts to joint logits (n, 7)."""

    def __init__(self) -> None:
        super().__init__()
        n = len(EMOTIONS)
        self.text_weight = nn.Parameter(torch.ones(n))
        self.image_shift = nn.Parameter(torch.zeros(n))
        self.doubt_logit = nn.Parameter(torch.full((1,), -2.0))
        self.bias = nn.Parameter(torch.zeros(n))

    @property
    def doubt(self) -> Tensor:
        """Chance (1) that the picture says nothing of what the words mean."""
        return torch.sigmoid(self.doubt_logit)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Joint logits; a picture can raise an emotion over another by (1 − doubt) · 7 / doubt at most."""
        shown = torch.softmax(_log(image) + self.image_shift, dim=-1)
        seen = (1 - self.doubt) * shown + self.doubt / len(EMOTIONS)
        return self.text_weight * _log(text) + torch.log(seen) + self.bias


def _log(probabilities: Tensor) -> Tensor:
    return torch.log(probabilities.clamp_min(FLOOR))


class EmotionFusion:
    """Two readings to one emotion (:class:`models.parts.Fusion`)."""

    def __init__(self, pool: Pool, margin: float = 0.0) -> None:
        self.pool = pool.eval()
        self.margin = margin

    @classmethod
    def from_pretrained(cls, folder: Path = FOLDER) -> EmotionFusion:
        """Load a checkpoint folder.

        Raises:
            WeightsError: files are missing, altered, truncated or pickled; the message names the file.
        """
        folder = Path(folder)
        config, tensors = checkpoint.load(folder)
        if config.get("kind") != KIND or config.get("labels") != list(EMOTIONS):
            raise WeightsError(
                f"{folder.name}/config.json does not describe a {KIND} model with moodtape's seven labels."
            )
        pool = Pool()
        checkpoint.load_state(pool, tensors, f"{folder.name}/{checkpoint.WEIGHTS}")
        return cls(pool, float(config.get("unsure_margin", 0.0)))

    def save(self, folder: Path, card: str) -> None:
        """Write a checkpoint."""
        config = {"kind": KIND, "labels": list(EMOTIONS), "unsure_margin": self.margin}
        checkpoint.save(folder, config, self.pool.state_dict(), card)

    def join(self, text: TextReading | None, image: ImageReading | None) -> Emotions:
        """The joint emotions; a part that abstained for lack of a readable mood stays out of the pooling."""
        words = text.probabilities if text is not None and usable(text) else None
        picture = image.probabilities if image is not None and image.abstained is None else None
        joint = self._pooled(words, picture)
        abstained = self._abstained(text, image, joint, words is not None or picture is not None)
        return Emotions(
            label=None if abstained else EMOTIONS[int(joint.argmax())],
            probabilities=named(joint),
            text=None if text is None else named(text.probabilities),
            image=None if image is None or image.probabilities is None else named(image.probabilities),
            faces=0 if image is None else image.faces,
            abstained=abstained,
            why=_disagreement(words, picture),
        )

    @torch.inference_mode()
    def _pooled(self, words: Vector | None, picture: Vector | None) -> Vector:
        if words is None or picture is None:
            alone = words if words is not None else picture
            return np.full(len(EMOTIONS), 1 / len(EMOTIONS), np.float32) if alone is None else alone
        logits = self.pool(torch.from_numpy(words)[None], torch.from_numpy(picture)[None])
        return np.asarray(torch.softmax(logits, dim=-1)[0].numpy(), np.float32)

    def _abstained(
        self, text: TextReading | None, image: ImageReading | None, joint: Vector, anything: bool
    ) -> Reason | None:
        words, picture = (part.abstained if part is not None else None for part in (text, image))
        if not anything:
            return _both(words, picture) or Reason("nothing_readable")
        alone = text is not None and (image is None or image.probabilities is None or picture is not None)
        if alone and words:
            return _both(words, picture)
        order = np.argsort(joint)[::-1]
        if joint[order[0]] - joint[order[1]] < self.margin:
            return unsure(order)
        return None


def unsure(order: NDArray[np.int64]) -> Reason:
    """That the two first emotions of an order are too near one another to claim either."""
    first, second = (EMOTIONS[i] for i in order[:2])
    return Reason("unsure", {"first": first, "second": second})


def _both(words: Reason | None, picture: Reason | None) -> Reason | None:
    return Reason("both", {"text": words, "picture": picture}) if words and picture else words or picture


def usable(text: TextReading) -> bool:
    """Whether a text's probabilities mean something: an unsure text still counts, a foreign or empty one does not."""
    return text.abstained is None or text.abstained.code == "unsure"


def named(probabilities: Vector) -> dict[str, float]:
    """Probabilities by emotion."""
    return {label: float(p) for label, p in zip(EMOTIONS, probabilities, strict=True)}


def distance(first: Vector, second: Vector) -> float:
    """Jensen-Shannon distance of two distributions, 0 (equal) to 1 (disjoint)."""
    middle = (first + second) / 2
    parts = [float(np.sum(p * np.log2(np.maximum(p, 1e-12) / np.maximum(middle, 1e-12)))) for p in (first, second)]
    return float(np.sqrt(max(sum(parts) / 2, 0.0)))


def _disagreement(words: Vector | None, picture: Vector | None) -> dict[str, object]:
    if words is None or picture is None:
        return {}
    said, shown = EMOTIONS[int(words.argmax())], EMOTIONS[int(picture.argmax())]
    gap = round(distance(words, picture), 4)
    return {"disagreement": {"text": said, "image": shown, "distance": gap, "differs": said != shown}}
