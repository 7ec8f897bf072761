"""Each box imports with its own extra of pyproject.toml alone, whatever is installed here; doors load no model framework."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
BOXES = {
    "": ("domain", "db", "answer", "runtime", "workers.client", "moodtape"),
    "streaming": ("streaming",),
    "bot": ("bot",),
    "web": ("web",),
    "worker": ("models", "workers"),
    "training": ("training",),
}
"""Extra → the packages that need it and no other."""

HEAVY = {"torch", "torchvision", "transformers", "timm", "peft"}
"""Model frameworks: found by whoever looks for them, and never loaded by a door."""

CLEAN = f"""
import atexit, runpy, sys
from importlib.machinery import PathFinder
hidden = set(sys.argv[1].split(","))
class Clean:
    find_distributions = staticmethod(PathFinder.find_distributions)
    def find_spec(self, name, path=None, target=None):
        return None if path is None and name in hidden else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Clean() if finder is PathFinder else finder for finder in sys.meta_path]
atexit.register(lambda: print("loaded:", *sorted({HEAVY!r} & set(sys.modules))))
sys.argv[:] = ["compose/imports.py", *sys.argv[2:]]
runpy.run_path("compose/imports.py", run_name="__main__")
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(wanted: list[str]) -> set[str]:
    """Distributions that pip would install for these requirements, by the metadata of those that are installed."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(line), "") for line in wanted]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normal(requirement.name)
        if name == "moodtape":
            queue += [(Requirement(line), "") for extra in requirement.extras for line in EXTRAS[extra]]
            continue
        found.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for chosen in ("", *requirement.extras):
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                queue += [(Requirement(line), chosen) for line in needs]
    return found


def hidden(extra: str) -> set[str]:
    """Top-level modules that are installed here and would not be with this extra."""
    wanted = [*PROJECT["project"]["dependencies"], *EXTRAS.get(extra, [])]
    there = {"moodtape", *closure(wanted)}
    return {module for module, owners in packages_distributions().items() if not there & {normal(o) for o in owners}}


@pytest.mark.parametrize("extra", BOXES)
def test_a_box_imports_with_its_extra_alone(extra: str) -> None:
    """Every module of the box, and what it imports only when used, is found among what its extra brings."""
    away = hidden(extra) - HEAVY
    assert {"pytest", "ruff"} <= away
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLEAN, ",".join(away), *BOXES[extra]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told, loaded = done.stdout.splitlines()[-2:]
    assert told == f"{sum(len(python_files(box)) for box in BOXES[extra])} modules import"
    assert (loaded != "loaded:") == (extra in ("worker", "training"))


def python_files(box: str) -> list[Path]:
    """Modules of a box; a program of one line is no module."""
    found = ROOT.joinpath(*box.split(".")).rglob("*.py")
    return [path for path in found if path.relative_to(ROOT) != Path("moodtape/__main__.py")]


def test_a_missing_library_is_noticed() -> None:
    """The web door without FastAPI, and a queue without what its Redis transport imports, do not pass."""
    for away, package, named in (
        ("fastapi", "web", "No module named 'fastapi'"),
        ("packaging", "workers.client", "kombu"),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CLEAN, away, package],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert named in done.stdout


def test_every_extra_has_its_boxes() -> None:
    """A new extra is tried by these tests, unless it gathers others, is one source's library or brings a program."""
    assert set(BOXES) - {""} == set(EXTRAS) - {"all", "dev", "x", "scrape", "embedded"}


def test_images_hold_every_package_and_nothing_else() -> None:
    """.dockerignore lets in what the wheel holds; secrets, data and tests stay out."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert {a for a in allowed if (ROOT / a).is_dir()} == packages
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in packages)
