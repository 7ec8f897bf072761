"""What is said of groups by date: the decoded mean, the medoid, the nearest training text, and words from noise.

The decoder may speak in the place of the medoid from the round trip on at which its words beat it. That is chosen on
groups of the older half of the held-out days (:func:`choose`) and reported on those of the newer half.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.explanations.explainer import Explainer, Found
from models.explanations.gate import Facts
from runtime.progress import progress
from training.explanations.groups import (
    Counts,
    Group,
    Trigrams,
    averages,
    counted,
    draw,
    medoids,
    nearest,
    similarity,
)
from training.explanations.meaning import Prepared
from training.explanations.texts import Index, embed
from training.metrics import interval

GROUPS, CHOSEN_ON, EXPLAINED, JUDGED = 1000, 200, 200, 100
"""Groups that are reported; those on which the rule is chosen; of the reported ones, those that go through the whole explainer
(drafts, correction, gate), and those that the sentence encoder judges."""

DECODED, MEDOID = "decoded mean", "medoid"

LEAST = 30
"""Fewest groups on which the decoder has to be better."""

Judge = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class Side:
    """Groups of one half of the held-out days. ``texts``: of each group; ``days``: of its first text, in seconds.

    ``said``: the candidates' texts, ``counts``: what they have of their groups; ``found``: what the explainer makes of each
    group, where it was asked.
    """

    groups: list[Group]
    texts: list[list[str]]
    days: NDArray[np.int64]
    said: dict[str, list[str]]
    counts: dict[str, Counts]
    fluency: Trigrams
    found: list[Found] = field(default_factory=list)

    def every(self, step: int) -> Side:
        """Every ``step``-th group with its texts and counts."""
        counts = {name: {key: values[::step] for key, values in own.items()} for name, own in self.counts.items()}
        said = {name: texts[::step] for name, texts in self.said.items()}
        return Side(self.groups[::step], self.texts[::step], self.days[::step], said, counts, self.fluency)


def compare(
    given: Prepared,
    model: Explainer,
    reader: EmotionTextReader,
    judge: Judge | None,
    groups: int = GROUPS,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of each candidate over the reported groups, the rule chosen on the older ones, and what it comes to."""
    older, newer = halves(given)
    before = explained(side(given, model, older, min(CHOSEN_ON, groups), seed), model, reader)
    least = choose(before)
    after = side(given, model, newer, groups, seed)
    inner = explained(after.every(max(1, len(after.groups) // EXPLAINED)), model, reader)
    candidates = {name: averages(counts) for name, counts in after.counts.items()}
    if judge is not None:
        step = max(1, len(after.groups) // JUDGED)
        for name, said in after.said.items():
            candidates[name]["similarity"] = similarity(said[::step], after.texts[::step], judge)
    return {
        "n": len(after.groups),
        "days": [_day(after.days.min()), _day(after.days.max())],
        "candidates": candidates,
        "over_medoid": {name: gain(after, name, np.ones(len(after.groups), dtype=bool)) for name in candidates},
        "chosen_on": {"n": len(before.groups), "days": [_day(before.days.min()), _day(before.days.max())]},
        "shown_from": least,
        "gate": gate(before, inner, least, model.gate.round_trip),
    }


def rule(given: Prepared, model: Explainer, reader: EmotionTextReader, seed: int = 0) -> float | None:
    """The round trip from which this decoder may speak, None where it may not (:func:`choose`)."""
    return choose(explained(side(given, model, halves(given)[0], CHOSEN_ON, seed), model, reader))


def halves(given: Prepared) -> tuple[list[Index], list[Index]]:
    """The held-out headlines and posts of the older and of the newer half of their days."""
    pools = [given.held[given.texts.post[given.held] == post] for post in (False, True)]
    cuts = [np.sort(given.texts.day[pool])[len(pool) // 2] for pool in pools]
    parted = [
        (pool[given.texts.day[pool] < cut], pool[given.texts.day[pool] >= cut])
        for pool, cut in zip(pools, cuts, strict=True)
    ]
    return [old for old, _ in parted], [new for _, new in parted]


def side(given: Prepared, model: Explainer, pools: Sequence[Index], many: int, seed: int) -> Side:
    """Groups of these rows with every candidate's words and counts."""
    groups = draw(given.vectors, pools, many, seed)
    texts = [[given.texts.words[i] for i in group.rows] for group in groups]
    inside = {row for group in groups for row in group.rows}
    fluency = Trigrams([given.texts.words[i] for i in given.held if i not in inside])
    noise = np.random.default_rng(seed).normal(size=(len(groups), given.vectors.shape[1])).astype(np.float32)
    said = {
        DECODED: model.write(np.stack([group.vector for group in groups])),
        MEDOID: [given.texts.words[i] for i in medoids(groups, given.raw)],
        "nearest training text": [given.texts.words[i] for i in nearest(groups, given.vectors, given.train)],
        "unconditional": model.write(noise),
    }
    known = model.gate.known_names
    counts = {name: counted(words, texts, known, fluency) for name, words in said.items()}
    days = np.array([given.texts.day[group.rows[0]].astype("datetime64[s]").astype(np.int64) for group in groups])
    return Side(groups, texts, days, said, counts, fluency)


def explained(given: Side, model: Explainer, reader: EmotionTextReader) -> Side:
    """The same with what the whole explainer makes of each group, its texts being the facts, as the decoded words."""
    found: list[Found] = []
    with progress("explaining groups", len(given.groups)) as report:
        for group, own in zip(given.groups, given.texts, strict=True):
            found.append(model.explain(group.vector, Facts.of(own), lambda drafts: embed(reader, drafts, quiet=True)))
            report(len(found))
    said = [one.text for one in found]
    counts = given.counts | {DECODED: counted(said, given.texts, model.gate.known_names, given.fluency)}
    return replace(given, said=given.said | {DECODED: said}, counts=counts, found=found)


def gain(found: Side, name: str, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """How much more of its groups' words a candidate shares than the medoid, with the 95 % interval over days."""
    values = (found.counts[name]["shared"] - found.counts[MEDOID]["shared"])[chosen]
    known = np.isfinite(values)
    n = int(known.sum())
    if not n:
        return {"n": 0, "shared": None, "interval": None}
    low, high = interval(values[known], np.ones(n), found.days[chosen][known])
    return {"n": n, "shared": round(float(values[known].mean()), 4), "interval": [round(low, 4), round(high, 4)]}


def choose(found: Side) -> float | None:
    """The least round trip from which the decoder's words pass the gate and share more than the medoid's, surely so.

    None where there is no such round trip: then the medoid is shown and the decoder is not tried.
    """
    trips = np.array([one.round_trip if one.withheld is None else -np.inf for one in found.found])
    for least in np.sort(np.unique(np.round(trips[np.isfinite(trips)], 2))):
        better = gain(found, DECODED, trips >= least)
        if better["n"] >= LEAST and better["interval"][0] > 0:
            return float(least)
    return None


def gate(before: Side, after: Side, least: float | None, threshold: float) -> dict[str, Any]:
    """What is withheld of the reported groups, the shown words beside the same groups' medoids, and examples."""
    codes = [one.withheld for one in after.found if one.withheld]
    shown = np.array([one.withheld is None for one in after.found])
    earlier = np.array([one.withheld is None for one in before.found])
    picked = np.flatnonzero(shown)[:20].tolist()
    of_shown = {
        name: averages({key: values[shown] for key, values in after.counts[name].items()}) if shown.any() else None
        for name in (DECODED, MEDOID)
    }
    return {
        "round_trip": threshold,
        "withheld": round(1 - float(shown.mean()), 4),
        "withheld_by": {code: codes.count(code) for code in sorted(set(codes))},
        "passed": of_shown,
        "passed_over_medoid": gain(after, DECODED, shown),
        "passed_over_medoid_when_chosen": gain(before, DECODED, earlier),
        "rule_over_medoid": None
        if least is None
        else gain(after, DECODED, shown & (np.array([one.round_trip for one in after.found]) >= least)),
        "examples": [
            {
                "text": after.found[i].text,
                "round_trip": round(after.found[i].round_trip, 3),
                "group": after.texts[i][:3],
            }
            for i in picked
        ],
    }


def _day(seconds: Any) -> str:
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def write(found: dict[str, Any], folder: Path) -> None:
    """001_meaning.json and a Markdown table beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "001_meaning.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    rows: dict[str, dict[str, Any]] = found["candidates"]
    keys = list(next(iter(rows.values())))
    lines = ["| candidate | " + " | ".join(keys) + " |", "|" + "---|" * (len(keys) + 1)]
    lines += [f"| {name} | " + " | ".join(str(figures[key]) for key in keys) + " |" for name, figures in rows.items()]
    (folder / "001_meaning.md").write_text("\n".join(lines) + "\n")
