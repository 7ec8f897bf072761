"""The hype models' card: every fold beside its baselines, what was left out, and what the forecast is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.hype.features import NAMES
from models.hype.forecast import Head
from training.trajectories.tape import moment


def card(
    heads: Sequence[Head], folds: Mapping[str, list[dict[str, Any]]], measured: Mapping[str, dict[str, Any]]
) -> str:
    """Markdown of all heads."""
    return "\n".join([_HEAD.format(features=len(NAMES)), *(_part(h, folds[h.name], measured[h.name]) for h in heads)])


_HEAD = """# Hype, second generation

Probability that the activity of the next window exceeds its trailing 80th percentile (report 003). For a symbol the activity
is the traded volume per minute, and the percentile is of the windows of that length in the past week. {features} numbers are
looked at; they are defined once, in models/hype/features.py. Each model is calibrated on its own forecasts of earlier folds;
no fold saw anything within a day of its start. Intervals (95 %) draw whole days. Which features there are was chosen with
all folds in view.
"""


def _part(head: Head, folds: list[dict[str, Any]], measured: dict[str, Any]) -> str:
    lines = [_line(fold) for fold in folds]
    verb = "beats" if head.signal else "does not beat"
    others = [
        f"| {told} | {measured[k]['auc']} | {measured[k]['bss']} |" for k, told in _OTHERS.items() if k in measured
    ]
    shown = ", ".join(f"{name} {low} to {high}" for name, (low, high) in measured["intervals"].items())
    return f"""
## {head.name}: {head.model.kind}, the next {head.horizon} minutes

On its latest fold it {verb} persistence (lower end of the interval), so answers carry signal = {head.signal}.

| fold from | rows before | n | base rate | AUC | of level | of persistence | Brier skill | over level | over it | ECE |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Intervals of the last fold: {shown}.

| other fits on the last fold | AUC | Brier skill |
|---|---|---|
{chr(10).join(others)}
"""


_OTHERS = {"placebo": "outcomes dealt out anew (placebo)", "without_posts": "without the counts of posts"}


def _line(m: dict[str, Any]) -> str:
    names = ("n", "base_rate", "auc", "level_auc", "persistence_auc", "bss", "skill_over_level")
    values = [m[name] for name in (*names, "skill_over_persistence", "ece")]
    return f"| {moment(m['from']).date()} | {m['rows']} | " + " | ".join(str(v) for v in values) + " |"
