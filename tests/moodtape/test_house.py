"""The house's rules that no linter sees, and that the linter sees what it should."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from pydantic_settings import BaseSettings

from db.engine import variable_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_BOXES = {"tests", "benchmarks", "migrations"}
LAYERS = {
    "domain": 0,
    "models": 1,
    "db": 1,
    "answer": 1,
    "runtime": 1,
    "workers": 2,
    "bot": 3,
    "web": 3,
    "streaming": 3,
    "training": 3,
    "moodtape": 4,
}


def boxes() -> list[str]:
    """Top-level packages."""
    return sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if not path.parent.name.startswith("."))


def test_every_box_is_known_to_the_linter_and_to_the_wheel() -> None:
    """A new top-level package must be listed in import-linter's roots and in setuptools' include."""
    roots = set(PROJECT["tool"]["importlinter"]["root_packages"])
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    found = set(boxes())
    assert found - NOT_BOXES == roots == set(LAYERS)
    unshipped = {name for name in found if not any(fnmatch(name, pattern) for pattern in patterns)}
    assert unshipped <= {"tests", "benchmarks"}


def test_modules_named_in_strings_respect_the_layers() -> None:
    """A module path inside a string (Celery's include, a lazy import, `python -m`) never points up or sideways."""
    named = re.compile(rf"^({'|'.join(LAYERS)})(\.[a-z_]+)+$")
    wrong = []
    seen = 0
    for box, layer in LAYERS.items():
        for path in (ROOT / box).rglob("*.py"):
            for target in _strings(path):
                if not named.match(target) or not _is_module(target):
                    continue
                seen += 1
                other = target.partition(".")[0]
                if other != box and LAYERS[other] >= layer:
                    wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert wrong == []
    assert seen > 0


def _strings(path: Path) -> set[str]:
    import ast

    tree = ast.parse(path.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_a_wrong_import_is_caught(tmp_path: Path) -> None:
    """In a copy of the boxes, a door that imports torch through a model and a domain that imports a door break lint-imports."""
    for box in PROJECT["tool"]["importlinter"]["root_packages"]:
        shutil.copytree(ROOT / box, tmp_path / box, ignore=shutil.ignore_patterns("artifacts", "__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "domain" / "clock.py").open("a") as file:
        file.write("\nimport web\n")
    (tmp_path / "web" / "wrong.py").write_text("import torch\n")
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert linter is not None
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "domain is not allowed to import web" in done.stdout
    assert re.search(r"web\.wrong -> torch", done.stdout)


def settings_classes() -> dict[str, type[BaseSettings]]:
    """Every settings class of the boxes, by qualified name."""
    found = {}
    for box in LAYERS:
        package = importlib.import_module(box)
        for module in pkgutil.walk_packages(package.__path__, f"{box}."):
            source = ROOT.joinpath(*module.name.split(".")).with_suffix(".py")
            if not source.exists() or not re.search(r"class \w+\((Base)?Settings\)", source.read_text()):
                continue
            for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(kind, BaseSettings) and kind.__module__ == module.name and kind.model_fields:
                    found[f"{module.name}.{name}"] = kind
    return found


def test_the_example_environment_names_every_setting() -> None:
    """.env.example holds exactly the variables that the boxes' settings read, each once."""
    read = {variable_of(kind, name) for kind in settings_classes().values() for name in kind.model_fields}
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [found.group(1) for line in lines if (found := re.match(r"^#?\s?([A-Z][A-Z0-9_]+)=", line))]
    assert sorted(named) == sorted(read)


def test_every_setting_is_described_and_only_the_bot_holds_the_token() -> None:
    """Each field has a description and a variable; TELEGRAM_TOKEN stands in the bot's class alone."""
    holders = []
    for name, kind in settings_classes().items():
        for field_name, field in kind.model_fields.items():
            assert field.description, f"{name}.{field_name} has no description"
            assert re.fullmatch(r"[A-Z]+_[A-Z_]+", variable_of(kind, field_name)), (
                f"{name}.{field_name} has an odd variable"
            )
            if variable_of(kind, field_name) == "TELEGRAM_TOKEN":
                holders.append(name.partition(".")[0])
    assert holders == ["bot"]


def test_files_stay_short() -> None:
    """No module is longer than 400 lines."""
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for box in (*LAYERS, "tests", "migrations", "benchmarks")
        for path in (ROOT / box).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    ]
    assert long == []
