"""The tables of report 000 as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FIGURES = ("r_at_1", "r_at_5", "r_at_10", "median_rank", "mrr")


def markdown(result: Mapping[str, Any]) -> str:
    """Reported figures, correlations, the report's trainings, faults on and off, arms by time, matches."""
    lines = [
        "# Report 000: posts and price trajectories",
        "",
        "## Printed in the report",
        "",
        *_list(result["reported"]),
    ]
    lines += ["", "## Daily correlations, ours (its posts are not to be had; the best-covered source of each coin)", ""]
    lines += _list(result["correlations"])
    lines += ["", "## The report's own trainings (batches of 32: ln B = 3.466, half of it 1.733)", ""]
    lines += [
        "| coin and arm | pairs | training loss | validation loss | R@10 | chance | the alarm |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_training(name, row) for name, row in result["curves"].items()]
    if "faults" not in result:
        return "\n".join(lines) + "\n"
    lines += ["", "## Each fault on and off (BTC, series arm)", ""]
    lines += ["| | R@10 text → series | placebo by time | chance | loss | mean cosine |", "|---|---|---|---|---|---|"]
    lines += [_fault(name, row) for name, row in result["faults"].items()]
    title = f"## Arms and losses by time, purged and capped: {result['trials']} trials, seeds {result['seeds']}"
    heads = f"| arm and loss | way | {' | '.join(FIGURES)} | R@10 over placebo by time |"
    lines += ["", title, "", "Model (placebo by time, any post's words).", "", heads, "|" + "---|" * 8]
    for name, row in result["arms"].items():
        lines += _arm(name, row)
    beats = result["winner"] or "none. The plainest matcher ships: near words."
    lines += ["", f"Beats its placebo in every run and both ways: {beats}"]
    lines += ["", "## Both queries of the report (series arm, BTC)", "", *_list(result["matches"])]
    return "\n".join(lines) + "\n"


def _list(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"- {name}: {', '.join(f'{k} {v}' for k, v in row.items())}" for name, row in rows.items()]


def _training(name: str, row: Mapping[str, Any]) -> str:
    if "collapsed" in row:
        return f"| {name} | | | | | | {row['collapsed']} |"
    last, held = row["curve"][-1][1], row["text_to_series"]["model"]["r_at_10"]
    told = f"{last:.3f} ({last / math.log(32):.2f} ln B)"
    cells = (row["pairs"], told, row["loss_value"], held, row["chance"]["r_at_10"], row["alarm"])
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
