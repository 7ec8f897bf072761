"""Small networks on top of an encoder during pretraining; they are thrown away afterwards."""

from __future__ import annotations

from torch import nn


def projector(inputs: int, hidden: int, outputs: int, *, norm_last: bool = False) -> nn.Sequential:
    """Two linear maps with batch norm and ReLU between (SimCLR's head); ``norm_last`` adds a batch norm without scale."""
    layers: list[nn.Module] = [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers.append(nn.Linear(hidden, outputs, bias=not norm_last))
    if norm_last:
        layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)
