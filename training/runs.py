"""A training run on disk: its state, written as a whole and never pickled, its best weights and its log.

``run.safetensors`` holds all that a resumed run needs, ``best.safetensors`` the weights whose monitored figure was best,
``log.jsonl`` losses and figures by step.
"""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from domain.errors import InputError
from models.checkpoint import write_tensors

STATE, BEST, LOG = "run.safetensors", "best.safetensors", "log.jsonl"

DAMAGED = (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError, RuntimeError)
"""What comes of a state that is cut short, or that belongs to another model."""


@dataclass(slots=True)
class Report:
    """How far a run has come: ``position`` batches into ``epoch`` (from 0), and its best evaluation so far."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    evaluated: int = -1
    best: float | None = None
    best_step: int = 0
    best_figures: dict[str, Any] = field(default_factory=dict)
    misses: int = 0
    seconds: float = 0.0


def write_state(folder: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Replace the state of the run in ``folder``; ``about`` is plain JSON and stands in the same file."""
    write_tensors(folder / STATE, tensors, {"progress": json.dumps(about)})


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_state` wrote last.

    Raises:
        InputError: there is nothing to resume in ``folder``, or it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise InputError(f"There is no run to resume in {folder}; start without --resume.")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["progress"])
        return load_file(path), about
    except DAMAGED as error:
        raise InputError(f"The run in {folder} is damaged ({error}); start without --resume.") from None


def begun(folder: Path) -> bool:
    """Whether there is a state to resume."""
    return (folder / STATE).is_file()


def clear(folder: Path) -> None:
    """Remove the weights of a run that nobody resumes; its log stays."""
    for name in (STATE, BEST):
        (folder / name).unlink(missing_ok=True)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fill(module: nn.Module, saved: dict[str, Tensor], expected: Collection[str]) -> None:
    """Load ``saved`` into ``module``; ValueError unless it holds exactly the ``expected`` names."""
    if odd := set(saved) ^ set(expected):
        raise ValueError(f"weights such as {min(odd)} are missing or too many")
    module.load_state_dict(saved, strict=False)


def pack(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's state as named tensors, and its groups as plain JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{key}": torch.as_tensor(value)
        for index, values in state["state"].items()
        for key, value in values.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def unpack(optimizer: Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """Give an optimiser the state that :func:`pack` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    plain = [
        {key: tuple(value) if isinstance(value, list) and key != "params" else value for key, value in group.items()}
        for group in groups
    ]
    optimizer.load_state_dict({"state": state, "param_groups": plain})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # Fused steps read memory in order: a moment must lie as its weight does, for example channels last.
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def append_log(folder: Path, line: dict[str, Any]) -> None:
    """Add a line to the run's log; it has a ``step``."""
    with (folder / LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's log in order: ``step``, ``epoch`` (from 1), and losses or ``figures``."""
    path = folder / LOG
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def trim_log(folder: Path, step: int) -> None:
    """Leave out what the log says of steps after ``step``: they are going to be done again."""
    kept = [line for line in read_log(folder) if line["step"] <= step]
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in kept))


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run in order: ``step``, ``epoch`` and ``figures``, for a card or a plot."""
    return [line for line in read_log(folder) if "figures" in line]


def reseed(*numbers: int) -> None:
    """Seed the generators of torch, numpy and Python from several whole numbers, mixed so that near ones differ."""
    mixed = np.random.SeedSequence(numbers).generate_state(2)
    torch.default_generator.manual_seed(int(mixed[0]))  # torch.manual_seed asks every kind of device, 0.1 ms a step
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # untyped in torch
        torch.cuda.manual_seed_all(int(mixed[0]))
    np.random.seed(mixed[0])
    random.seed(int(mixed[1]))


def frozen(net: nn.Module) -> list[str]:
    """Names of the parameters that are not trained."""
    return [name for name, parameter in net.named_parameters() if not parameter.requires_grad]


def peak_mb() -> int:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Parts:
    """Finished parts of a long reproduction in one JSON file; those made with other options (``tag``) are not taken up."""

    def __init__(self, path: Path, tag: str) -> None:
        kept = json.loads(path.read_text()) if path.is_file() else {}
        self.path, self.tag = path, tag
        self.done: dict[str, Any] = kept["done"] if kept.get("tag") == tag else {}

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The part of that name: from the file, else made now and kept."""
        if key not in self.done:
            self.done[key] = make()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(json.dumps({"tag": self.tag, "done": self.done}, indent=1) + "\n")
            part.replace(self.path)
        return self.done[key]
