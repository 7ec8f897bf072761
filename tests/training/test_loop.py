"""The training loop: a run cut short ends at the same weights, stops early, keeps the best, and says what went wrong."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from domain.errors import InputError
from training.loop import Loop, LoopOptions, Objective
from training.runs import LOG, STATE, evaluations, frozen, read_log

ROOT = Path(__file__).parents[2]
X = torch.linspace(-1, 1, 60).reshape(20, 3)
Y = (X.sum(1, keepdim=True) > 0).float()


def build(
    folder: Path,
    options: LoopOptions,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    at: Callable[[int], None] = lambda step: None,
    plateau: bool = False,
) -> Loop[list[Tensor]]:
    """Dropout, noise, a shuffling loader, momentum, a schedule and an average: all that a resumed run has to get right."""
    torch.set_num_threads(1)  # sums of other threads differ in the last bit
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler: LRScheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    if plateau:
        scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.1)

    def loss(batch: list[Tensor]) -> Tensor:
        at(loop.step)
        x, y = batch
        noise = random.random() * torch.from_numpy(np.random.random(x.shape)).float()
        return nn.functional.binary_cross_entropy_with_logits(net(x + noise), y)

    data = TensorDataset(X, Y)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    loop = Loop(
        net,
        Objective(loss, optimizer, scheduler),
        lambda epoch: DataLoader(data, batch_size=4, shuffle=True),
        folder,
        options,
        evaluate,
        average,
    )
    return loop


def weights(loop: Loop[Any]) -> Tensor:
    return torch.cat([t.flatten().float() for m in (loop.model, loop.averaged()) for t in m.state_dict().values()])


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """kill -9 in mid-epoch, later than the last saved state: weights, average, log and figures end as in a whole run."""
    options = LoopOptions(epochs=3, seed=5, save_every=4, log_every=1, monitor="size")

    def size(net: nn.Module) -> dict[str, float]:
        return {"size": sum(float(p.abs().sum()) for p in net.parameters())}

    whole = build(tmp_path / "whole", options, size)
    whole.run()
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom training.loop import LoopOptions\n"
        "from tests.training import test_loop as t\n"
        f"t.build(Path({str(tmp_path / 'cut')!r}), {options!r}, lambda net: {{'size': 0.0}}, t.dies(at=9)).run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert read_log(tmp_path / "cut")[-1]["step"] == 9
    again = build(tmp_path / "cut", options, size)
    report = again.run(resume=True)
    assert torch.equal(weights(whole), weights(again))
    assert (report.step, report.best) == (15, whole.report.best)
    logs = [[line["step"] for line in read_log(tmp_path / name) if "loss" in line] for name in ("whole", "cut")]
    assert logs[0] == logs[1] == list(range(1, 16))


def dies(at: int) -> Callable[[int], None]:
    """Kill this process at a step, as the kernel does when memory is short."""
    return lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == at else None


def stops(at: int) -> Callable[[int], None]:
    def stop(step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    return stop


def test_a_run_cut_during_evaluation_evaluates_again(tmp_path: Path) -> None:
    """The weights before an evaluation are saved, and the resumed run counts that evaluation once."""
    options = LoopOptions(epochs=2, evaluate_every=3, patience=99, monitor="n")
    seen: list[int] = []

    def evaluate(net: nn.Module) -> dict[str, int]:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {"n": len(seen)}

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, options, evaluate).run()
    loop = build(tmp_path, options, evaluate)
    loop.run(resume=True)
    uncut = build(tmp_path / "uncut", options, lambda net: {"n": 1})
    uncut.run()
    assert [line["step"] for line in evaluations(tmp_path)] == [3, 5, 6, 9, 10]
    assert torch.equal(weights(loop), weights(uncut))


def test_seeds_decide_everything(tmp_path: Path) -> None:
    """The same seed gives the same weights whatever was drawn before, another seed gives others."""
    one, same, other = (build(tmp_path / str(n), LoopOptions(epochs=1, seed=seed)) for n, seed in enumerate((1, 1, 2)))
    one.run()
    torch.rand(17)
    same.run()
    other.run()
    assert torch.equal(weights(one), weights(same))
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("mode", "figures", "best", "steps"), [("max", [1, 3, 2, 1, 9], 3, 20), ("min", [4, 2, 2, 5], 2, 20)]
)
def test_early_stop_keeps_the_best(tmp_path: Path, mode: Any, figures: list[int], best: int, steps: int) -> None:
    """After ``patience`` evaluations without a better figure the run ends; best.safetensors holds the best one's weights."""
    kept: list[dict[str, Tensor]] = []

    def evaluate(net: nn.Module) -> dict[str, float]:
        kept.append({name: value.clone() for name, value in net.state_dict().items()})
        return {"score": figures[len(kept) - 1]}

    options = LoopOptions(epochs=9, monitor="score", mode=mode, patience=2)
    loop = build(tmp_path, options, evaluate)
    report = loop.run()
    assert (report.best, report.best_step, report.step) == (best, 10, steps)
    restored = loop.best(loop.model).state_dict()
    assert all(torch.equal(restored[name], value) for name, value in kept[1].items())
    assert build(tmp_path, options, evaluate).run(resume=True).step == steps


def test_a_figure_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    """A diverged evaluation counts as a miss; the weights before it stay."""
    figures = iter([float("nan"), 1.0, float("inf")])
    report = build(tmp_path, LoopOptions(epochs=3, monitor="a"), lambda net: {"a": next(figures)}).run()
    assert (report.best, report.best_step, report.misses) == (1.0, 10, 1)


def test_the_average_is_what_is_evaluated(tmp_path: Path) -> None:
    """Once there is an average, evaluation reads its weights, in the mode of serving; before, the model's own."""
    seen: list[nn.Module] = []
    options = LoopOptions(epochs=2, average_from=6)
    loop = build(tmp_path, options, lambda net: seen.append(net) or {})  # type: ignore[func-returns-value]
    loop.run()
    assert loop.average is not None
    assert seen == [loop.model, loop.average.module]
    assert not seen[1].training
    assert loop.model.training


def test_bf16_computes_in_half_and_keeps_weights_whole(tmp_path: Path) -> None:
    """The forward pass runs in bfloat16, weights stay float32, and losses are near those of a float32 run."""
    kinds: list[torch.dtype] = []
    half, full = (build(tmp_path / kind, LoopOptions(epochs=2, precision=kind)) for kind in ("bf16", "fp32"))  # type: ignore[arg-type]
    half.model[3].register_forward_hook(lambda module, given, out: kinds.append(out.dtype))  # type: ignore[index]
    half.run()
    full.run()
    assert set(kinds) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    losses = [[line["loss"] for line in read_log(tmp_path / kind)] for kind in ("bf16", "fp32")]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert losses[0] != losses[1]


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """With a limit, the norm of the gradient that the optimiser sees stays within it; without, it does not."""
    norms: dict[float, float] = {}
    for clip in (0.01, 0.0):
        loop = build(tmp_path, LoopOptions(clip=clip, max_steps=1))
        loop.run()
        norms[clip] = float(torch.cat([p.grad.flatten() for p in loop.model.parameters() if p.grad is not None]).norm())
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)
    assert norms[0.0] > 0.05


def test_a_plateau_lowers_the_rate_and_survives_a_cut(tmp_path: Path) -> None:
    """ReduceLROnPlateau follows the monitored figure; a resumed run goes on with the lowered rate."""
    options = LoopOptions(epochs=4, monitor="loss", mode="min")
    loop = build(tmp_path / "whole", options, lambda net: {"loss": 1.0}, plateau=True)
    loop.run()
    cut = build(tmp_path / "cut", options, lambda net: {"loss": 1.0}, stops(at=12), plateau=True)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = build(tmp_path / "cut", options, lambda net: {"loss": 1.0}, plateau=True)
    resumed.run(resume=True)
    rates = [one.objectives[0].optimizer.param_groups[0]["lr"] for one in (loop, resumed)]
    assert rates == pytest.approx([1e-5, 1e-5])
    assert torch.equal(weights(loop), weights(resumed))


def adversaries(folder: Path, at: Callable[[int], None] = lambda step: None) -> Loop[Tensor]:
    """A generator and a discriminator of numbers, each with its optimiser."""
    torch.manual_seed(0)
    nets = nn.ModuleDict({"generator": nn.Linear(2, 1), "discriminator": nn.Linear(1, 1)})
    one, zero = torch.ones(4, 1), torch.zeros(4, 1)
    entropy = nn.functional.binary_cross_entropy_with_logits

    def tell(real: Tensor) -> dict[str, Tensor]:
        at(loop.step)
        fake = nets["generator"](torch.randn(4, 2)).detach()
        right = entropy(nets["discriminator"](real), one)
        return {"loss": right + entropy(nets["discriminator"](fake), zero), "right": right}

    def fool(real: Tensor) -> Tensor:
        return entropy(nets["discriminator"](nets["generator"](torch.randn(4, 2))), one)

    turns = [
        Objective(tell, torch.optim.SGD(nets["discriminator"].parameters(), 0.1, momentum=0.9), name="discriminator"),
        Objective(fool, torch.optim.Adam(nets["generator"].parameters(), 0.1), name="generator"),
    ]
    loop = Loop(nets, turns, lambda epoch: [one * n for n in range(5)], folder, LoopOptions(epochs=3, save_every=2))
    return loop


def test_two_objectives_take_turns_and_resume(tmp_path: Path) -> None:
    """A GAN: both networks move, losses are logged by name, and a cut run ends at the same weights."""
    whole = adversaries(tmp_path / "whole")
    before = weights(whole)
    whole.run()
    assert (weights(whole) != before).all()
    assert set(read_log(tmp_path / "whole")[-1]) >= {"discriminator.loss", "discriminator.right", "generator.loss"}
    with pytest.raises(KeyboardInterrupt):
        adversaries(tmp_path / "cut", stops(at=8)).run()
    resumed = adversaries(tmp_path / "cut")
    resumed.run(resume=True)
    assert torch.equal(weights(whole), weights(resumed))


def pictures(folder: Path, at: Callable[[int], None] = lambda step: None) -> Loop[int]:
    """A convolution whose weights lie channels last, with a fused optimiser."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 1)).to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        at(step)
        return net(torch.rand(8, 3, 3, 3)).square().mean()

    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    options = LoopOptions(save_every=3)
    return Loop(net, Objective(loss, optimizer), lambda epoch: range(9), folder, options)


def test_moments_lie_as_their_weights_do(tmp_path: Path) -> None:
    """Resumed with weights in another memory layout, a fused optimiser still pairs each moment with its weight."""
    whole = pictures(tmp_path / "whole")
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        pictures(tmp_path / "cut", stops(at=5)).run()
    resumed = pictures(tmp_path / "cut")
    resumed.run(resume=True)
    assert torch.equal(weights(whole), weights(resumed))


def test_frozen_weights_may_stay_out_of_the_state(tmp_path: Path) -> None:
    """``unsaved`` keeps what the recipe builds anew out of the file, and the run resumes without it."""

    def run(folder: Path, epochs: int, resume: bool) -> Loop[Any]:
        loop = build(folder, LoopOptions(epochs=epochs, unsaved=("0.weight", "0.bias")))
        for parameter in loop.model[0].parameters():  # type: ignore[index]
            parameter.requires_grad_(False)
        assert frozen(loop.model) == ["0.weight", "0.bias"]
        loop.run(resume)
        return loop

    whole = run(tmp_path / "whole", 2, False)
    run(tmp_path / "cut", 1, False)
    assert torch.equal(weights(whole), weights(run(tmp_path / "cut", 2, True)))
    with safe_open(tmp_path / "cut" / STATE, "pt") as file:
        assert not [name for name in file.keys() if ".0." in name and not name.startswith("optimizer")]  # noqa: SIM118


def test_faults_are_said(tmp_path: Path) -> None:
    """Nothing to resume, a damaged state, another model, an unknown figure, no data, a loss that is no number."""
    with pytest.raises(InputError, match="no run to resume"):
        build(tmp_path, LoopOptions()).run(resume=True)
    with pytest.raises(InputError, match="fp32 or bf16"):
        build(tmp_path, LoopOptions(precision="fp8"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no figure f1; there are: accuracy"):
        build(tmp_path, LoopOptions(monitor="f1"), lambda net: {"accuracy": 1}).run()
    with pytest.raises(InputError, match=r"other settings.*start without --resume"):
        adversaries(tmp_path).run(resume=True)
    (tmp_path / STATE).write_bytes(b"cut short")
    with pytest.raises(InputError, match="damaged"):
        build(tmp_path, LoopOptions()).run(resume=True)
    empty = build(tmp_path, LoopOptions())
    empty.batches = lambda epoch: []
    with pytest.raises(InputError, match="no batch"):
        empty.run()
    broken = build(tmp_path, LoopOptions(log_every=1))
    broken.model[0].weight.data.fill_(torch.inf)  # type: ignore[index, union-attr]
    with pytest.raises(InputError, match="no number by step 1"):
        broken.run()


def test_progress_goes_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each epoch ends with a plain line on standard error; standard output stays empty."""
    build(tmp_path, LoopOptions(epochs=2, title="hype epoch")).run()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"hype epoch 1: 5 of 5.* loss .*\nhype epoch 2: 5 of 5.* loss ", err)
    assert (tmp_path / LOG).is_file()
