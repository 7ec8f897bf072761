"""What is read from sentence vectors without a decoder: cosines that compare, and which words a vector speaks for.

Most of the product's vectors lie in one narrow cone, where unrelated texts have cosine .9. :class:`Space` takes their mean off
and brings the directions to like spread (whitening with shrinkage), so that a cosine near 0 means unrelated; decoding, means
of groups and the round trip all work on these.

:class:`WordPrior` is a ridge regression from the vector to the presence of each frequent token, p(token | vector): while a
text is written, ``strength`` · log(p / its share in all texts) is added to the token's score until it is written (a product of
experts), which leads the decoder to its subject.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domain.types import Floats

SHRINK = 0.1
"""Share of the mean spread that is added to each direction's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """``centre``: float32[size]; ``matrix``: float32[size, size]."""

    centre: Floats
    matrix: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """Unit vectors float32 (n, size) of vectors (n, size)."""
        moved = (np.asarray(vectors, dtype=np.float32) - self.centre) @ self.matrix
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def fit_space(vectors: Floats) -> Space:
    """The space of training vectors (n, size)."""
    centre = vectors.mean(0)
    spread, directions = np.linalg.eigh(np.cov((vectors - centre).T.astype(np.float64)))
    scale = 1 / np.sqrt(np.maximum(spread, 0) + SHRINK * spread.mean())
    return Space(centre.astype(np.float32), np.asarray((directions * scale) @ directions.T, dtype=np.float32))


LEAST, MOST = 0.1, 0.9
"""A chance is taken to be at least this share of the token's usual one, and at most this."""


@dataclass(frozen=True, slots=True, eq=False)
class WordPrior:
    """``tokens``: int64[k], places in the vocabulary; ``weight``: (size, k); ``centre``: (size,); ``usual``: (k,)."""

    tokens: Tensor
    weight: Tensor
    centre: Tensor
    usual: Tensor
    strength: float = 1.0

    def bonus(self, vectors: Tensor, words: int) -> Tensor:
        """What is added to the scores: (n, words) for vectors (n, size)."""
        chance = self.usual + (vectors - self.centre) @ self.weight
        chance = torch.minimum(torch.maximum(chance, LEAST * self.usual), torch.tensor(MOST))
        out = torch.zeros(len(vectors), words)
        out[:, self.tokens] = self.strength * torch.log(chance / self.usual)
        return out

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        named = {"tokens": self.tokens, "weight": self.weight, "centre": self.centre, "usual": self.usual}
        return {f"prior.{name}": value for name, value in named.items()}

    @classmethod
    def read(cls, tensors: dict[str, Tensor], strength: float) -> WordPrior | None:
        """What :meth:`tensors` wrote, taken out of ``tensors``; None where there is none."""
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith("prior.")}
        if not own:
            return None
        return cls(own["prior.tokens"].long(), own["prior.weight"], own["prior.centre"], own["prior.usual"], strength)


def fit_prior(vectors: Tensor, rows: list[list[int]], words: int, least: int = 20, ridge: float = 0.02) -> WordPrior:
    """The regression on training vectors (n, size) and their token rows; tokens in fewer than ``least`` texts are left out."""
    present = [sorted(set(row)) for row in rows]
    flat = torch.tensor([token for row in present for token in row])
    owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(row) for row in present]))
    counts = torch.bincount(flat, minlength=words)
    counts[:3] = 0  # the marks
    tokens = (counts >= least).nonzero().squeeze(1)
    centre, usual = vectors.mean(0), counts[tokens].float() / len(rows)
    centred = vectors - centre
    sums = torch.zeros(words, vectors.shape[1]).index_add_(0, flat, centred[owner])[tokens]
    gram = centred.T @ centred + ridge * len(rows) * torch.eye(vectors.shape[1]) / vectors.shape[1]
    return WordPrior(tokens, torch.linalg.solve(gram, sums.T), centre, usual)
