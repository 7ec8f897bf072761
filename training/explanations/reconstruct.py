"""How well texts come back from their vectors: teacher-forced and free-running, with the floors beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.device import half_or_full
from models.explanations.decoder import END, Autoencoder
from models.explanations.search import Vocabulary, beam, greedy
from training.explanations.data import Index, Inputs, parts, targets
from training.explanations.recipe import noisy
from training.explanations.scores import agreement, bleu, rouge_l, share

Change = Callable[[Tensor], Tensor]
"""What is done to the vectors (n, size) before they are decoded."""

TOP = (1, 3, 5, 10, 15, 25, 50, 100)
"""The k of the report's top-k table."""


@dataclass(frozen=True, slots=True)
class Task:
    """Texts with their inputs and the tokens to be written, and the words that are names."""

    inputs: Inputs
    rows: Sequence[Sequence[int]]
    texts: Sequence[str]
    vocabulary: Vocabulary
    tokenizer: Any
    names: Collection[str]

    def words(self, row: Sequence[int]) -> str:
        """A token row as text."""
        return self.vocabulary.decode(row, self.tokenizer)


def halved() -> torch.autocast:
    """Half precision where this processor multiplies it faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=half_or_full("cpu") == torch.bfloat16)


def vectors(net: Autoencoder, task: Task, index: Index) -> Tensor:
    """Sentence vectors (n, size) of these texts."""
    with torch.inference_mode(), halved():
        batches = (task.inputs.batch(part) for part in parts(index, 256))
        return torch.cat([net.vectors(batch.states, batch.mask).float() for batch in batches])


def teacher_forced(net: Autoencoder, task: Task, index: Index, change: Change | None = None) -> dict[str, Any]:
    """Share of tokens that are among the k likeliest when the true ones before them are given (the report's accuracy)."""
    hits, total = np.zeros(len(TOP)), 0
    given = vectors(net, task, index)
    given = change(given) if change else given
    for at, part in zip(torch.split(torch.arange(len(index)), 256), parts(index, 256), strict=True):
        after, before = targets([task.rows[i] for i in part])
        with torch.inference_mode(), halved():
            hidden = net.decoder(given[at], before)[after >= 0]
            logits = net.decoder.words.logits(hidden)
            ranked = logits.topk(min(TOP[-1], logits.shape[1])).indices
        found = ranked == after[after >= 0].unsqueeze(1)
        hits += np.array([int(found[:, :k].any(1).sum()) for k in TOP])
        total += len(found)
    return {"token_accuracy": round(float(hits[0]) / total, 4), "top_k": [round(float(h) / total, 4) for h in hits]}


def written(
    net: Autoencoder, task: Task, index: Index, change: Change | None = None, width: int = 1
) -> list[list[int]]:
    """Token rows written freely from the texts' vectors: greedily, or by beam search of ``width``."""
    given = vectors(net, task, index)
    given = change(given) if change else given
    rows: list[list[int]] = []
    with halved():
        for part in torch.split(given, 256 // width):
            rows += greedy(net.decoder, part) if width == 1 else beam(net.decoder, part, width)
    return rows


def free(task: Task, index: Index, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Figures of freely written token rows against the true texts."""
    true = [list(task.rows[i]) for i in index]
    same = [[*row, END][: len(gold)] == gold for row, gold in zip(rows, true, strict=True)]
    places = [_hits(row, gold) for row, gold in zip(rows, true, strict=True)]
    ours, theirs = [task.words(row) for row in rows], [task.words(row) for row in true]
    return {
        "token_accuracy_free": round(sum(places) / sum(map(len, true)), 4),
        "exact": share(same),
        "rouge_l": round(float(np.mean([rouge_l(a, b) for a, b in zip(ours, theirs, strict=True)])), 4),
        "bleu": round(bleu(ours, theirs), 4),
        **agreement(ours, theirs, task.names),
    }


def _hits(row: Sequence[int], gold: Sequence[int]) -> int:
    return sum(a == b for a, b in zip([*row, END], gold, strict=False))


def figures(net: Autoencoder, task: Task, index: Index) -> dict[str, Any]:
    """Teacher-forced and greedy figures of a network on these texts."""
    return {
        "n": len(index),
        **teacher_forced(net, task, index),
        **free(task, index, written(net, task, index)),
    }


def floors(net: Autoencoder, task: Task, index: Index) -> dict[str, float]:
    """Teacher-forced accuracy when the vector is zeroed (a language model without it) or another text's."""
    return {
        "zeroed": teacher_forced(net, task, index, torch.zeros_like)["token_accuracy"],
        "shuffled": teacher_forced(net, task, index, lambda given: given.roll(1, 0))["token_accuracy"],
    }


def nearest(
    task: Task, index: Index, train: Index, near: Callable[[Sequence[str], Sequence[str]], Index]
) -> dict[str, Any]:
    """The floor of the nearest training text: ``near`` gives for each text the place of its nearest among others."""
    found = train[near([task.texts[i] for i in index], [task.texts[i] for i in train])]
    return free(task, index, [_unmarked(task.rows[i]) for i in found])


def _unmarked(row: Sequence[int]) -> list[int]:
    return [token for token in row if token != END]


def noise_curve(net: Autoencoder, task: Task, index: Index, levels: Sequence[float]) -> dict[str, float]:
    """Teacher-forced accuracy by the length of the noise relative to the vector's own."""
    generator = torch.Generator().manual_seed(0)
    curve = {}
    for level in levels:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 30, (1,), generator=generator)))
            found = teacher_forced(net, task, index, lambda given, level=level: noisy(given, level))  # type: ignore[misc]  # level is bound
        curve[str(level)] = found["token_accuracy"]
    return curve
