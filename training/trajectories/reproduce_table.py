"""The tables of report 000 as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIGURES = ("r_at_1", "r_at_5", "r_at_10", "median_rank", "mrr")


def markdown(result: Mapping[str, Any]) -> str:
    """Reported figures, correlations, the report's trainings, faults on and off, arms by time, matches."""
    lines = ["# Report 000: posts and price trajectories", "", "## Printed in the report", ""]
    lines += [f"- {name}: {', '.join(f'{k} {v}' for k, v in row.items())}" for name, row in result["reported"].items()]
    lines += ["", "## Daily correlations, ours (its posts are not to be had; the nearest source of each coin)", ""]
    for coin, row in result["correlations"].items():
        lines.append(f"- {coin}: {', '.join(f'{k} {v}' for k, v in row.items())}")
    lines += ["", "## The report's own trainings (batches of 32: ln B = 3.466, half of it 1.733)", ""]
    lines += [
        "| coin and arm | pairs | validation loss | over ln B | R@10 | chance | the alarm |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["curves"].items():
        lines.append(_training(name, row))
    if "faults" in result:
        lines += ["", "## Each fault on and off (BTC, series arm)", ""]
        lines += [
            "| | R@10 text → series | placebo by time | chance | loss | mean cosine |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_fault(name, row) for name, row in result["faults"].items()]
        lines += [
            "",
            f"## Arms and losses by time, purged and capped: {result['trials']} trials, seeds {result['seeds']}",
            "",
        ]
        lines += [
            "| arm and loss | way | " + " | ".join(FIGURES) + " | R@10 over placebo by time |",
            "|---|---|" + "---|" * 6,
        ]
        for name, row in result["arms"].items():
            lines += _arm(name, row)
        beats = result["winner"]
        lines += [
            "",
            f"Beats its placebo in every run and both ways: {beats or 'none. The plainest matcher ships: near words.'}",
        ]
        lines += ["", "## Both queries of the report (series arm, BTC)", ""]
        lines += [
            f"- {name}: {', '.join(f'{k} {v}' for k, v in row.items())}" for name, row in result["matches"].items()
        ]
    return "\n".join(lines) + "\n"


def _training(name: str, row: Mapping[str, Any]) -> str:
    if "collapsed" in row:
        return f"| {name} | | | | | | {row['collapsed']} |"
    ratio, held = row["health"]["loss_over_ln"], row["text_to_series"]["model"]["r_at_10"]
    cells = (row["pairs"], row["loss_value"], f"{ratio:.3f}", held, row["chance"]["r_at_10"], row["alarm"])
    return f"| {name} | {' | '.join(map(str, cells))} |"


def _fault(name: str, row: Mapping[str, Any]) -> str:
    if "collapsed" in row:
        return f"| {name} | {row['collapsed']} | | | | |"
    way = row["text_to_series"]
    cells = (
        way["model"]["r_at_10"], way["placebo_by_time"]["r_at_10"], row["chance"]["r_at_10"], row["loss_value"],
        round(row["health"]["likeness"], 3),
    )  # fmt: skip
    return f"| {name} | {' | '.join(map(str, cells))} |"


def _arm(name: str, row: Mapping[str, Any]) -> list[str]:
    lines = []
    for way in ("text_to_series", "series_to_text"):
        held = row.get(way)
        if held is None:
            lines.append(f"| {name} | {way.replace('_', ' ')} | every run collapsed |" + " |" * 6)
            continue
        cells = [f"{held[f]['model']} ({held[f]['placebo_by_time']}, {held[f]['shuffled']})" for f in FIGURES]
        gain = held["gain"]
        lines.append(f"| {name} | {way.replace('_', ' ')} | {' | '.join(cells)} | {gain['mean']} {gain['interval']} |")
    run = next((r for r in row["runs"] if "collapsed" not in r), None)
    if run:
        lines.append(
            f"| | {run['pairs']} pairs, {run['independent_windows']} independent windows, {run['n']} measured, "
            f"{run['seconds']} s | " + " | ".join(str(run["chance"][f]) for f in FIGURES) + " | chance |"
        )
    return lines
