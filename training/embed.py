"""Vectors of texts by the text encoder that ships, for recipes and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from domain.types import Floats
from models.manifest import ARTIFACTS
from training.progress import progress

Embed = Callable[[Sequence[str]], Floats]
"""Texts to unit vectors, float32[n, 384]."""

BATCH = 256


def shipped_embed(artifacts: Path = ARTIFACTS) -> Embed:
    """The shared text encoder as a function; texts of like length are read together."""
    from models.emotion import EmotionTextReader

    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")

    def embed(texts: Sequence[str]) -> Floats:
        order = np.argsort([len(t) for t in texts], kind="stable")
        out = np.zeros((len(texts), 384), dtype=np.float32)
        with progress("embedding", len(texts)) as report:
            for start in range(0, len(texts), BATCH):
                part = order[start : start + BATCH]
                out[part] = np.stack([r.embedding for r in reader.read([texts[i] for i in part])])
                report(start + len(part))
        return out

    return embed
