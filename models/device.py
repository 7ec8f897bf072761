"""Where models run and in which precision: a GPU if there is one, half precision where it is multiplied in hardware."""

from __future__ import annotations

import time
from functools import cache

import torch

PROBE = (256, 384, 1536)
"""Rows, inputs and outputs of the product that is timed: the encoder's widest."""

GAIN = 0.9
"""Half precision must take less than this share of full precision's time to be worth its rounding."""


def choose() -> str:
    """``cuda`` or ``cpu``; on a GPU, sums of half-precision products are kept in full precision, as the scan's error needs."""
    if not torch.cuda.is_available():
        return "cpu"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return "cuda"


def half_or_full(device: str) -> torch.dtype:
    """bfloat16 where the device multiplies it faster, else float32.

    On a CPU both are timed once per process: emulated, half precision is several times slower, and there are processors
    with AVX-512 bf16 and no AMX on which it runs at 0.6 of full precision's speed.
    """
    if device == "cpu":
        faster = torch.ops.mkldnn._is_mkldnn_bf16_supported() and _half_is_faster()
    else:
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if faster else torch.float32


@cache
def _half_is_faster() -> bool:
    rows, inputs, outputs = PROBE
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    with torch.inference_mode():
        return _seconds(x.bfloat16(), weight.bfloat16()) < GAIN * _seconds(x, weight)


def _seconds(x: torch.Tensor, weight: torch.Tensor, times: int = 12) -> float:
    """Of the fastest product: what else the machine does lengthens the others."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        taken.append(time.perf_counter() - started)
    return min(taken)


def memory(device: str) -> int:
    """Bytes that tensors hold on the device; 0 on a CPU, where the process's own memory says it."""
    return 0 if device == "cpu" else int(torch.cuda.memory_allocated())
