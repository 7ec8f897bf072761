"""The tables of report 004 as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("probe", "knn", "few_shot", "fine_tune")


def markdown(result: Mapping[str, Any]) -> str:
    """Gestures, gains with intervals, the other sets, transfer, test-time training and candles."""
    lines = ["# Report 004: pretraining of series encoders", ""]
    lines += [
        f"Seeds {result['seeds']}{' (quick)' if result['quick'] else ''}; means over seeds, 95 % intervals by Student's t.",
        "",
    ]
    lines += ["The report prints no figure of its own. Published on UWaveGestureLibrary: "]
    lines[-1] += ", ".join(f"{name} {value}" for name, value in result["published"].items()) + "."
    lines += [
        "",
        "## UWaveGestureLibrary",
        "",
        "| | probe | nearest | five labels a class | fine-tuned | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["gestures"].items():
        told = " (sees labels)" if name == "clip" else ""
        lines.append(f"| {name}{told} | {' | '.join(_cell(row.get(c)) for c in COLUMNS)} | {_first(row)['n']} |")
    lines += [
        "",
        "| gain | few labels, over random | few labels, over scratch | probe, over random | fine-tuned, over scratch |",
    ]
    lines += ["|---|---|---|---|---|"]
    for name, row in result["gains"].items():
        lines.append(f"| {name} | {' | '.join(_cell(value) for value in row.values())} |")
    lines += [
        "",
        "## Baselines",
        "",
        "| set | majority | 1-NN Euclidean | 1-NN DTW | MiniRocket | from few labels | summed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["baselines"].items():
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in row.values())} |")
    lines += [
        "",
        "## Other sets",
        "",
        "| set | | probe | nearest | five labels a class | fine-tuned |",
        "|---|---|---|---|---|---|",
    ]
    for name, kinds in result["others"].items():
        for kind, row in kinds.items():
            lines.append(f"| {name} | {kind} | {' | '.join(_cell(row.get(c)) for c in COLUMNS)} |")
    lines += ["", "## Transfer (VICReg without labels on the first, fine-tuned on the second)", ""]
    lines += ["| from, to | probe | nearest | five labels a class | fine-tuned |", "|---|---|---|---|---|"]
    for name, row in result["transfer"].items():
        lines.append(f"| {name} | {' | '.join(_cell(row[c]) for c in COLUMNS)} |")
    lines += ["", "## Test-time training on top of masked", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in result["test_time"].items()]
    lines += ["", "## Candles", "", *_candles(result["candles"])]
    return "\n".join(lines) + "\n"


def _candles(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{found['windows']} windows pretrained on before {found['until'][:10]}; {found['rows']} rows scored after it, "
        f"{found['independent_windows']} independent windows.", "",
        "| inputs | R² of log volatility | AUC of a window of high volume |", "|---|---|---|",
    ]  # fmt: skip
    for name, row in found["figures"].items():
        lines.append(f"| {name} | {row['volatility_r2']:.4f} | {row['volume_auc']:.4f} |")
    lines += ["", f"Gain of R² over HAR by days, 95 %: {found['gain_interval']}."]
    return lines


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    low, high = value["interval"]
    return f"{value['mean']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if value["n"] > 1 else "")


def _first(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(iter(row.values()))
    return found
