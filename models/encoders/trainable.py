"""A BERT's layers for training without padding: frozen lower ones computed once, upper ones with gradients.

:mod:`models.encoders.packed` does the same for inference, on copies of the weights that have no gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor

from models.encoders.packed import chunks, groups, varlen_attention

_Group = tuple[int, int, int]
_Attend = Callable[[Tensor], Tensor]
_flash = cache(varlen_attention)


@torch.inference_mode()
def lower(model: Any, ids: Sequence[Sequence[int]], depth: int) -> list[Tensor]:
    """bfloat16 states (tokens, width) of each text after the first ``depth`` layers, in the order given, in main memory."""
    out: list[Tensor] = [torch.empty(0)] * len(ids)
    for rows in chunks(ids):
        lengths = [len(ids[i]) for i in rows]
        e, device = model.embeddings, model.embeddings.word_embeddings.weight.device
        tokens = torch.tensor([token for i in rows for token in ids[i]], device=device)
        places = torch.cat([torch.arange(length, device=device) for length in lengths])
        total = e.word_embeddings(tokens) + e.position_embeddings(places) + e.token_type_embeddings.weight[0]
        with torch.autocast(device.type, torch.bfloat16):
            hidden, attend = e.LayerNorm(total), _attention(model, lengths, device)
            for layer in model.encoder.layer[:depth]:
                hidden = _layer(layer, hidden, attend)
        for i, states in zip(rows, hidden.bfloat16().cpu().split(lengths), strict=True):
            out[i] = states.clone()
    return out


def upper(model: Any, hidden: Tensor, lengths: list[int], depth: int, pooling: str) -> Tensor:
    """The layers from ``depth`` on with gradients, from flat states (tokens, width) to pooled vectors (texts, width).

    ``lengths`` of the texts must be in order. With ``first`` pooling the last layer works on the first tokens alone,
    which saves a seventh of the cost of six layers.
    """
    runs = groups(lengths)
    attend = _attention(model, lengths, hidden.device)
    *layers, last = model.encoder.layer[depth:]
    for layer in layers:
        hidden = _layer(layer, hidden, attend)
    if pooling == "first":
        rows = [start + i * length for start, count, length in runs for i in range(count)]
        return _layer(last, hidden, partial(_attend, runs, model.config.num_attention_heads, True), rows)
    hidden = _layer(last, hidden, attend)
    parts = [hidden[start : start + n * length].view(n, length, -1).mean(1) for start, n, length in runs]
    return torch.cat(parts)


def _layer(layer: Any, hidden: Tensor, attend: _Attend, rows: list[int] | None = None) -> Tensor:
    """One transformer layer on flat tokens; with ``rows`` only these tokens come out, as from ``attend``."""
    attention, output = layer.attention, layer.attention.output
    parts = (attention.self.query, attention.self.key, attention.self.value)
    weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
    attended = attend(F.linear(hidden, weight, bias))
    if rows is not None:
        hidden = hidden[rows]
    hidden = output.LayerNorm(hidden + output.dense(attended))
    inner = layer.output.dense(F.gelu(layer.intermediate.dense(hidden)))
    return layer.output.LayerNorm(hidden + inner)  # type: ignore[no-any-return]  # transformers is untyped here


def _attention(model: Any, lengths: list[int], device: torch.device) -> _Attend:
    """Attention within each text: one kernel for all in half precision on a GPU that has it, else by groups of one length."""
    heads = model.config.num_attention_heads
    apart = partial(_attend, groups(lengths), heads, False)
    kernel = _flash(device, torch.bfloat16, heads, model.config.hidden_size // heads)
    if kernel is None:
        return apart
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    longest = max(lengths)

    def at_once(qkv: Tensor) -> Tensor:
        if qkv.dtype != torch.bfloat16:
            return apart(qkv)
        q, k, v = qkv.view(len(qkv), 3, heads, -1).unbind(1)
        return kernel(q, k, v, ends, ends, longest, longest).flatten(1)

    return at_once


def _attend(runs: list[_Group], heads: int, first: bool, qkv: Tensor) -> Tensor:
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
