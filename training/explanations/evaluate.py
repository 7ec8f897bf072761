"""Texts from their vectors by the shipped decoder: teacher-forced, written freely, what the gate withholds, and floors.

``token_accuracy`` is teacher-forced, ``token_accuracy_free`` greedy. ``similarity``: cosine by a sentence encoder that is not
the decoded one. ``direction_agreement`` and ``invented_numbers`` are of the texts shown. ``floors``: the vector zeroed or
exchanged, and, with ``--since``, the nearest earlier text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError, WeightsError
from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.encoders.text import TextEncoder
from models.explanations.explainer import Explainer, Found, load_explainer
from models.explanations.gate import Facts, direction, numbers
from models.manifest import ARTIFACTS
from runtime.progress import progress
from training.explanations import data
from training.explanations.reconstruct import Task, floors, free, teacher_forced, written
from training.explanations.scores import share
from training.explanations.texts import embed, plain
from training.registry import EvaluateOptions

GATED = 200
"""Texts that go through the whole explainer, with its corrections and its gate."""

EARLIER = 5000
"""Earlier texts among which the nearest is looked for, drawn by lot."""

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judge:
    """A sentence encoder by name; means of its tokens, norm 1."""

    encoder: TextEncoder

    @classmethod
    def named(cls, name: str) -> Judge:
        """By transformers id, folder or ``package:``."""
        return cls(TextEncoder.from_name(name, 64).eval())

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Unit vectors float32 (n, width)."""
        _, mean = self.encoder.encode(self.encoder.tokenise(list(texts)))
        found = np.asarray(mean.float().cpu().numpy(), dtype=np.float32)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def run(options: EvaluateOptions) -> dict[str, Any]:
    """Figures of the shipped decoder on texts of the published columns (headline and date, or text and t).

    Raises:
        InputError: no file is given, or it lacks the columns. WeightsError: no decoder ships in these artifacts.
    """
    artifacts = options.artifacts or ARTIFACTS
    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")
    model = load_explainer(artifacts, reader.net.encoder.tokenizer, measured=False)
    if model is None:
        raise WeightsError(f"There is no decoder of explanations in {artifacts.name}.")
    texts, day = read_texts([*options.data, *options.posts])
    since = np.datetime64(options.since.replace(tzinfo=None), "D") if options.since else day.min(initial=day[0])
    scored, earlier = np.flatnonzero(day >= since), np.flatnonzero(day < since)
    if options.limit and len(scored) > options.limit:
        scored = np.sort(np.random.default_rng(options.seed).permutation(scored)[: options.limit])
    if not len(scored):
        raise InputError("No text is left to score: none is newer than --since.")
    earlier = np.random.default_rng(options.seed).permutation(earlier)[:EARLIER]
    chosen = np.concatenate([scored, earlier])
    judge = Judge.named(options.judge)
    return figures(model, reader, [texts[i] for i in chosen], len(scored), judge)


def read_texts(files: Sequence[Path]) -> tuple[list[str], NDArray[np.datetime64]]:
    """Texts and their days from parquet files.

    Raises:
        InputError: no file, or one without a column ``headline`` or ``text``.
    """
    import pandas as pd

    texts: list[str] = []
    days: list[NDArray[np.datetime64]] = []
    for path in files:
        frame = pd.read_parquet(path)
        name = next((column for column in ("headline", "text") if column in frame), None)
        if name is None:
            raise InputError(f"{path.name} has no column headline or text.")
        frame = frame[frame[name].notna()]
        if "date" in frame:
            day = pd.to_datetime(frame["date"], errors="coerce").fillna(pd.Timestamp(0))
        else:
            day = pd.to_datetime(frame["t"], unit="s") if "t" in frame else pd.Series(pd.Timestamp(0), frame.index)
        texts += [str(text) for text in frame[name]]
        days.append(day.to_numpy().astype("datetime64[D]"))
    if not texts:
        raise InputError("Say which texts to score: --data FILE.")
    return texts, np.concatenate(days)


def figures(model: Explainer, reader: EmotionTextReader, texts: list[str], scored: int, judge: Judge) -> dict[str, Any]:
    """All figures; the first ``scored`` texts are scored, the others are what came before."""
    vectors = model.space(embed(reader, texts))
    words = [plain(text) for text in texts]
    ids = reader.tokenise(words)
    rows = data.encoded(model.words, ids, model.net.decoder.shape.positions)
    task = Task(data.Given(vectors), rows, words, model.words, model.tokenizer, model.gate.known_names)
    index = np.arange(scored)
    said = written(model.net, task, index)
    low: dict[str, Any] = dict(floors(model.net, task, index))
    if len(texts) > scored:
        near = scored + (vectors[:scored] @ vectors[scored:].T).argmax(axis=1)
        found = free(task, index, [[token for token in rows[i] if token != 1] for i in near])
        low["nearest"] = {key: found[key] for key in ("token_accuracy_free", "exact", "rouge_l")}
    ours, theirs = [task.words(row) or " " for row in said], [task.words(rows[i]) or " " for i in index]
    similar = float((judge(ours) * judge(theirs)).sum(1).mean())
    accuracy = teacher_forced(model.net, task, index)
    return {
        "n": scored,
        "token_accuracy": accuracy["token_accuracy"],
        **free(task, index, said),
        "similarity": round(similar, 4),
        **gated(model, reader, words[:scored], vectors[:scored]),
        "floors": low,
    }


def gated(model: Explainer, reader: EmotionTextReader, texts: Sequence[str], vectors: Floats) -> dict[str, Any]:
    """What the gate withholds when each text itself is the only fact, and what the shown ones agree with."""
    found: list[Found] = []
    with progress("explaining", min(GATED, len(texts))) as report:
        for text, vector in zip(texts[:GATED], vectors, strict=False):
            found.append(model.explain(vector, Facts.of([text]), lambda drafts: embed(reader, drafts, quiet=True)))
            report(len(found))
    pairs = [(f.text, text) for f, text in zip(found, texts, strict=False) if f.withheld is None]
    ways = [(way, direction(text)) for ours, text in pairs if (way := direction(ours)) is not None]
    reasons = [f.withheld for f in found if f.withheld]
    return {
        "withheld": share([f.withheld is not None for f in found]),
        "withheld_by": {code: reasons.count(code) for code in sorted(set(reasons))},
        "round_trip": round(float(np.mean([f.round_trip for f in found])), 4),
        "direction_agreement": share([true in (way, "mixed") for way, true in ways]),
        "invented_numbers": share([bool(numbers(ours) - numbers(text)) for ours, text in pairs]),
    }
