"""Where models run and in which precision: a GPU if there is one, half precision where it is multiplied in hardware."""

from __future__ import annotations

import torch


def choose() -> str:
    """``cuda`` or ``cpu``; on a GPU, sums of half-precision products are kept in full precision, as the scan's error needs."""
    if not torch.cuda.is_available():
        return "cpu"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return "cuda"


def half_or_full(device: str) -> torch.dtype:
    """bfloat16 where the device multiplies it, else float32: emulated, it would be several times slower."""
    if device == "cpu":
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if supported else torch.float32


def memory(device: str) -> int:
    """Bytes that tensors hold on the device; 0 on a CPU, where the process's own memory says it."""
    return 0 if device == "cpu" else int(torch.cuda.memory_allocated())
