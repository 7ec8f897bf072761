"""Decoders from one vector to words: autoregressive, one pass, and the recurrent one that report 001 tried first.

:class:`Autoencoder` is a decoder with the pooling before it: token states to a vector, and the vector back to words.

All share :class:`Words`: token embeddings that are also the output layer, over a trimmed vocabulary. A decoder reads its
vector in two ways: added to each position's input (its ±1 code undone first, where the pooling has one), and through
cross-attention to ``slots`` linear readings of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from models.explanations.pooling import Pooling, Signs

START, END = 0, 1
"""Places of the first and the last token's marks in a trimmed vocabulary."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder. ``size``: of the vector; ``words``: of the vocabulary; ``positions``: most tokens it writes."""

    size: int
    words: int
    width: int = 256
    depth: int = 2
    heads: int = 4
    slots: int = 16
    positions: int = 40
    dropout: float = 0.1


class Words(nn.Module):
    """Token embeddings (words, width), used for input and output alike."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.words, shape.width)
        nn.init.normal_(self.embed.weight, std=shape.width**-0.5)
        self.bias = nn.Parameter(torch.zeros(shape.words))
        self.scale = shape.width**0.5
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers (…) to inputs (…, width)."""
        embedded: Tensor = self.embed(tokens) * self.scale
        return embedded

    def features(self, hidden: Tensor) -> Tensor:
        """What the output layer multiplies."""
        ready: Tensor = self.dropout(self.norm(hidden))
        return ready

    def logits(self, hidden: Tensor, rows: Tensor | None = None) -> Tensor:
        """Scores (…, words), or only those of the tokens ``rows``."""
        weight: Tensor = self.embed.weight
        bias: Tensor = self.bias
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
        return nnf.linear(self.features(hidden), weight, bias)


class Reader(nn.Module):
    """The vector as a decoder sees it: an input for each position, and slots for cross-attention."""

    def __init__(self, shape: Shape, signs: Signs | None) -> None:
        super().__init__()
        self.signs = signs
        self.slots, self.width = shape.slots, shape.width
        self.positions = nn.Parameter(torch.randn(shape.positions, shape.width) * 0.1)
        self.norm = nn.LayerNorm(shape.size, elementwise_affine=False)
        self.inward = nn.Linear(shape.size, shape.width)
        self.split = nn.Linear(shape.size, shape.slots * shape.width)
        self.slot_norm = nn.LayerNorm(shape.width)

    def inputs(self, vector: Tensor, count: int, first: int = 0) -> Tensor:
        """(n, size) to (n, count, width) for the positions from ``first`` on."""
        place = self.positions[first : first + count]
        normed = self.norm(vector)
        if self.signs is None:
            return self.inward(normed).unsqueeze(1) + place  # type: ignore[no-any-return]  # Linear gives a Tensor
        signs = self.signs(first + count)[first:].to(normed.dtype)
        return self.inward(normed.unsqueeze(1) * signs) + place  # type: ignore[no-any-return]  # as above

    def memory(self, vector: Tensor) -> Tensor:
        """(n, size) to (n, slots, width)."""
        slots: Tensor = self.slot_norm(self.split(self.norm(vector)).view(len(vector), self.slots, self.width))
        return slots


class Layer(nn.Module):
    """A pre-norm transformer layer with cross-attention; ``cache`` holds the keys and values of earlier positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.self_norm, self.cross_norm, self.wide_norm = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, hidden: Tensor, memory: tuple[Tensor, Tensor], cache: Cache | None, causal: bool) -> Tensor:
        """(n, positions, width) to the same; with a cache, only the positions that are new."""
        q, k, v = self._heads(self.qkv(self.self_norm(hidden)), 3)
        if cache is not None:
            k, v = cache.append(k, v)
        hidden = hidden + self.dropout(self.out(_attend(q, k, v, causal and cache is None)))
        (q,) = self._heads(self.query(self.cross_norm(hidden)), 1)
        hidden = hidden + self.dropout(self.cross_out(_attend(q, *memory, causal=False)))
        wide = nnf.gelu(self.up(self.wide_norm(hidden)))
        changed: Tensor = hidden + self.dropout(self.down(wide))
        return changed

    def remember(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the slots, computed once a text."""
        key, value = self._heads(self.key_value(slots), 2)
        return key, value

    def _heads(self, mixed: Tensor, parts: int) -> tuple[Tensor, ...]:
        n, count, _ = mixed.shape
        return mixed.view(n, count, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class Cache:
    """Keys and values of the positions written so far, (n, heads, positions, width / heads)."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All positions with the new ones last."""
        self.key = key if self.key is None else torch.cat([self.key, key], dim=2)
        self.value = value if self.value is None else torch.cat([self.value, value], dim=2)
        return self.key, self.value

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order (repeats allowed): beam search branches so."""
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key[rows], self.value[rows]


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Plain attention: on a CPU the fused kernel's backward pass takes ten times its forward for short texts."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    mixed = torch.softmax(scores, dim=-1).to(v.dtype) @ v
    return mixed.transpose(1, 2).flatten(2)


@dataclass(slots=True)
class Progress:
    """A text being written: the vector, its memory for each layer, the caches, and how many tokens stand."""

    vector: Tensor
    memory: list[tuple[Tensor, Tensor]]
    caches: list[Cache]
    hidden: Tensor | None = None
    done: int = 0

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order, of everything."""
        self.vector = self.vector[rows]
        self.memory = [(key[rows], value[rows]) for key, value in self.memory]
        for cache in self.caches:
            cache.reorder(rows)
        if self.hidden is not None:
            self.hidden = self.hidden[:, rows]


class Autoregressive(nn.Module):
    """Masked self-attention over the tokens before, and cross-attention to the vector (the report's decoder B)."""

    one_pass = False

    def __init__(self, shape: Shape, signs: Signs | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.words, self.reader = Words(shape), Reader(shape, signs)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.depth))

    def forward(self, vector: Tensor, before: Tensor) -> Tensor:
        """Vectors (n, size) and the true tokens before each position (n, t) to hidden states (n, t, width)."""
        hidden: Tensor = self.words(before) + self.reader.inputs(vector, before.shape[1])
        slots = self.reader.memory(vector)
        for layer in self.layers:
            hidden = layer(hidden, layer.remember(slots), None, causal=not self.one_pass)  # type: ignore[operator]
        return hidden

    def begin(self, vector: Tensor) -> Progress:
        """Ready to write one text for each vector (n, size)."""
        slots = self.reader.memory(vector)
        memory = [layer.remember(slots) for layer in self.layers]  # type: ignore[operator]  # our own Layer
        return Progress(vector, memory, [Cache() for _ in self.layers])

    def step(self, state: Progress, last: Tensor) -> Tensor:
        """Logits (n, words) of the next token after ``last`` (n,)."""
        hidden = self.words(last).unsqueeze(1) + self.reader.inputs(state.vector, 1, state.done)
        for layer, memory, cache in zip(self.layers, state.memory, state.caches, strict=True):
            hidden = layer(hidden, memory, cache, causal=True)
        state.done += 1
        return self.words.logits(hidden[:, 0])


class OnePass(Autoregressive):
    """All tokens at once from the vector and the positions (the report's decoder A); reads no token before."""

    one_pass = True

    def forward(self, vector: Tensor, before: Tensor) -> Tensor:
        """As the autoregressive one, but what stands in ``before`` is not read and all positions are computed."""
        hidden = self.reader.inputs(vector, self.shape.positions)
        slots = self.reader.memory(vector)
        for layer in self.layers:
            hidden = layer(hidden, layer.remember(slots), None, causal=False)  # type: ignore[operator]  # our own Layer
        return hidden[:, : before.shape[1]]


class Recurrent(nn.Module):
    """A gated recurrent network that is given the vector at each step."""

    one_pass = False

    def __init__(self, shape: Shape, signs: Signs | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.words, self.reader = Words(shape), Reader(shape, signs)
        self.start = nn.Linear(shape.size, shape.width)
        self.net = nn.GRU(shape.width, shape.width, batch_first=True)

    def forward(self, vector: Tensor, before: Tensor) -> Tensor:
        """Vectors (n, size) and the true tokens before each position (n, t) to hidden states (n, t, width)."""
        given = self.words(before) + self.reader.inputs(vector, before.shape[1])
        hidden, _ = self.net(given, self._first(vector).to(given.dtype))
        return hidden  # type: ignore[no-any-return]  # untyped in torch

    def _first(self, vector: Tensor) -> Tensor:
        return torch.tanh(self.start(self.reader.norm(vector))).unsqueeze(0).contiguous()

    def begin(self, vector: Tensor) -> Progress:
        """Ready to write one text for each vector (n, size)."""
        return Progress(vector, [], [], self._first(vector))

    def step(self, state: Progress, last: Tensor) -> Tensor:
        """Logits (n, words) of the next token after ``last`` (n,)."""
        given = self.words(last).unsqueeze(1) + self.reader.inputs(state.vector, 1, state.done)
        hidden, state.hidden = self.net(given, state.hidden.contiguous() if state.hidden is not None else None)
        state.done += 1
        return self.words.logits(hidden[:, 0])


DECODERS: dict[str, Any] = {"autoregressive": Autoregressive, "one_pass": OnePass, "recurrent": Recurrent}
Decoder = Autoregressive | Recurrent


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
