"""No model, queue or query says a sentence that a reader of an answer could see: they speak codes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

OPERATORS = {"workers/cli.py", "workers/report.py", "workers/settings.py", "workers/client/rescoring.py"}
"""Commands, tables, settings and rescore runs: read by who runs moodtape, never in an answer."""

READERS = {"EmptyPost", "TooLarge", "UnreadableImage", "UnknownSymbol", "NoCandles", "Cancelled", "Busy"}
"""Errors that only ever tell readers something."""

ANSWERS = {
    "Reason", "Verdict", "Emotions", "Hype", "HypeForecast", "Trajectories", "Match", "Matched", "Explanation",
    "TextReading", "ImageReading", "Coverage", "Event",
}  # fmt: skip
"""What answers are made of."""

FILES = [
    file.relative_to(ROOT).as_posix()
    for box in ("models", "workers", "db")
    for file in sorted((ROOT / box).rglob("*.py"))
    if file.relative_to(ROOT).as_posix() not in OPERATORS
]


def words(node: ast.expr) -> str:
    """The text of a string or f-string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sentences(call: ast.Call) -> list[str]:
    """Strings of several words anywhere in a call's arguments."""
    parts = [node for argument in (*call.args, *call.keywords) for node in ast.walk(argument)]
    return [text for node in parts if isinstance(node, ast.expr) and len(re.findall(r"\w+", text := words(node))) > 2]


@pytest.mark.parametrize("file", FILES)
def test_what_readers_see_is_made_of_codes(file: str) -> None:
    """Neither an answer's parts nor the errors that readers meet are given a string of several words."""
    calls = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.Call)]
    named = [(call, getattr(call.func, "id", getattr(call.func, "attr", ""))) for call in calls]
    prose = [text for call, name in named if name in READERS | ANSWERS for text in sentences(call)]
    assert prose == []


@pytest.mark.parametrize("box", ["workers/client", "models/emotion/faces.py", "models/scorer.py", "domain"])
def test_where_posts_come_in_every_refusal_is_a_code(box: str) -> None:
    """Also refusals of the general classes: each is raised with a reason."""
    files = [ROOT / box] if box.endswith(".py") else sorted((ROOT / box).glob("*.py"))
    general = {"InputError", "Unavailable", "MoodtapeError"} | READERS
    trees = [ast.parse(file.read_text()) for file in files if file.relative_to(ROOT).as_posix() not in OPERATORS]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    refusals = [call for call in calls if getattr(call.func, "id", "") in general]
    assert refusals
    assert [text for call in refusals for text in sentences(call)] == []
