"""Token states of a frozen encoder to one sentence vector (report 001).

``first`` takes the first token alone; ``attention`` is the report's weighted sum, z = Σ a · LayerNorm(GELU(Linear(h)));
``coded`` multiplies each term of that sum by a learned ±1 vector of its position, which the decoder undoes, so that the
order of the words has a place in the vector (binding, as in holographic reduced representations, Plate 1995).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

KINDS = ("first", "attention", "coded")


class Signs(nn.Module):
    """A learned ±1 vector for each position; the sign's gradient is passed straight through."""

    def __init__(self, positions: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(positions, size).uniform_(-1, 1))

    def forward(self, count: int) -> Tensor:
        """(count, size) of -1 and 1."""
        soft = self.weight[:count].clamp(-1, 1)
        hard = torch.where(soft >= 0, 1.0, -1.0).to(soft.dtype)
        return soft + (hard - soft).detach()


class Pooling(nn.Module):
    """States (n, tokens, width) with the first token in front and a mask (n, tokens) to vectors (n, size).

    ``signs`` is None unless ``kind`` is ``coded``. At most ``positions`` tokens after the first are read.
    """

    def __init__(self, kind: str, width: int, size: int, positions: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"pooling is one of {', '.join(KINDS)}, not {kind}")
        self.kind, self.positions = kind, positions
        self.lift = nn.Linear(width, size)
        self.norm = nn.LayerNorm(size)
        self.score = nn.Linear(width, 1) if kind != "first" else None
        self.signs = Signs(positions, size) if kind == "coded" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """One vector (n, size) for each text."""
        if self.score is None:
            return self._lifted(states[:, 0])
        states, mask = states[:, 1 : self.positions + 1], mask[:, 1 : self.positions + 1]
        scores = self.score(states).squeeze(2).float().masked_fill(mask == 0, float("-inf"))
        terms = self._lifted(states)
        if self.signs is not None:
            terms = terms * self.signs(terms.shape[1]).to(terms.dtype)
        weights = torch.softmax(scores, dim=1).to(terms.dtype)
        return torch.bmm(weights.unsqueeze(1), terms).squeeze(1)

    def _lifted(self, states: Tensor) -> Tensor:
        lifted: Tensor = self.norm(nnf.gelu(self.lift(states)))
        return lifted
