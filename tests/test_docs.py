"""The docs name what there is: every command, every table, every decision, and no machine of ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from domain.answer import answer_schema

ROOT = Path(__file__).parent.parent
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
TEXTS = [
    f for f in TRACKED if Path(f).suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".html", ".js", ".ftl", ""}
]


def test_every_command_is_documented() -> None:
    """docs/commands.md has a row for each command of `moodtape --help`."""
    from typer.main import get_command

    from moodtape.cli import app

    documented = (ROOT / "docs/commands.md").read_text()
    names = set(getattr(get_command(app), "commands", {}))
    assert {"up", "analyze", "rescore"} <= names
    assert [name for name in sorted(names) if f"`moodtape {name}`" not in documented] == []


def test_recipes_that_are_named_exist() -> None:
    """Each `moodtape train CAPABILITY/NAME` in docs and configs has its file."""
    known = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "configs").glob("*/*.toml")}
    texts = [f for f in TRACKED if f.startswith(("docs/", "configs/", "README"))]
    named = {
        n
        for f in texts
        for n in re.findall(r"moodtape train (\w+/[\w-]+)(?![\w.-])", (ROOT / f).read_text(errors="ignore"))
    }
    assert "emotion/text" in named
    assert sorted(named - known) == []


def test_every_table_is_documented() -> None:
    """docs/architecture.md names each table of the database that holds something of its own."""
    from db import market_tables, queue_tables  # noqa: F401  registers their tables
    from db.tables import Base

    documented = (ROOT / "docs/architecture.md").read_text()
    assert [name for name in sorted(Base.metadata.tables) if name not in documented] == []


def test_every_decision_is_linked() -> None:
    """The list of decisions in docs/architecture.md is complete."""
    documented = (ROOT / "docs/architecture.md").read_text()
    decisions = sorted(p.name for p in (ROOT / "docs/adr").glob("*.md"))
    assert len(decisions) >= 5
    assert [name for name in decisions if name not in documented] == []


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text())))
)
def test_links_of_the_readme_lead_somewhere(link: str) -> None:
    """A newcomer who clicks finds the file."""
    assert (ROOT / link).exists()


def test_the_project_speaks_only_of_itself() -> None:
    """No path of a developer's machine and no package host stands in a tracked text."""
    assert TEXTS
    forbidden = re.compile(r"(?<![\w.])/(work|farm|root)/|pypi\.org|pythonhosted|registry\.npmjs|download\.pytorch")
    hits = [f for f in TEXTS if f != "tests/test_docs.py" and forbidden.search((ROOT / f).read_text(errors="ignore"))]
    assert hits == []


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few characters."""
    if "$ref" in schema:
        return "object"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "code" in schema.get("properties", {}):
        return "reason"
    if "sadness" in schema.get("properties", {}):
        return "number for each emotion"
    if schema["type"] == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        return f"list of {schema.get('minItems', '')} {_kind(items)}s".replace("  ", " ")
    return str(schema.get("format", schema["type"]))


def _rows(name: str, parts: dict[str, Any], before: str = "") -> list[str]:
    """The keys of a part of the answer, each followed by those of the part that it holds."""
    rows = []
    for key, schema in parts[name]["properties"].items():
        rows.append(f"| `{before}{key}` | {_kind(schema)} |")
        inner = [one.get("$ref") or (one.get("items") or {}).get("$ref") for one in schema.get("anyOf", [schema])]
        for reference in filter(None, inner):
            rows += _rows(reference.rsplit("/")[-1], parts, f"{before}{key}.")
    return rows


def test_the_answer_is_described_as_it_is() -> None:
    """The table in docs/architecture.md is made from the structs of domain/answer.py; on failure it is printed whole."""
    table = "\n".join(["| key | value |", "|---|---|", *_rows("Verdict", answer_schema()[1])])
    assert table in (ROOT / "docs" / "architecture.md").read_text(), f"put this into docs/architecture.md:\n{table}"
