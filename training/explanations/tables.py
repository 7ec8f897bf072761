"""The tables and plots of report 001: its figures, and ours by both protocols."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.explanations.reconstruct import TOP
from training.registry import ReproduceOptions

REPORTED_TOP = {
    "autoregressive, attention pooling, S 768": (0.50, 0.63, 0.68, 0.73, 0.75, 0.78, 0.81, 0.84),
    "autoregressive, attention pooling, S 2560": (0.55, 0.68, 0.72, 0.77, 0.79, 0.81, 0.84, 0.86),
}
"""The report's share of tokens within the top k."""

COLUMNS = {
    "token_accuracy": "teacher-forced",
    "token_accuracy_free": "greedy",
    "exact": "exact",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
    "direction": "same direction",
    "opposite": "opposite",
    "numbers": "numbers",
    "names": "names",
}

Figures = Mapping[str, Mapping[str, Any]]
"""Of each network, ``row/seed``: its figures by holdout, its floors and its noise curve."""


def write(parts: Figures, reported: Mapping[str, float | None], options: ReproduceOptions) -> dict[str, Any]:
    """Write 001.json, 001.md and the plots; returns what 001.json holds. ``options.table`` chooses one table."""
    tables = {1: _architectures(parts, reported), 2: _top(parts), 3: _noise(parts)}
    chosen = [options.table] if options.table else list(tables)
    head = f"# Report 001, seeds from {options.seed}{', quick: rough figures' * options.quick}\n\n"
    (options.out / "001.md").write_text(head + "\n".join(tables[number] for number in chosen))
    result = {"report": "001", "quick": options.quick, "seed": options.seed, "rows": dict(parts)}
    (options.out / "001.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(parts, options.out)
    return result


def _architectures(parts: Figures, reported: Mapping[str, float | None]) -> str:
    lines = ["## 1. Architectures", "", f"| model | holdout | report | {' | '.join(COLUMNS.values())} |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 3))
    for name, seeds in _by_row(parts).items():
        for holdout in ("random", "by date"):
            cells = [_mean([seed[holdout][key] for seed in seeds]) for key in COLUMNS]
            said = reported.get(name)
            label = f"{name} ({len(seeds)} seed{'s' * (len(seeds) > 1)})"
            lines.append(f"| {label} | {holdout} | {said or ''} | {' | '.join(cells)} |")
        floors = {key: _mean([seed["floors"][key] for seed in seeds]) for key in seeds[0]["floors"]}
        said_floors = ", ".join(f"{key} {value}" for key, value in floors.items())
        lines.append(f"| – its vector changed, by date | | | {said_floors} |" + " |" * (len(COLUMNS) - 1))
    lines += ["", "The report's accuracy is teacher-forced on a random holdout."]
    return "\n".join(lines) + "\n"


def _top(parts: Figures) -> str:
    lines = ["## 2. Input token within the top k, teacher-forced", "", "| model | " + " | ".join(map(str, TOP)) + " |"]
    lines.append("|" + "---|" * (len(TOP) + 1))
    for name, seeds in _by_row(parts).items():
        if name in REPORTED_TOP:
            lines.append(f"| {name}: the report | {' | '.join(f'{v:.2f}' for v in REPORTED_TOP[name])} |")
        for holdout in ("random", "by date"):
            cells = [_mean([seed[holdout]["top_k"][at] for seed in seeds]) for at in range(len(TOP))]
            lines.append(f"| {name}: {holdout} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _noise(parts: Figures) -> str:
    rows = _by_row(parts)
    levels = list(next(iter(rows.values()))[0]["noise"])
    lines = ["## 3. Noise on the vector, length relative to its own, teacher-forced, by date", ""]
    lines += ["| model | " + " | ".join(levels) + " |", "|" + "---|" * (len(levels) + 1)]
    for name, seeds in rows.items():
        lines.append(f"| {name} | {' | '.join(_mean([seed['noise'][level] for seed in seeds]) for level in levels)} |")
    lines += ["", "The report: σ = 0.1 harmless, σ = 1 costs more than a tenth; its σ has no scale."]
    return "\n".join(lines) + "\n"


def _by_row(parts: Figures) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for key, found in parts.items():
        rows.setdefault(key.rpartition("/")[0], []).append(found)
    return rows


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ± {(max(known) - min(known)) / 2:.3f}" if len(known) > 1 else ""
    return f"{float(np.mean(known)):.3f}{spread}"


def plot(parts: Figures, folder: Path) -> None:
    """Accuracy against noise and against k, one line a model, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, label in (("noise", "noise relative to the vector"), ("top_k", "k")):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for row, seeds in _by_row(parts).items():
            first = seeds[0]
            if name == "noise":
                axis.plot([float(x) for x in first["noise"]], list(first["noise"].values()), marker="o", label=row)
            else:
                axis.semilogx(TOP, first["by date"]["top_k"], marker="o", label=row)
        axis.set(xlabel=label, ylabel="teacher-forced accuracy, by date", ylim=(0, 1))
        axis.legend(fontsize=7)
        figure.savefig(folder / f"001_{name}.png", dpi=100)


def loss_plot(logs: Mapping[str, Path], path: Path) -> None:
    """Training loss by step of the runs' logs, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, log in logs.items():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axis.set(xlabel="step", ylabel="cross-entropy", yscale="log")
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=100)
