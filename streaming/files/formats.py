"""A file of candles or posts, whatever its layout: what it holds, what is left out, and why it was read so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from domain.candles import CandleColumns
from domain.errors import InputError
from streaming.files.candles import REPEATED, Asked, candles
from streaming.files.opening import is_read, sheets
from streaming.files.posts import posts, zone_of
from streaming.files.tables import Cut, PostTable, merged


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller says about files. ``timezone``: of local times; ``author_key``: authors' names are hashed with it."""

    asked: Asked = field(default_factory=Asked)
    cut: Cut = field(default_factory=Cut)
    timezone: str | None = None
    author_key: str = ""


@dataclass(slots=True)
class Loaded:
    """What a file holds. ``layout`` and ``why``: how it was read; ``refused`` and ``left_out``: rows by reason."""

    path: Path
    layout: str = ""
    why: str = ""
    rows: int = 0
    candles: list[CandleColumns] = field(default_factory=list)
    posts: list[PostTable] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def files_of(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The files among these paths and below these directories: those that are read, and those of other kinds.

    Raises:
        InputError: a path is missing, or there is no file to read at all.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or directory {path}; correct the path.")
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = list(dict.fromkeys(found))
    read = [path for path in found if is_read(path)]
    if not read:
        raise InputError(
            "There is no file to read there; name files with candles or posts (csv, parquet, json, zip …)."
        )
    return read, [path for path in found if not is_read(path)]


def load(path: Path, options: Options) -> Loaded:
    """Read one file.

    Raises:
        InputError: it cannot be read or fits no layout; the sentence says what was seen and what to pass.
    """
    out = Loaded(path)
    zone = zone_of(options.timezone)
    for sheet in sheets(path):
        layout = sheet.match.layout
        if layout.name not in out.layout.split(" + "):
            out.layout = f"{out.layout} + {layout.name}".removeprefix(" + ")
        out.why = sheet.match.why
        if layout.kind == "candles":
            read = candles(sheet, options.asked, options.cut, str(path.parent))
            out.candles += read.tables
            rows, left_out, notes = read.rows, read.left_out, read.notes
        else:
            found = posts(sheet, options.cut, zone, options.author_key)
            out.posts += found.tables
            rows, left_out, notes = found.rows, found.left_out, found.notes
        out.rows += rows + sum(sheet.refused.values()) + sum(sheet.left_out.values())
        out.refused += sheet.refused
        out.left_out += left_out + sheet.left_out  # Counter addition drops what is zero
        out.notes += [note for note in notes if note not in out.notes]
    read_rows = sum(map(len, out.candles))
    out.candles = merged(out.candles)
    out.left_out += Counter({REPEATED: read_rows - sum(map(len, out.candles))})
    return out
