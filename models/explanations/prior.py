"""Which words a vector speaks for, whatever their order: a linear reading of it that leads the decoder to its subject.

A ridge regression from the vector to the presence of each frequent token gives p(token | vector); while a text is written,
``strength`` · log(p / its share in all texts) is added to the token's score until it is written (a product of experts).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


def fit(vectors: Tensor, rows: list[list[int]], words: int, least: int = 20, ridge: float = 0.02) -> WordPrior:
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
