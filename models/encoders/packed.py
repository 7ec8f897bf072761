"""BERT-type inference without padding: all tokens of a batch lie flat, attention runs once per group of equal length.

Matrix products see only real tokens, so a batch of mixed lengths costs what its tokens cost. Half precision halves the
memory traffic again where the processor multiplies bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

ROWS = 8192
"""Most tokens that go through the layers at once; more only spills the caches."""


def packable(model: nn.Module) -> bool:
    """Whether the architecture is one whose layers are read here."""
    kind = getattr(model.config, "model_type", "")
    return kind == "bert" and getattr(model.config, "hidden_act", "") == "gelu"


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    norm1: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]


class PackedEncoder:
    """A frozen copy of a BERT model's layers, ready for inference in ``dtype``."""

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        config = model.config
        self.heads, self.width, self.epsilon = config.num_attention_heads, config.hidden_size, config.layer_norm_eps
        self.embeddings = model.embeddings
        self.device = model.embeddings.word_embeddings.weight.device
        self.layers = [self._copy(layer) for layer in model.encoder.layer]

    def _copy(self, layer: Any) -> _Layer:
        attention, output = layer.attention, layer.attention.output
        projections = (attention.self.query, attention.self.key, attention.self.value)
        weight = torch.cat([p.weight for p in projections])
        bias = torch.cat([p.bias for p in projections])
        return _Layer(
            (self._half(weight), self._half(bias)),
            self._pair(output.dense),
            self._pair(output.LayerNorm),
            self._pair(layer.intermediate.dense),
            self._pair(layer.output.dense),
            self._pair(layer.output.LayerNorm),
        )

    def _half(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.dtype).contiguous()

    def _pair(self, module: Any) -> tuple[Tensor, Tensor]:
        return self._half(module.weight), self._half(module.bias)

    @torch.inference_mode()
    def __call__(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """First-token and mean vectors of the last layer, float32 (n, width) each, in the order given."""
        first, mean = torch.empty(len(ids), self.width), torch.empty(len(ids), self.width)
        for rows in _chunks(ids):
            lengths = [len(ids[i]) for i in rows]
            hidden = self._run([ids[i] for i in rows], lengths).float()
            starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
            sums = torch.segment_reduce(hidden, "sum", lengths=torch.tensor(lengths, device=hidden.device), unsafe=True)
            first[rows] = hidden[starts.to(hidden.device)].cpu()
            mean[rows] = (sums.cpu() / torch.tensor(lengths).unsqueeze(1)).float()
        return first, mean

    def _run(self, ids: list[Sequence[int]], lengths: list[int]) -> Tensor:
        hidden = self._embed(ids, lengths)
        groups = _groups(lengths)
        for layer in self.layers:
            attended = self._attend(F.linear(hidden, *layer.qkv), groups)
            hidden = F.layer_norm(hidden + F.linear(attended, *layer.out), (self.width,), *layer.norm1, self.epsilon)
            inner = F.linear(F.gelu(F.linear(hidden, *layer.up)), *layer.down)
            hidden = F.layer_norm(hidden + inner, (self.width,), *layer.norm2, self.epsilon)
        return hidden

    def _embed(self, ids: list[Sequence[int]], lengths: list[int]) -> Tensor:
        tokens = torch.tensor([token for row in ids for token in row], device=self.device)
        positions = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        e = self.embeddings
        total = e.word_embeddings(tokens) + e.position_embeddings(positions) + e.token_type_embeddings.weight[0]
        return e.LayerNorm(total).to(self.dtype)  # type: ignore[no-any-return]  # transformers is untyped here

    def _attend(self, qkv: Tensor, groups: list[tuple[int, int, int]]) -> Tensor:
        out = torch.empty(qkv.shape[0], self.width, dtype=qkv.dtype, device=qkv.device)
        for start, count, length in groups:
            stop = start + count * length
            q, k, v = qkv[start:stop].view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v)
            out[start:stop] = mixed.transpose(1, 2).reshape(count * length, self.width)
        return out


def _groups(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Runs of equal length as (first token, texts, tokens per text); ``lengths`` is sorted."""
    groups: list[tuple[int, int, int]] = []
    start = index = 0
    while index < len(lengths):
        length = lengths[index]
        count = lengths[index:].count(length)
        groups.append((start, count, length))
        start += count * length
        index += count
    return groups


def _chunks(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices sorted by length, cut so that no chunk holds more than :data:`ROWS` tokens (but at least one text)."""
    chunks: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if not chunks or rows + len(ids[index]) > ROWS:
            chunks.append([])
            rows = 0
        chunks[-1].append(index)
        rows += len(ids[index])
    return chunks
