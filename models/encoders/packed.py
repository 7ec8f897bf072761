"""BERT-type inference without padding: all tokens of a batch lie flat, attention stays within each text.

Matrix products see real tokens only, so a batch of mixed lengths costs what its tokens cost. On a CPU they run over blocks
of a few fixed sizes: these stay in the cache, and oneDNN keeps the 0.6 MB that it compiles per size for tens of sizes
instead of for every batch that ever came. Half precision halves the memory traffic where the processor multiplies bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

import numpy as np
import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from numpy.typing import NDArray
from torch import Tensor, nn

log = structlog.get_logger()

ROWS = 8192
"""Most tokens that go through the layers at once on a CPU; more only spills the caches."""

GPU_ROWS = 65_536
"""The same on a GPU, where a few thousand tokens leave most of it idle; 0.5 GB in bfloat16."""

BLOCK = 256
"""Tokens per matrix product on a CPU: 12 % faster than all at once, and 20 % faster than 64."""

STEP = 16
"""The last block is filled up to a multiple of this, so that there are BLOCK / STEP sizes of it."""

Lengths = NDArray[np.int64]
Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]


def packable(model: nn.Module) -> bool:
    """Whether the architecture is one that :class:`PackedEncoder` can copy."""
    kind = getattr(model.config, "model_type", "")
    return kind == "bert" and getattr(model.config, "hidden_act", "") == "gelu"


class _Linear:
    """``x @ W + b`` and GELU after it where asked; on a CPU the weights are laid out once as oneDNN wants them."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool = False) -> None:
        self.weight = weight.detach().to(dtype).contiguous()
        self.bias = bias.detach().to(dtype).contiguous()
        self.gelu = gelu
        self.laid_out: Tensor | None = None
        if weight.device.type == "cpu" and _lays_out(dtype):
            self.laid_out = torch.ops.mkldnn._reorder_linear_weight(self.weight, BLOCK)

    def __call__(self, x: Tensor) -> Tensor:
        """(tokens, in) to (tokens, out)."""
        if self.laid_out is not None:
            after = "gelu" if self.gelu else "none"
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.laid_out, self.bias, after, [], "none")
            return out
        out = F.linear(x, self.weight, self.bias)
        return F.gelu(out) if self.gelu else out


def _lays_out(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes weights of this kind here; in bfloat16 it wants AVX-512."""
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # untyped in torch


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: _Linear
    out: _Linear
    norm1: tuple[Tensor, Tensor]
    up: _Linear
    down: _Linear
    norm2: tuple[Tensor, Tensor]


class PackedEncoder:
    """A frozen copy of a BERT model's layers, ready for inference in ``dtype`` on the model's device."""

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        config = model.config
        self.heads, self.width, self.epsilon = config.num_attention_heads, config.hidden_size, config.layer_norm_eps
        self.embeddings = model.embeddings
        self.device = model.embeddings.word_embeddings.weight.device
        self.rows, self.block = (ROWS, BLOCK) if self.device.type == "cpu" else (GPU_ROWS, GPU_ROWS)
        self.varlen = varlen_attention(self.device, dtype, self.heads, self.width // self.heads)
        self.layers = [self._copy(layer) for layer in model.encoder.layer]
        self.tokens = self.computed = 0

    def _copy(self, layer: Any) -> _Layer:
        attention, output = layer.attention, layer.attention.output
        parts = (attention.self.query, attention.self.key, attention.self.value)
        return _Layer(
            _Linear(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]), self.dtype),
            _Linear(output.dense.weight, output.dense.bias, self.dtype),
            self._norm(output.LayerNorm),
            _Linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias, self.dtype, gelu=True),
            _Linear(layer.output.dense.weight, layer.output.dense.bias, self.dtype),
            self._norm(layer.output.LayerNorm),
        )

    def _norm(self, module: Any) -> tuple[Tensor, Tensor]:
        return module.weight.detach().to(self.dtype), module.bias.detach().to(self.dtype)

    @torch.inference_mode()
    def __call__(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """First-token and mean vectors of the last layer, float32 (n, width) each, in the order given, on the device."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        order, vectors = [], []
        for rows in cut(lengths, self.rows):
            order.append(rows)
            vectors.append(self._vectors([ids[i] for i in rows.tolist()], lengths[rows]))
        if not order:
            return torch.empty(0, self.width, device=self.device), torch.empty(0, self.width, device=self.device)
        back = self._send(np.argsort(np.concatenate(order)))
        first, mean = (torch.cat(parts)[back] for parts in zip(*vectors, strict=True))
        return first, mean

    def _vectors(self, ids: list[Sequence[int]], lengths: Lengths) -> tuple[Tensor, Tensor]:
        """First-token and mean vectors of one chunk, in its order."""
        hidden = self._run(ids, lengths).float()
        counts = self._send(lengths)
        sums = torch.segment_reduce(hidden, "sum", lengths=counts, unsafe=True)
        return hidden[counts.cumsum(0) - counts], sums / counts.unsqueeze(1)

    def _send(self, numbers: NDArray[Any]) -> Tensor:
        """An array on the device; on a GPU without waiting for what it computes."""
        here = torch.from_numpy(numbers)
        if self.device.type == "cuda":
            return here.pin_memory().to(self.device, non_blocking=True)
        return here.to(self.device)

    def _run(self, ids: list[Sequence[int]], lengths: Lengths) -> Tensor:
        tokens = int(lengths.sum())
        spare = padded(tokens) - tokens
        self.tokens += tokens
        self.computed += tokens + spare
        hidden = self._embed(ids, np.append(lengths, spare))
        attend = self._attention(lengths.tolist(), spare)
        for layer in self.layers:
            qkv = _blockwise(layer.qkv, self.block, hidden)
            hidden = _blockwise(partial(self._mix, layer), self.block, hidden, attend(qkv))
        return hidden[:tokens]

    def _mix(self, layer: _Layer, hidden: Tensor, attended: Tensor) -> Tensor:
        """What follows attention in a layer; each token by itself."""
        hidden = F.layer_norm(hidden + layer.out(attended), (self.width,), *layer.norm1, self.epsilon)
        return F.layer_norm(hidden + layer.down(layer.up(hidden)), (self.width,), *layer.norm2, self.epsilon)

    def _embed(self, ids: list[Sequence[int]], lengths: Lengths) -> Tensor:
        numbers = np.zeros((2, int(lengths.sum())), dtype=np.int64)
        used = numbers.shape[1] - int(lengths[-1])
        numbers[0, :used] = np.fromiter(chain.from_iterable(ids), np.int64, used)
        numbers[1] = np.arange(numbers.shape[1]) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        tokens, positions = self._send(numbers)
        e = self.embeddings
        total = e.word_embeddings(tokens) + e.position_embeddings(positions) + e.token_type_embeddings.weight[0]
        return e.LayerNorm(total).to(self.dtype)  # type: ignore[no-any-return]  # transformers is untyped here

    def _attention(self, lengths: list[int], spare: int) -> Callable[[Tensor], Tensor]:
        """Attention within each text: one kernel for all where the device has it, else once per group of equal length."""
        if self.varlen is not None:
            every = [*lengths, spare] if spare else lengths
            ends = self._send(np.cumsum([0, *every], dtype=np.int32))
            return partial(self._attend_at_once, self.varlen, ends, max(every))
        return partial(self._attend_in_groups, groups(lengths))

    def _attend_at_once(self, kernel: Varlen, ends: Tensor, longest: int, qkv: Tensor) -> Tensor:
        q, k, v = qkv.view(len(qkv), 3, self.heads, -1).unbind(1)
        return kernel(q, k, v, ends, ends, longest, longest).reshape(len(qkv), self.width)

    def _attend_in_groups(self, runs: list[tuple[int, int, int]], qkv: Tensor) -> Tensor:
        out = torch.zeros(len(qkv), self.width, dtype=qkv.dtype, device=qkv.device)
        for start, count, length in runs:
            stop = start + count * length
            q, k, v = qkv[start:stop].view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v)
            out[start:stop] = mixed.transpose(1, 2).reshape(count * length, self.width)
        return out


def _blockwise(work: Callable[..., Tensor], block: int, *given: Tensor) -> Tensor:
    """``work`` over blocks of rows."""
    if len(given[0]) <= block:
        return work(*given)
    return torch.cat([work(*parts) for parts in zip(*(torch.split(each, block) for each in given), strict=True)])


def varlen_attention(device: torch.device, dtype: torch.dtype, heads: int, width: int) -> Varlen | None:
    """Flash attention over texts of different lengths, if this GPU has it and it agrees with the plain way; else None."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = torch.randn(3, 8, heads, width, device=device, dtype=dtype)
        ends = torch.tensor([0, 3, 8], dtype=torch.int32, device=device)
        got = varlen_attn(q, k, v, ends, ends, 5, 5)
        parts = [F.scaled_dot_product_attention(*(x[a:b].transpose(0, 1) for x in (q, k, v))) for a, b in _PROBE]
        torch.testing.assert_close(got, torch.cat(parts, dim=1).transpose(0, 1), atol=0.02, rtol=0.02)
    except (ImportError, RuntimeError, TypeError, AssertionError) as error:
        log.warning("attention runs in groups of equal length", reason=str(error).partition("\n")[0])
        return None
    return cast("Varlen", varlen_attn)


_PROBE = ((0, 3), (3, 8))


def padded(tokens: int) -> int:
    """Rows that the layers compute for so many tokens: the next multiple of :data:`STEP`."""
    return -(-tokens // STEP) * STEP


def groups(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Runs of equal length as (first token, texts, tokens per text); ``lengths`` is sorted."""
    runs: list[tuple[int, int, int]] = []
    start = index = 0
    while index < len(lengths):
        length = lengths[index]
        count = lengths[index:].count(length)
        runs.append((start, count, length))
        start += count * length
        index += count
    return runs


def chunks(ids: Sequence[Sequence[int]], rows: int = ROWS) -> list[list[int]]:
    """Indices sorted by length, cut so that no chunk holds more than ``rows`` tokens (but at least one text)."""
    return [part.tolist() for part in cut(np.fromiter(map(len, ids), np.int64, len(ids)), rows)]


def cut(lengths: Lengths, rows: int) -> list[Lengths]:
    """:func:`chunks` by the texts' lengths."""
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    parts, start = [], 0
    while start < len(order):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + rows, side="right")), start + 1)
        parts.append(order[start:stop])
        start = stop
    return parts
