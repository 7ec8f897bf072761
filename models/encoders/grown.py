"""A BERT's layers for training without padding: frozen lower ones computed once, upper ones with gradients.

:mod:`models.encoders.packed` serves; its copies of the weights know no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from models.encoders.packed import chunks, groups

_Group = tuple[int, int, int]


@torch.inference_mode()
def lower(model: Any, ids: Sequence[Sequence[int]], depth: int) -> list[Tensor]:
    """bfloat16 states (tokens, width) of each text after the first ``depth`` layers, in the order given."""
    out: list[Tensor] = [torch.empty(0)] * len(ids)
    for rows in chunks(ids):
        lengths = [len(ids[i]) for i in rows]
        e, device = model.embeddings, model.embeddings.word_embeddings.weight.device
        tokens = torch.tensor([token for i in rows for token in ids[i]], device=device)
        places = torch.cat([torch.arange(length, device=device) for length in lengths])
        total = e.word_embeddings(tokens) + e.position_embeddings(places) + e.token_type_embeddings.weight[0]
        with torch.autocast(device.type, torch.bfloat16):
            hidden, runs = e.LayerNorm(total), groups(lengths)
            for layer in model.encoder.layer[:depth]:
                hidden = _layer(model, layer, hidden, runs)
        for i, states in zip(rows, hidden.bfloat16().split(lengths), strict=True):
            out[i] = states.clone()
    return out


def upper(model: Any, hidden: Tensor, lengths: list[int], depth: int, pooling: str) -> Tensor:
    """The layers from ``depth`` on with gradients, from flat states (tokens, width) to pooled vectors (texts, width).

    ``lengths`` of the texts must be in order. With ``first`` pooling the last layer works on the first tokens alone,
    which saves a seventh of the cost of six layers.
    """
    runs = groups(lengths)
    *layers, last = model.encoder.layer[depth:]
    for layer in layers:
        hidden = _layer(model, layer, hidden, runs)
    hidden = _layer(model, last, hidden, runs, first=pooling == "first")
    if pooling == "first":
        return hidden
    parts = [hidden[start : start + n * length].view(n, length, -1).mean(1) for start, n, length in runs]
    return torch.cat(parts)


def _layer(model: Any, layer: Any, hidden: Tensor, runs: list[_Group], first: bool = False) -> Tensor:
    """One transformer layer on flat tokens; with ``first`` only the first token of each text comes out."""
    attention, output = layer.attention, layer.attention.output
    parts = (attention.self.query, attention.self.key, attention.self.value)
    weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
    attended = _attend(F.linear(hidden, weight, bias), runs, model.config.num_attention_heads, first)
    if first:
        hidden = hidden[[start + i * length for start, count, length in runs for i in range(count)]]
    hidden = output.LayerNorm(hidden + output.dense(attended))
    inner = layer.output.dense(F.gelu(layer.intermediate.dense(hidden)))
    return layer.output.LayerNorm(hidden + inner)  # type: ignore[no-any-return]  # transformers is untyped here


def _attend(qkv: Tensor, runs: list[_Group], heads: int, first: bool) -> Tensor:
    parts = []
    for start, count, length in runs:
        block = qkv[start : start + count * length].view(count, length, 3, heads, -1)
        q, k, v = block.permute(2, 0, 3, 1, 4)
        mixed = _mix(q[:, :, :1] if first else q, k, v)
        parts.append(mixed.transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(parts)


def _mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # Not the fused kernel: its backward takes ten times its forward for short texts on a CPU, 30 % of a training step.
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
    return weights.to(v.dtype) @ v
