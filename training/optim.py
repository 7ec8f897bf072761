"""Learning rates by layer, a warm-up schedule, means of weights, and a fit over all rows at once."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

T = TypeVar("T", bound=nn.Module)
_Tensors = tuple[Tensor, ...] | list[Tensor]

_LAYER = re.compile(r"\blayers?\.(\d+)\.")


def groups(
    net: nn.Module, rate: float, head_rate: float, layer_decay: float, body: str = "encoder."
) -> list[dict[str, Any]]:
    """One parameter group per layer: the top layer learns at ``rate``, each one below at ``layer_decay`` of the next.

    Parameters whose name does not begin with ``body`` learn at ``head_rate``.
    """
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    depth = 1 + max((int(m[1]) for name, _ in named if (m := _LAYER.search(name))), default=0)
    by_rate: dict[float, list[Tensor]] = {}
    for name, parameter in named:
        layer = _LAYER.search(name)
        above = depth - 1 - int(layer[1]) if layer else depth
        own = rate * layer_decay**above if name.startswith(body) else head_rate
        by_rate.setdefault(own, []).append(parameter)
    return [{"params": parameters, "lr": own} for own, parameters in by_rate.items()]


def schedule(share: float, warmup: float) -> float:
    """Factor on the peak rate after ``share`` of the run: linear up, cosine down to 2 %."""
    if share < warmup:
        return share / warmup + 1e-3
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def exponential_mean(net: nn.Module, decay: float) -> AveragedModel:
    """A running mean of weights and buffers that forgets the untrained start faster than ``decay`` alone would."""

    def mean(averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, max(1 - decay, 9 / (9 + int(count))))
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(net, multi_avg_fn=mean, use_buffers=True)


def soup(nets: Sequence[T]) -> T:
    """Mean of the weights of networks fine-tuned from one start (Wortsman et al., 2022): one network, no slower."""
    mixed = copy.deepcopy(nets[0])
    states = [net.state_dict() for net in nets]
    mixed.load_state_dict({name: torch.stack([s[name].float() for s in states]).mean(0) for name in states[0]})
    return mixed.eval()


def minimise(
    parameters: Iterable[Tensor], value: Callable[[], Tensor], steps: int = 100, tolerance: float = 1e-9
) -> None:
    """Minimise ``value`` over ``parameters`` in place: L-BFGS over all rows at once, at most ``steps`` iterations."""
    optimiser = torch.optim.LBFGS(
        list(parameters), max_iter=steps, tolerance_change=tolerance, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss = value()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]  # untyped in torch
