"""The kind of training set report 002 had: two sets joined so that all seven classes occur, 30,803 texts to train on.

Most classes come from one set, so the set's style gives the label away: diary sentences ("i feel …") for sadness, joy and
fear, forum comments for surprise, neutral and disgust, both for anger.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.emotion import INDEX, Texts, load

FROM_DIARY = ("sadness", "joy", "fear", "anger")
FROM_COMMENTS = ("anger", "surprise", "neutral", "disgust")
SHARES = {"sadness": 581, "joy": 1006, "fear": 456, "anger": 1111, "surprise": 1302, "neutral": 913, "disgust": 166}
"""Class counts of the report's own test set (n = 5,535)."""

TRAIN = 30_803
DROPPED = re.compile(r"\b(?:feel|feeling|like|de|en)\b", re.IGNORECASE)
"""The words that the report took out."""


def mixture(data: Path, splits: tuple[str, ...], total: int, seed: int) -> Texts:
    """Up to ``total`` texts of these official splits in the report's class shares, from the sets it would take them from.

    ``multi`` carries the label as one-hot; a class with too few texts stays short, as GoEmotions' surprise does.
    """
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    labels: list[int] = []
    for source, classes in (("dair", FROM_DIARY), ("goemotions", FROM_COMMENTS)):
        parts = [load(source, split, data).single() for split in splits]
        for name in classes:
            both = name in FROM_DIARY and name in FROM_COMMENTS
            wanted = round(total * SHARES[name] / sum(SHARES.values()) / (2 if both else 1))
            found = [part.texts[i] for part in parts for i in np.flatnonzero(part.labels == INDEX[name])]
            chosen = rng.permutation(len(found))[:wanted]
            texts += [found[i] for i in chosen]
            labels += [INDEX[name]] * len(chosen)
    return joined("mixture", texts, np.array(labels, np.int64)).take(rng.permutation(len(texts)))


def joined(source: str, texts: list[str], labels: NDArray[np.int64]) -> Texts:
    """Texts whose many-hot rows follow from single labels."""
    multi = np.zeros((len(texts), len(INDEX)), np.float32)
    multi[np.arange(len(texts)), labels] = 1
    return Texts(source, texts, labels, multi)


def without_words(texts: Texts) -> Texts:
    """The same texts without the words that the report dropped."""
    return replace(texts, texts=[DROPPED.sub(" ", text) for text in texts.texts])


def halves(texts: Texts, train: int, seed: int) -> tuple[Texts, Texts]:
    """A random split, as the report had: validation was its test."""
    order = np.random.default_rng(seed).permutation(len(texts))
    return texts.take(order[:train]), texts.take(order[train:])
