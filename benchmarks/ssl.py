"""Pretraining steps of the series encoder per second: bfloat16 against float32, the same method, batch and weights.

bfloat16 pays where the processor multiplies it faster; both are timed, and what `precision = "auto"` would take is named.

    python -m benchmarks.ssl [--method vicreg] [--encoder resnet] [--base 64] [--batch 128] [--length 256] [--json]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmarks.report import report
from models.device import half_or_full
from models.encoders.series import build
from models.series import methods
from models.series.augmentations import Augment

VIEWS = [("jitter", 0.5, 1.0), ("time_warp", 0.5, 1.0), ("block_out", 0.1, 0.5)]


class Stepper:
    """One method with its optimiser, stepped in one precision."""

    def __init__(self, arguments: argparse.Namespace, half: bool) -> None:
        torch.manual_seed(0)
        encoder = build(arguments.encoder, 3, base=arguments.base)
        self.method = methods.build(arguments.method, encoder, 3, Augment(VIEWS)).train()
        self.optimizer = torch.optim.AdamW([p for p in self.method.parameters() if p.requires_grad], 1e-3)
        self.x = torch.randn(arguments.batch, 3, arguments.length)
        self.half = half

    def seconds(self) -> float:
        """Processor time of one step (one thread): what else the machine does then hardly counts."""
        started = time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            loss = self.method.loss(self.x, torch.default_generator)
        loss.backward()
        self.optimizer.step()
        self.method.after_step()
        return time.process_time() - started


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="vicreg")
    parser.add_argument("--encoder", default="resnet")
    parser.add_argument("--base", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="the only form; accepted for uniformity")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    half, full = Stepper(arguments, True), Stepper(arguments, False)
    half.seconds(), full.seconds()
    taken = [(half.seconds(), full.seconds()) for _ in range(arguments.steps)]
    ours, peer = (statistics.median(column) for column in zip(*taken, strict=True))
    report(
        ours=1 / ours,
        peer=1 / peer,
        unit="steps/s",
        packages=("torch",),
        auto="bf16" if half_or_full("cpu") == torch.bfloat16 else "fp32",
        parameters=sum(p.numel() for p in half.method.parameters()),
        batch=arguments.batch,
    )


if __name__ == "__main__":
    main()
