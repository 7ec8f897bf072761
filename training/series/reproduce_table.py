"""The tables of report 004 as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("probe", "knn", "few_shot", "fine_tune")
HEADS = ("probe", "nearest", "five labels a class", "fine-tuned")
BASELINES = ("majority", "1-NN Euclidean", "1-NN DTW", "MiniRocket", "from few labels", "summed")


def markdown(result: Mapping[str, Any]) -> str:
    """Gestures, gains with intervals, the other sets, transfer, test-time training and candles."""
    published = ", ".join(f"{name} {value}" for name, value in result["published"].items())
    lines = [
        "# Report 004: pretraining of series encoders", "",
        f"Seeds {result['seeds']}{' (quick)' if result['quick'] else ''}; means over seeds, 95 % intervals by Student's t. "
        f"The report prints no figure of its own. Published on UWaveGestureLibrary: {published}.", "",
    ]  # fmt: skip
    lines += ["## UWaveGestureLibrary", "", *_gestures(result["gestures"]), "", *_gains(result["gains"])]
    lines += ["", "## Baselines", "", *_table("set", *BASELINES)]
    for name, row in result["baselines"].items():
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in row.values())} |")
    lines += ["", "## Other sets", "", *_table("set", "", *HEADS)]
    for name, kinds in result["others"].items():
        lines += [f"| {name} | {kind} | {_cells(row)} |" for kind, row in kinds.items()]
    lines += [
        "",
        "## Transfer (VICReg without labels on the first, fine-tuned on the second)",
        "",
        *_table("from, to", *HEADS),
    ]
    lines += [f"| {name} | {_cells(row)} |" for name, row in result["transfer"].items()]
    lines += ["", "## Test-time training on top of masked", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in result["test_time"].items()]
    lines += ["", "## Candles", "", *_candles(result["candles"])]
    return "\n".join(lines) + "\n"


def _table(*heads: str) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]


def _gestures(rows: Mapping[str, Any]) -> list[str]:
    lines = _table("", *HEADS, "seeds")
    for name, row in rows.items():
        told = " (sees labels)" if name == "clip" else ""
        lines.append(f"| {name}{told} | {_cells(row)} | {_first(row)['n']} |")
    return lines


def _gains(rows: Mapping[str, Any]) -> list[str]:
    lines = _table(
        "gain", "few labels, over random", "few labels, over scratch", "probe, over random", "fine-tuned, over scratch"
    )
    return lines + [f"| {name} | {' | '.join(map(_cell, row.values()))} |" for name, row in rows.items()]


def _cells(row: Mapping[str, Any]) -> str:
    return " | ".join(_cell(row.get(name)) for name in COLUMNS)


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
