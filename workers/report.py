"""What the commands about stored things share: the database for a while, JSON or words, and the comparison as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from db.engine import make_engine, transaction

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@contextmanager
def database() -> Iterator[Connection]:
    """A transaction of the database that DATABASE_URL names."""
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def say(body: Any, words: str | RenderableType, as_json: bool) -> None:
    """Print a result as JSON and nothing else, or as words or tables."""
    if as_json:
        sys.stdout.write(json.dumps(body, default=str) + "\n")
    else:
        Console().print(words, highlight=False, markup=False, soft_wrap=isinstance(words, str))


def tables(report: dict[str, Any]) -> RenderableType:
    """What :func:`db.queries.revisions.compare` found: each figure for both, per emotion, and posts that differ."""
    if not report["posts"]:
        return "No post has been scored by both; run `moodtape rescore --shadow` first."
    parts = [_sums(report), _emotions(report)]
    if report["differing"]:
        parts.append(_differing(report))
    return Group(*parts)


def _sums(report: dict[str, Any]) -> Table:
    posts, known = report["posts"], report["outcomes"]
    table = Table(
        "",
        f"champion {report['champion']}",
        f"challenger {report['challenger']}",
        "n",
        title=f"{posts:,} posts scored by both",
        caption=f"same label {report['label_agreement']:.1%}; mean |difference| of hype {_figure(report['hype_difference'])}",
    )
    for name, n in (("abstained", posts), ("band_width", posts), ("coverage", known), ("brier", known)):
        figures = (_figure(report[f"{name}_{side}"]) for side in "ab")
        table.add_row(name.replace("_", " "), *figures, f"{n:,}")
    return table


def _emotions(report: dict[str, Any]) -> Table:
    columns = ("emotion", "champion's n", "challenger's n", "both", "agreement", "mean a", "mean b", "mean |a − b|")
    table = Table(*columns, title="Per emotion", caption="agreement: of the champion's posts, those labelled the same")
    for row in report["emotions"]:
        counts = [f"{row[f'labelled_{side}']:,}" for side in ("a", "b", "both")]
        share = f"{row['labelled_both'] / row['labelled_a']:.1%}" if row["labelled_a"] else "–"
        means = [_figure(row[name]) for name in ("probability_a", "probability_b", "difference")]
        table.add_row(row["emotion"], *counts, share, *means)
    return table


def _differing(report: dict[str, Any]) -> Table:
    table = Table("post", "champion", "challenger", "words", title="Furthest apart, of those with another label")
    for row in report["differing"]:
        sides = [
            f"{row[label]} {row[certainty]:.2f}" if row[label] else "abstained"
            for label, certainty in (("before", "certainty_before"), ("after", "certainty_after"))
        ]
        table.add_row(Text(row["post_id"][:24]), *sides, Text(" ".join(row["text"].split())))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
