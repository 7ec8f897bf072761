"""Pooling and decoder of report 001 in one module: token states to a vector, and the vector back to words."""

from __future__ import annotations

from torch import Tensor, nn

from models.explanations.decoder import DECODERS, Decoder, Shape
from models.explanations.pooling import Pooling


class Autoencoder(nn.Module):
    """Without ``pooling`` the vector itself is given: then this is the decoder of a vector that others made."""

    def __init__(self, shape: Shape, decoder: str, pooling: str | None, states: int = 0) -> None:
        super().__init__()
        self.pooling = Pooling(pooling, states, shape.size, shape.positions) if pooling else None
        signs = self.pooling.signs if self.pooling else None
        self.decoder: Decoder = DECODERS[decoder](shape, signs)

    def vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Sentence vectors (n, size) of token states (n, tokens, width), or the given vectors (n, size) themselves."""
        return states if self.pooling is None else self.pooling(states, mask)

    def forward(self, states: Tensor, mask: Tensor, before: Tensor) -> Tensor:
        """The decoder's hidden states (n, t, width), each from the vector and the true tokens ``before`` (n, t)."""
        hidden: Tensor = self.decoder(self.vectors(states, mask), before)
        return hidden
