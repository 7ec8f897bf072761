"""Pretraining methods, one module each: how views are made and which loss they get, together.

A module offers ``build(encoder, channels, augment, **options) -> Method`` and is found by its place; see
docs/how-to/add-pretraining-method.md. A method owns its encoder: what is saved afterwards is ``method.encoder``.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from torch import Generator, Tensor, nn

from domain.errors import InputError
from models.encoders.series import SeriesEncoder
from models.series.augmentations import Augment


class Method(nn.Module):
    """An encoder with what its pretraining needs."""

    encoder: SeriesEncoder
    sees_labels: bool = False
    """Whether :meth:`loss` is given class names or texts; such a method is not self-supervised."""

    def loss(self, x: Tensor, generator: Generator, partner: Tensor | None = None) -> Tensor:
        """The loss of one batch of series (n, channels, time); everything random comes from ``generator``."""
        raise NotImplementedError

    def after_step(self) -> None:
        """What happens after each step of the optimiser; nothing by default."""


def names() -> list[str]:
    """All methods, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def build(name: str, encoder: SeriesEncoder, channels: int, augment: Augment, **options: Any) -> Method:
    """A method by name around an encoder of series with so many channels.

    Raises:
        InputError: there is no such method or option.
    """
    if name not in names():
        raise InputError(f"There is no pretraining method {name}; there are: {', '.join(names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        method: Method = module.build(encoder, channels, augment, **options)
    except TypeError as error:
        raise InputError(f"The method {name} does not take these options: {error}.") from None
    return method


def projector(inputs: int, hidden: int, outputs: int, *, norm_last: bool = False) -> nn.Sequential:
    """SimCLR's head: two linear maps with batch norm and ReLU between; ``norm_last`` adds a batch norm without scale.

    It stands on top of an encoder during pretraining and is thrown away afterwards.
    """
    layers: list[nn.Module] = [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers.append(nn.Linear(hidden, outputs, bias=not norm_last))
    if norm_last:
        layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)
