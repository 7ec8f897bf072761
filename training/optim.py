"""Optimiser groups with layer-wise decay, a warm-up schedule, averaged weights, and runs that can be resumed."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from domain.errors import InputError

T = TypeVar("T", bound=nn.Module)

_LAYER = re.compile(r"\blayers?\.(\d+)\.")


class Rates(Protocol):
    """The learning rates of a recipe."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def head_learning_rate(self) -> float: ...
    @property
    def layer_decay(self) -> float: ...


def groups(net: nn.Module, rates: Rates, body: str = "encoder.") -> list[dict[str, Any]]:
    """One parameter group per layer: the top layer learns at the full rate, each one below at ``layer_decay`` of it."""
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    depth = 1 + max((int(m[1]) for name, _ in named if (m := _LAYER.search(name))), default=0)
    by_rate: dict[float, list[Tensor]] = {}
    for name, parameter in named:
        found = _LAYER.search(name)
        above = depth - 1 - int(found[1]) if found else depth
        rate = rates.learning_rate * rates.layer_decay**above if name.startswith(body) else rates.head_learning_rate
        by_rate.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate, "peak": rate} for rate, parameters in by_rate.items()]


def schedule(share: float, warmup: float) -> float:
    """Factor on the peak rate after ``share`` of the run: linear up, cosine down to 2 %."""
    if share < warmup:
        return share / warmup + 1e-3
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


class Averager:
    """Running mean of the trained weights from one step on; flatter minima carry over better to unseen sources."""

    def __init__(self, net: nn.Module, start: int, every: int = 20) -> None:
        self.start, self.every, self.count = start, every, 0
        self.mean: dict[str, Tensor] = {n: p.detach().clone() for n, p in net.named_parameters() if p.requires_grad}

    def update(self, net: nn.Module, step: int) -> None:
        """Take in the weights after ``step``, if it is one of those averaged."""
        if step < self.start or step % self.every:
            return
        self.count += 1
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name in self.mean:
                    self.mean[name].lerp_(parameter, 1 / self.count)

    def apply(self, net: T) -> T:
        """Put the averaged weights into ``net`` once there are any, and return it."""
        if self.count:
            with torch.no_grad():
                for name, parameter in net.named_parameters():
                    if name in self.mean:
                        parameter.copy_(self.mean[name])
        return net


def soup(nets: Sequence[T]) -> T:
    """Mean of the weights of networks fine-tuned from one start (Wortsman et al., 2022): one network, no slower."""
    mixed = copy.deepcopy(nets[0])
    states = [net.state_dict() for net in nets]
    mixed.load_state_dict({name: torch.stack([s[name].float() for s in states]).mean(0) for name in states[0]})
    return mixed.eval()


def minimise(
    parameters: Iterable[Tensor], value: Callable[[], Tensor], steps: int = 100, tolerance: float = 1e-9
) -> None:
    """Bring ``parameters`` in place to where ``value`` of them is least: L-BFGS over all rows at once, at most ``steps``."""
    optimiser = torch.optim.LBFGS(
        list(parameters), max_iter=steps, tolerance_change=tolerance, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss = value()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]  # untyped in torch


class EarlyStop:
    """Early stop: after ``patience`` epochs without a better score."""

    def __init__(self, patience: int) -> None:
        self.best, self.left, self.patience = -1.0, patience, patience

    def stop(self, score: float) -> bool:
        """Whether to end after an epoch of this score; higher is better."""
        self.left = self.patience if score > self.best else self.left - 1
        self.best = max(self.best, score)
        return self.left <= 0


def save_run(run: Path, net: nn.Module, optimiser: torch.optim.Optimizer, average: Averager, step: int) -> None:
    """Write everything a resumed run needs, without pickle; the file appears whole or not at all."""
    run.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {f"net.{n}": p for n, p in net.named_parameters() if p.requires_grad}
    tensors |= {f"average.{n}": p for n, p in average.mean.items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{key}": torch.as_tensor(value) for key, value in state.items()}
    temporary = run / "run.safetensors.part"
    metadata = {"progress": json.dumps({"step": step, "averaged": average.count})}
    save_file({n: t.detach().contiguous().clone() for n, t in tensors.items()}, temporary, metadata=metadata)
    temporary.replace(run / "run.safetensors")


def load_run(run: Path, net: nn.Module, optimiser: torch.optim.Optimizer, average: Averager) -> int:
    """Restore a run; returns the number of steps done.

    Raises:
        InputError: there is nothing to resume in ``run``.
    """
    from safetensors import safe_open

    path = run / "run.safetensors"
    if not path.is_file():
        raise InputError(f"There is no run to resume in {run}; start without --resume.")
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"net.{name}"])
                average.mean[name].copy_(tensors[f"average.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimiser":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    average.count = int(progress["averaged"])
    return int(progress["step"])
