"""Where models run and in which precision: a GPU if there is one, half precision where it is multiplied in hardware."""

from __future__ import annotations

import importlib
import sys
import time
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch

from domain.types import Floats

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
    """Seconds of the fastest of several products; other load on the machine only lengthens the others."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        taken.append(time.perf_counter() - started)
    return min(taken)


def memory(device: str) -> int:
    """Bytes that tensors hold on the device; 0 on a CPU, where the process's own memory says it."""
    return 0 if device == "cpu" else int(torch.cuda.memory_allocated())


_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def mend_torchvision() -> Any:
    """Make ``import torchvision`` work, once per process; call before the first import of timm or transformers.

    Returns the operator library that must stay alive, or None where torchvision is sound or absent.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return None
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        return _declare_operators()
    return None


def _declare_operators() -> Any:
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # untyped in torch
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)
    importlib.import_module("torchvision")
    return library


def import_transformers() -> ModuleType:
    """The transformers package, imported on a sound torchvision."""
    mend_torchvision()
    return importlib.import_module("transformers")


def import_timm() -> ModuleType:
    """The timm package, imported on a sound torchvision."""
    mend_torchvision()
    return importlib.import_module("timm")


EXACT = 1e-4
"""More than the rounding error of a float32 product of two unit vectors of some hundred dimensions."""

HALF = 6.2e-3
"""More than that of a bfloat16 one: 2⁻⁸ from rounding both vectors (Cauchy–Schwarz), 2⁻⁹ from rounding the result."""

LARGE = 20_000
"""Rows from which the kind of product matters."""


class Scan:
    """Unit vectors (n, d), float32; many of them are scanned by torch on ``device``, in a bfloat16 copy where that is faster.

    ``slack``: the largest error of a product.
    """

    def __init__(self, vectors: Floats, device: str = "cpu") -> None:
        self._vectors = vectors
        self._device = device
        self._many: torch.Tensor | None = None
        if len(vectors) >= LARGE:
            dtype = half_or_full(device) if device == "cpu" else torch.bfloat16
            self._many = torch.from_numpy(vectors).to(device, dtype)
        self.slack = HALF if self._many is not None and self._many.dtype == torch.bfloat16 else EXACT

    def products(self, queries: Floats) -> Floats:
        """float32 (queries, n); each is within ``slack`` of the true product."""
        if self._many is None:
            return np.asarray(queries @ self._vectors.T)
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._device, self._many.dtype)
        return np.asarray((asked @ self._many.T).float().cpu().numpy())


def floor_of(scores: Floats, depth: int) -> float:
    """A value that at least ``depth`` scores reach, close to the ``depth``-th largest; ``len(scores) > depth``.

    The ``depth``-th largest of maxima over groups is one, and costs one pass instead of a partial sort.
    """
    columns = 8 * depth
    if len(scores) >= 2 * columns:
        rows = len(scores) // columns
        scores = scores[: rows * columns].reshape(rows, columns).max(axis=0)
    return float(np.partition(scores, len(scores) - depth)[len(scores) - depth])
