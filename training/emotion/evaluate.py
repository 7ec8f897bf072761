"""Emotion of labelled posts: words, pictures or both, scored as the product reads them.

Every labelled row counts: figures are those of the most probable emotion, also where the product would not claim one; the
share of abstentions stands beside. A row whose picture shows no readable mood has equal probabilities and counts as
neutral.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.errors import MoodtapeError
from domain.types import EMOTIONS
from models.emotion.text import EmotionFusion, EmotionTextReader
from models.manifest import ARTIFACTS
from models.parts import ImageReading, TextReading
from runtime.progress import progress
from training.emotion.labelled import Labelled, read_labelled
from training.metrics import macro_f1, macro_f1_multilabel, summary
from training.registry import EvaluateOptions

BATCH = 256
NEUTRAL = EMOTIONS.index("neutral")
A = TypeVar("A")
B = TypeVar("B")


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures of the models in ``options.artifacts`` on ``options.data``; plots into ``options.plots``.

    Raises:
        InputError: files that cannot be used. WeightsError: models that cannot be loaded.
    """
    rows = read_labelled(options.data, options.split, options.limit, options.seed)
    artifacts = options.artifacts or ARTIFACTS
    began = time.perf_counter()
    texts, images = _read_text(rows, artifacts, options.source), _read_images(rows, artifacts)
    seconds = time.perf_counter() - began
    probabilities, abstained = _joint(texts, images, artifacts)
    result = summary(probabilities, rows.labels) | _extras(rows, probabilities, abstained)
    result["rows_per_second"] = round(len(rows.labels) / seconds, 1)
    if texts is not None and images is not None:
        result["parts"] = {"text": _part(_text_matrix(texts), rows), "image": _part(_image_matrix(images), rows)}
    if len(rows.multi_texts):
        result["multilabel"] = _multilabel(rows, artifacts)
    if options.plots is not None:
        from training.emotion.plots import draw_all

        result["plots"] = draw_all(options.plots, rows, probabilities)
    return result


def _extras(rows: Labelled, probabilities: NDArray[np.float32], abstained: NDArray[np.bool_]) -> dict[str, Any]:
    counts = np.bincount(rows.labels, minlength=len(EMOTIONS))
    majority = np.full_like(rows.labels, counts.argmax())
    right = probabilities.argmax(1) == rows.labels
    answered = ~abstained
    return {
        "excluded": rows.excluded,
        "splits": rows.splits,
        "abstained": {
            "share": round(float(abstained.mean()), 5),
            "accuracy_answered": round(float(right[answered].mean()), 5) if answered.any() else None,
            "accuracy_abstained": round(float(right[abstained].mean()), 5) if abstained.any() else None,
        },
        "majority": {
            "accuracy": round(float((majority == rows.labels).mean()), 5),
            "macro_f1": round(macro_f1(rows.labels, majority), 5),
        },
    }


def _read_text(rows: Labelled, artifacts: Path, source: str | None) -> list[TextReading] | None:
    if rows.texts is None:
        return None
    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")
    return in_batches("texts", lambda part: reader.read(part, source), rows.texts, [len(t) for t in rows.texts])


def _read_images(rows: Labelled, artifacts: Path) -> list[ImageReading | MoodtapeError] | None:
    if rows.pictures is None:
        return None
    from models.emotion.image import ImageMoodReader

    reader = ImageMoodReader.from_pretrained(artifacts / "emotion-image")
    return in_batches("pictures", reader.read, rows.pictures, [len(p) for p in rows.pictures])


def in_batches(title: str, read: Callable[[list[A]], list[B]], items: Sequence[A], sizes: Sequence[int]) -> list[B]:
    """Read many items in batches of like size, with progress; results in the order given."""
    order = np.argsort(sizes, kind="stable")
    out: dict[int, B] = {}
    with progress(title, len(items)) as report:
        for start in range(0, len(items), BATCH):
            part = [int(i) for i in order[start : start + BATCH]]
            out.update(zip(part, read([items[i] for i in part]), strict=True))
            report(len(out))
    return [out[i] for i in range(len(items))]


def _joint(
    texts: list[TextReading] | None, images: list[ImageReading | MoodtapeError] | None, artifacts: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Joint probabilities (n, 7) and who abstained (n)."""
    if images is None:
        assert texts is not None
        return _text_matrix(texts), np.array([t.abstained is not None for t in texts], np.bool_)
    pictures = [None if isinstance(image, MoodtapeError) else image for image in images]
    if texts is None:
        silent = [p is None or p.abstained is not None for p in pictures]
        return _image_matrix(images), np.array(silent, np.bool_)
    fusion = EmotionFusion.from_pretrained(artifacts / "emotion-fusion")
    moods = [fusion.join(text, picture) for text, picture in zip(texts, pictures, strict=True)]
    matrix = np.array([[mood.probabilities[label] for label in EMOTIONS] for mood in moods], np.float32)
    return matrix, np.array([mood.label is None for mood in moods], np.bool_)


def _text_matrix(texts: list[TextReading]) -> NDArray[np.float32]:
    return np.stack([t.probabilities for t in texts])


def _image_matrix(images: list[ImageReading | MoodtapeError]) -> NDArray[np.float32]:
    matrix = np.full((len(images), len(EMOTIONS)), 1 / len(EMOTIONS), np.float32)
    matrix[:, NEUTRAL] += 1e-6
    for row, image in zip(matrix, images, strict=True):
        if not isinstance(image, MoodtapeError) and image.probabilities is not None:
            row[:] = image.probabilities
    return matrix


def _part(probabilities: NDArray[np.float32], rows: Labelled) -> dict[str, Any]:
    return {key: value for key, value in summary(probabilities, rows.labels).items() if isinstance(value, float)}


def _multilabel(rows: Labelled, artifacts: Path) -> dict[str, Any]:
    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")
    claimed = in_batches(
        "several labels",
        lambda part: list(reader.several(part)[1]),
        rows.multi_texts,
        [len(t) for t in rows.multi_texts],
    )
    return {
        "n": len(claimed),
        "macro_f1": round(macro_f1_multilabel(rows.multi, np.stack(claimed).astype(np.float32)), 5),
    }
