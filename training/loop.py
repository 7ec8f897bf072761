"""The one training loop and the one form of a run: any model and loss, resumable to the same weights.

    loop = Loop(net, Objective(loss, optimizer, scheduler), batches, folder, LoopOptions(epochs=3), evaluate)
    report = loop.run(resume=False)

``loss(batch)`` computes what is minimised; ``batches(epoch)`` gives one epoch's batches, best as row numbers that the loss
looks up, because a resumed run draws and drops those it has done; ``evaluate(net)`` returns figures by name. Several
objectives, each with its optimiser, take turns on every batch (a GAN).

The files of a run are those of training/runs.py. Random numbers of a step depend on the seed and the step alone, so that
no generator has to be saved: draw from the global ones of torch, numpy or Python.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from domain.errors import InputError
from models.checkpoint import write_tensors
from runtime.progress import progress
from training import runs

_EPOCH, _STEP, _EVALUATION = range(3)
"""What random numbers are drawn for; each has a stream of its own."""

M = TypeVar("M", bound=nn.Module)
B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Batches(Protocol[B_co]):
    """One epoch's batches: a list, a range, a DataLoader."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[B_co]: ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How a run is trained.

    ``max_steps``: 0 for no limit. ``clip``: largest gradient norm of an objective, 0 for none. ``monitor``: the figure that
    chooses the best weights, ``mode`` its good direction; ``patience``: evaluations without a better one before the run
    stops, 0 for never. ``evaluate_every``, ``save_every``, ``log_every``: in steps; an epoch's end is evaluated and saved in
    any case. ``average_from``, ``average_every``: the steps whose weights enter the average. ``unsaved``: names of frozen
    weights that the recipe builds anew, to keep the state small (:func:`training.runs.frozen`).
    """

    epochs: int = 1
    max_steps: int = 0
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    clip: float = 1.0
    monitor: str = ""
    mode: Literal["max", "min"] = "max"
    patience: int = 0
    evaluate_every: int = 0
    save_every: int = 250
    log_every: int = 10
    average_from: int = 0
    average_every: int = 1
    unsaved: Collection[str] = ()
    title: str = "epoch"


@dataclass(frozen=True, slots=True)
class Objective(Generic[B]):
    """A loss, the optimiser that brings it down, and the schedule of its rate (ReduceLROnPlateau follows ``monitor``).

    The loss is a scalar, or several by name of which ``loss`` is minimised and the others are logged.
    """

    loss: Callable[[B], Tensor | Mapping[str, Tensor]]
    optimizer: Optimizer
    scheduler: LRScheduler | None = None
    name: str = ""


class Loop(Generic[B]):
    """Trains ``model``; ``average``, where given, takes in its weights and is what gets evaluated and kept as the best."""

    def __init__(
        self,
        model: nn.Module,
        objectives: Objective[B] | Sequence[Objective[B]],
        batches: Callable[[int], Batches[B]],
        folder: Path,
        options: LoopOptions,
        evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
        average: AveragedModel | None = None,
    ) -> None:
        if options.precision not in ("fp32", "bf16"):
            raise InputError(f"precision is fp32 or bf16, not {options.precision}.")
        self.model, self.batches, self.folder, self.options = model, batches, folder, options
        self.objectives = [objectives] if isinstance(objectives, Objective) else list(objectives)
        self.evaluate, self.average = evaluate, average
        self.report = runs.Report()
        self._sums: dict[str, Tensor] = {}
        self._since = 0
        self._began = time.monotonic()

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.report.step

    def averaged(self) -> Any:
        """The averaged network once there is an average, else the model itself."""
        return self.average.module if self.average is not None and int(self.average.n_averaged) else self.model

    def run(self, resume: bool = False) -> runs.Report:
        """Train to the end; with ``resume`` from the saved state on, else afresh in an emptied run folder.

        Raises:
            InputError: nothing to resume, a state of another model, no batches, or a loss that is no number.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._restore()
        else:
            runs.clear(self.folder)
            (self.folder / runs.LOG).unlink(missing_ok=True)
        self._began = time.monotonic() - self.report.seconds
        while not self._ended():
            self._epoch()
        return self.report

    def best(self, net: M) -> M:
        """Put the weights whose monitored figure was best so far into ``net``, for example the model, and return it."""
        net.load_state_dict(load_file(self.folder / runs.BEST))
        return net

    def _ended(self) -> bool:
        done, options = self.report, self.options
        stopped = bool(options.patience) and done.misses >= options.patience
        return stopped or done.epoch >= options.epochs or 0 < options.max_steps <= done.step

    def _epoch(self) -> None:
        done, options = self.report, self.options
        runs.reseed(options.seed, _EPOCH, done.epoch)
        batches = self.batches(done.epoch)
        if not len(batches):
            raise InputError("There is nothing to train on: the data make no batch.")
        if done.position and self._due():
            self._evaluate()
        self.model.train()
        with progress(f"{options.title} {done.epoch + 1}", len(batches)) as report:
            for position, batch in enumerate(self._drawn(batches, done.step - done.position)):
                if position < done.position:
                    continue
                if self._ended():
                    break
                self._step(batch)
                if done.step % options.log_every == 0 or done.position == len(batches):
                    report(done.position, self._note())
                if self._due():
                    self._evaluate()
                    self._save()
                elif done.step % options.save_every == 0:
                    self._save()
            whole = done.position >= len(batches)
        self._evaluate()
        if whole:
            done.epoch, done.position = done.epoch + 1, 0
        self._save()

    def _due(self) -> bool:
        every = self.options.evaluate_every
        return self.evaluate is not None and every > 0 and self.step % every == 0

    def _drawn(self, batches: Batches[B], first: int) -> Iterator[B]:
        source = iter(batches)
        for number in range(len(batches)):
            runs.reseed(self.options.seed, _STEP, first + number)
            yield next(source)

    def _step(self, batch: B) -> None:
        place = next(self.model.parameters()).device.type
        for objective in self.objectives:
            self.model.zero_grad(set_to_none=True)
            with torch.autocast(place, torch.bfloat16, enabled=self.options.precision == "bf16"):
                given = objective.loss(batch)
            losses = {"loss": given} if isinstance(given, Tensor) else given
            losses["loss"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
            if self.options.clip:
                owned = [p for group in objective.optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(owned, self.options.clip)
            objective.optimizer.step()
            if objective.scheduler is not None and not isinstance(objective.scheduler, ReduceLROnPlateau):
                objective.scheduler.step()
            for name, value in losses.items():
                key = f"{objective.name}.{name}" if objective.name else name
                self._sums[key] = self._sums.get(key, 0) + value.detach()
        self.report.step += 1
        self.report.position += 1
        self._since += 1
        step, options = self.report.step, self.options
        if self.average is not None and step >= options.average_from and step % options.average_every == 0:
            self.average.update_parameters(self.model)

    def _note(self) -> str:
        """Log the mean losses since the last line; reading them waits for a GPU, so it is not done at every step."""
        means = {name: float(total) / self._since for name, total in self._sums.items()}
        self._sums, self._since = {}, 0
        if not all(map(math.isfinite, means.values())):
            raise InputError(f"The loss is no number by step {self.step}; lower the learning rate or look at the data.")
        rate = self.objectives[0].optimizer.param_groups[0]["lr"]
        self._log({"rate": float(rate), **means})
        return " ".join(f"{name} {value:.3f}" for name, value in means.items())

    def _evaluate(self) -> None:
        done, options = self.report, self.options
        if self.evaluate is None or done.evaluated == done.step:
            return
        self._save()
        runs.reseed(options.seed, _EVALUATION, done.step)
        net = self.averaged()
        with torch.no_grad():
            figures = dict(self.evaluate(net.eval()))
        self.model.train()
        done.evaluated = done.step
        if options.monitor:
            self._compare(net, figures)
        self._log({"figures": figures})

    def _compare(self, net: nn.Module, figures: dict[str, Any]) -> None:
        done, options = self.report, self.options
        if options.monitor not in figures:
            raise InputError(f"The evaluation has no figure {options.monitor}; there are: {', '.join(figures)}.")
        value = float(figures[options.monitor])
        for objective in self.objectives:
            if isinstance(objective.scheduler, ReduceLROnPlateau):
                objective.scheduler.step(value)
        sign = 1 if options.mode == "max" else -1
        done.misses += 1
        if math.isfinite(value) and (done.best is None or sign * value > sign * done.best):
            done.best, done.best_step, done.best_figures, done.misses = value, done.step, figures, 0
            write_tensors(self.folder / runs.BEST, net.state_dict(), {"step": str(done.step)})

    def _log(self, line: dict[str, Any]) -> None:
        runs.append_log(self.folder, {"step": self.step, "epoch": self.report.epoch + 1, **line})

    def _saved(self, module: nn.Module) -> dict[str, Tensor]:
        left_out = {*self.options.unsaved, *(f"module.{name}" for name in self.options.unsaved)}
        return {name: value for name, value in module.state_dict().items() if name not in left_out}

    def _save(self) -> None:
        """Write everything a resumed run needs; the file appears whole or not at all."""
        self.report.seconds = round(time.monotonic() - self._began, 1)
        tensors = {f"model.{name}": value for name, value in self._saved(self.model).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self._saved(self.average).items()}
        about: dict[str, Any] = {"report": asdict(self.report), "groups": [], "schedulers": []}
        for number, objective in enumerate(self.objectives):
            own, groups = runs.pack(objective.optimizer)
            tensors |= {f"optimizer.{number}.{name}": value for name, value in own.items()}
            about["groups"].append(groups)
            about["schedulers"].append(objective.scheduler.state_dict() if objective.scheduler else None)
        runs.write_state(self.folder, tensors, about)

    def _restore(self) -> None:
        tensors, about = runs.read_state(self.folder)
        try:
            runs.fill(self.model, runs.below(tensors, "model."), self._saved(self.model))
            if self.average is not None:
                runs.fill(self.average, runs.below(tensors, "average."), self._saved(self.average))
            for number, objective in enumerate(self.objectives):
                own = runs.below(tensors, f"optimizer.{number}.")
                runs.unpack(objective.optimizer, own, about["groups"][number])
                if objective.scheduler is not None:
                    objective.scheduler.load_state_dict(about["schedulers"][number])
            self.report = runs.Report(**about["report"])
        except runs.DAMAGED as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise InputError(
                f"The run in {self.folder} is of another model or other settings ({reason}); start without --resume."
            ) from None
        runs.trim_log(self.folder, self.step)
