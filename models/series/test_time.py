"""Test-time training (Sun et al., 2020; Gandelsman et al., 2022): a few masked steps on what is to be classified, first."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from models.series.methods.masked import Masked, hide


def adapted(method: Masked, x: Tensor, *, steps: int = 5, rate: float = 1e-3, seed: int = 0) -> Tensor:
    """Vectors (n, width) of series after ``steps`` masked steps on these very series, without labels.

    The method itself is left as it was; batch norm keeps its trained statistics.
    """
    fitted = copy.deepcopy(method).eval()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(fitted.parameters(), rate)
    for _ in range(steps):
        optimiser.zero_grad()
        fitted.error(x, hide(x, fitted.share, fitted.block, generator)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        vectors: Tensor = fitted.encoder(x)
    return vectors
