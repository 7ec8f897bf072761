"""What is said of 1,000 groups by date: the decoded mean, the medoid, the nearest training text, and words from noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.explanations.explainer import Explainer
from models.explanations.gate import Facts, direction, numbers
from training.explanations.groups import Group, Trigrams, draw, judged, medoids, nearest, similarity
from training.explanations.meaning import Prepared, embed
from training.explanations.scores import share

GROUPS, JUDGED, CORRECTED = 1000, 150, 300
"""Groups that are counted; of these, judged by the sentence encoder; and explained with corrections and the gate."""

Judge = Callable[[Sequence[str]], Floats]


def compare(
    given: Prepared, model: Explainer, reader: EmotionTextReader, judge: Judge | None, seed: int = 0
) -> dict[str, Any]:
    """Figures of each candidate over the same groups of held-out texts, and what the gate does with the decoded ones."""
    pools = [given.held[given.texts.post[given.held] == post] for post in (False, True)]
    groups = draw(given.vectors, pools, GROUPS, seed)
    texts = [[given.texts.words[i] for i in group.rows] for group in groups]
    inside = {row for group in groups for row in group.rows}
    fluency = Trigrams([given.texts.words[i] for i in given.held if i not in inside])
    candidates = {
        "decoded mean": model.write(np.stack([group.vector for group in groups])),
        "medoid": [given.texts.words[i] for i in medoids(groups, given.vectors)],
        "nearest training text": [given.texts.words[i] for i in nearest(groups, given.vectors, given.train)],
        "unconditional": model.write(np.random.default_rng(seed).normal(size=(len(groups), 384)).astype(np.float32)),
    }
    known = model.gate.known_names
    found: dict[str, Any] = {}
    for name, said in candidates.items():
        found[name] = judged(said, texts, known, fluency)
        if judge is not None:
            found[name]["similarity"] = similarity(said[:: _step(groups)], texts[:: _step(groups)], judge)
    found["gate"] = gate(model, reader, groups, texts)
    return found


def _step(groups: Sequence[Group]) -> int:
    return max(1, len(groups) // JUDGED)


def gate(
    model: Explainer, reader: EmotionTextReader, groups: Sequence[Group], texts: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Share withheld of every third group's explanation, by code; the shown ones' agreement with the group's texts."""
    step = max(1, len(groups) // CORRECTED)
    shown, reasons = [], []
    for group, own in zip(groups[::step], texts[::step], strict=True):
        found = model.explain(group.vector, Facts.of(own), lambda drafts: embed(reader, drafts, quiet=True))
        reasons.append(found.withheld)
        if found.withheld is None:
            shown.append((found, own))
    ways = [(way, {direction(text) for text in own}) for found, own in shown if (way := direction(found.text))]
    codes = [code for code in reasons if code]
    return {
        "n": len(reasons),
        "withheld": share([code is not None for code in reasons]),
        "withheld_by": {code: codes.count(code) for code in sorted(set(codes))},
        "direction_agreement": share([way in true or "mixed" in true for way, true in ways]),
        "with_direction": len(ways),
        "invented_numbers": share([bool(numbers(f.text) - set().union(*map(numbers, own))) for f, own in shown]),
        "examples": [
            {"text": f.text, "round_trip": round(f.round_trip, 3), "group": list(own[:3])} for f, own in shown[:20]
        ],
    }


def write(found: dict[str, Any], folder: Path) -> None:
    """001_meaning.json and a Markdown table beside it."""
    (folder / "001_meaning.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    rows = {name: figures for name, figures in found.items() if name != "gate"}
    keys = list(next(iter(rows.values())))
    lines = ["| candidate | " + " | ".join(keys) + " |", "|" + "---|" * (len(keys) + 1)]
    lines += [f"| {name} | " + " | ".join(str(figures[key]) for key in keys) + " |" for name, figures in rows.items()]
    (folder / "001_meaning.md").write_text("\n".join(lines) + "\n")
