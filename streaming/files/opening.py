"""Files opened: compression, encodings, header lines and separators settled, before anybody asks what the columns mean."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from domain.errors import InputError
from streaming.files.cells import number
from streaming.files.layouts import CANDLES, Match, match

SUFFIXES = (".parquet", ".feather", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".js", ".zip")
"""Kinds of files that are read; each also with ``.gz`` behind it."""
CUT = "the row is cut off"
NO_JSON = "the line is no JSON object"
_PREAMBLE = re.compile(r"\s*(https?://|www\.|created on|#|.*cryptodatadownload)", re.I)
_SCRIPT = re.compile(r"\s*(?:window\.|export\s|var\s|const\s)?[\w.\[\]\" ]+=\s*(?=[\[{])")
"""What stands before the JSON in the files of an account's own archive (``window.YTD.tweets.part0 =``)."""
_LISTS = ("messages", "data", "statuses", "tweets", "posts", "items", "children", "ohlc", "list")
_NOTICES = frozenset({"delete", "limit", "scrub_geo", "status_withheld", "user_withheld", "warning", "disconnect"})
_NOTICE = "a notice of the stream, no post"
ORDERED = 0.99
"""Share of the rows without a line of names that must hold no high below and no low above another price."""


@dataclass(slots=True)
class Sheet:
    """One table of a file: Arrow columns of candles, or rows of posts; names in lower case.

    ``refused``: rows that cannot be read, by reason. ``notes``: what a reader should know, such as the encoding.
    """

    name: str
    match: Match
    columns: dict[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] | None = None
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def is_read(path: Path) -> bool:
    """Whether files of this name are read at all."""
    return Path(path.name.removesuffix(".gz")).suffix.lower() in SUFFIXES


def sheets(path: Path) -> Iterator[Sheet]:
    """The tables of a file; an archive has one for each file in it.

    Raises:
        InputError: it cannot be read, or fits no layout.
    """
    try:
        yield from _sheets(path)
    except (OSError, UnicodeError, csv.Error, zipfile.BadZipFile, pa.ArrowException, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read: {str(error)[:120]}.") from None


def _sheets(path: Path) -> Iterator[Sheet]:
    name = PurePath(path.name.removesuffix(".gz"))
    suffix = name.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [PurePath(n) for n in sorted(archive.namelist()) if not n.startswith("__MACOSX")]
            members = [m for m in members if m.suffix.lower() in (".csv", ".json", ".jsonl", ".ndjson", ".js", ".txt")]
            for member in members:
                stem = member.stem if "-" in member.stem or "_" in member.stem else name.stem
                yield _sheet(stem, member.suffix.lower(), archive.read(str(member)))
        if not members:
            raise InputError(f"{path.name} holds no CSV or JSON file.")
    elif suffix in (".parquet", ".feather"):
        yield _arrow(path, name.stem, suffix)
    else:
        raw = path.read_bytes()
        yield _sheet(name.stem, suffix, gzip.decompress(raw) if path.suffix == ".gz" else raw)


def _arrow(path: Path, stem: str, suffix: str) -> Sheet:
    if suffix == ".parquet":
        names = pa.parquet.read_schema(path).names
        found = match([n.lower() for n in names], path.name)
        table = pa.parquet.read_table(path)
    else:
        table = pa.feather.read_table(path)
        found = match([n.lower() for n in table.column_names], path.name)
    columns = {name.lower(): table.column(name) for name in table.column_names}
    rows = None
    if found.layout.kind == "posts" and found.layout.name != "posts":
        rows = [{k.lower(): v for k, v in row.items()} for row in table.to_pylist()]
    return Sheet(stem, found, columns, rows)


def _sheet(stem: str, suffix: str, raw: bytes) -> Sheet:
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(stem, _decoded(raw, json_text=True)[0])
    text, notes = _decoded(raw, json_text=suffix in (".json", ".js"))
    if suffix in (".json", ".js"):
        try:
            body = json.loads(_SCRIPT.sub("", text, count=1) if suffix == ".js" else text)
        except (ValueError, RecursionError):
            return _json_lines(stem, text)
        return _json(stem, body)
    return _csv(stem, text, notes)


def _decoded(raw: bytes, *, json_text: bool) -> tuple[str, list[str]]:
    """The text of a file; its encoding is noted where it is not UTF-8."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16"), ["read as UTF-16"]
    if len(raw) > 3 and raw[1:2] == b"\0" and raw[3:4] == b"\0":
        return raw.decode("utf-16-le"), ["read as UTF-16"]
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        if json_text:
            return raw.decode("utf-8-sig", errors="surrogateescape"), []
        return raw.decode("cp1252", errors="replace"), ["not UTF-8: read as Windows-1252"]


def _json_lines(stem: str, text: str) -> Sheet:
    rows: list[Any] = []
    bad = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows += _rows(row) or [row]
        else:
            bad += 1
    sheet = _objects(stem, rows)
    sheet.refused[NO_JSON] += bad
    return sheet


def _json(stem: str, body: Any) -> Sheet:
    if isinstance(body, dict) and (found := _answered(body)):
        return _headless(f"{found[0]}-{stem}".removeprefix("-"), [list(map(str, row)) for row in found[1]], [])
    if isinstance(body, list) and body and all(isinstance(row, list) for row in body):
        return _headless(stem, [list(map(str, row)) for row in body], [])
    if isinstance(body, list):
        rows = [own for row in body if isinstance(row, dict) for own in (_rows(row) or [row])]
        sheet = _objects(stem, rows)
        sheet.refused[NO_JSON] += sum(not isinstance(row, dict) for row in body)
        return sheet
    return _objects(stem, _rows(body) or [body] if isinstance(body, dict) else [])


def _answered(body: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
    """The market, if it is told, and the lists of an exchange's own answer (``{"result": {"XXBTZUSD": [[…]], …}}``)."""
    result = body.get("result", body)
    if not isinstance(result, dict):
        return None
    for name, rows in result.items():
        if isinstance(rows, list) and rows and all(isinstance(row, list) and len(row) > 5 for row in rows):
            told = name if name.isupper() else str(result.get("symbol") or "")
            return told, rows
    return None


def _rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a page such as ``{"data": […], "includes": {"users": […]}}``; authors stand beside what they wrote."""
    if body.keys() == {"tweet"} and isinstance(body["tweet"], dict):
        return [body["tweet"]]
    if isinstance(chats := body.get("chats"), dict):  # all chats of Telegram's export in one file
        return [row for chat in chats.get("list", ()) if isinstance(chat, dict) for row in _rows(chat)]
    for name in _LISTS:
        if isinstance(body.get(name), list) and not {"text", "body"} & set(body):
            users = {u.get("id"): u for u in (body.get("includes") or {}).get("users", []) if isinstance(u, dict)}
            pair = {"pair": body["pair"]} if name == "ohlc" and "pair" in body else {}
            rows = [{**row, **pair} for row in body[name] if isinstance(row, dict)]
            return [
                {**row, "author": users[row["author_id"]]} if row.get("author_id") in users else row for row in rows
            ]
    if isinstance(body.get("data"), dict):  # one comment or post of Reddit's, or one object of a stream
        return _rows(body["data"]) or [body["data"]]
    return []


def _objects(stem: str, rows: Sequence[Mapping[str, Any]]) -> Sheet:
    told = [row for row in rows if not row.keys() <= _NOTICES]
    lowered = [{str(k).lower(): v for k, v in row.items()} for row in told]
    names = dict.fromkeys(name for row in lowered[:200] for name in row)
    found = match(names, stem)
    left_out = Counter({_NOTICE: len(rows) - len(told)})
    if found.layout.kind == "posts":
        return Sheet(stem, found, rows=lowered, left_out=left_out)
    columns = {n: pa.chunked_array([pa.array([_cell(row.get(n)) for row in lowered], pa.string())]) for n in names}
    return Sheet(stem, found, columns)


def _cell(value: object) -> str | None:
    return None if value is None else str(value)


def _csv(stem: str, text: str, notes: list[str]) -> Sheet:
    lines = io.StringIO(text, newline="")
    while (place := lines.tell()) >= 0 and (first := lines.readline()):
        if first.strip() and not _PREAMBLE.match(first):
            break
    if not first.strip():
        raise InputError(f"{stem} is empty.")
    mark = max(",;\t|", key=first.count)
    body = text[place:]
    head = next(csv.reader([first], delimiter=mark))
    if _is_number(head[0]) and sum(map(_is_number, head)) >= min(5, len(head)):
        return _headless(stem, list(csv.reader(io.StringIO(body, newline=""), delimiter=mark)), notes)
    names = [name.strip().strip('"').lower().replace("/", ".") for name in head]
    if body[len(first) :].lower().startswith("ticker" + mark):
        names, body = _one_ticker(stem, names, body, mark)
    found = match(names, stem)
    if found.layout.kind == "candles":
        return Sheet(stem, found, _table(body, names, mark), notes=notes)
    return _post_rows(stem, body, names, mark, found, notes)


def _one_ticker(stem: str, names: list[str], body: str, mark: str) -> tuple[list[str], str]:
    """Three lines of names, as yfinance writes them, as one: of the columns, of the market in each of them, of the time.

    Raises:
        InputError: there are several markets side by side.
    """
    lines = body.split("\n")
    tickers = {name.strip() for name in lines[1].split(mark)[1:] if name.strip()}
    if len(tickers) != 1:
        raise InputError(f"{stem} holds {len(tickers)} markets side by side; save each in a file of its own.")
    rows = [f"{line.rstrip()}{mark}{next(iter(tickers))}" for line in lines[3:] if line.strip()]
    names = [(lines[2].split(mark)[0].strip() or "date").lower(), *names[1:], "ticker"]
    return names, "\n".join([mark.join(names), *rows]) + "\n"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _headless(stem: str, rows: Sequence[Sequence[str]], notes: list[str]) -> Sheet:
    """Rows of numbers without a line of names: the layout is told by how many there are."""
    full = [row for row in rows if row]
    width = max((len(row) for row in full[:10]), default=0)
    layouts = [own for own in CANDLES if len(own.headless) == width]
    if 8 < width < 12:  # Binance's older files and cut tables have fewer columns behind the volume
        layouts = [own for own in CANDLES if own.name == "Binance archive"]
    layout = next((own for own in layouts if _in_order(full[:5000], own.headless)), None)
    if layout is None:
        orders = " or ".join(",".join(own.headless[:width]) for own in layouts)
        raise InputError(
            f"{stem} has no line of column names and {width} columns, which "
            + (f"are not in the order {orders}" if orders else "no layout has")
            + "; put a first line like time,open,high,low,close,volume."
        )
    names = layout.headless[:width]
    return Sheet(stem, Match(layout, f"no header, {width} columns"), _texts(full, names), notes=notes)


def _in_order(rows: Sequence[Sequence[str]], names: Sequence[str]) -> bool:
    """Whether prices under these names agree, and a time of closing comes after that of opening; empty rows tell nothing."""
    told = {
        name: [number(row[place]) if place < len(row) else np.nan for row in rows] for place, name in enumerate(names)
    }
    opened, high, low, close = (np.array(told[name]) for name in ("open", "high", "low", "close"))
    known = np.isfinite(opened + high + low + close)
    right = (high >= np.maximum(opened, close)) & (low <= np.minimum(opened, close))
    if "close_time" in told:
        right &= np.array(told["close_time"]) >= np.array(told["open_time"])
    return not known.any() or float(right[known].mean()) >= ORDERED


def _table(body: str, names: Sequence[str], mark: str) -> dict[str, Any]:
    """Arrow's fast reader; texts where it finds rows that it cannot read, short ones filled with nothing."""
    options = pa.csv.ParseOptions(delimiter=mark)
    read = pa.csv.ReadOptions(column_names=[f"{i}" for i in range(len(names))], skip_rows=1)
    try:
        table = pa.csv.read_csv(io.BytesIO(body.encode()), read, options)
    except pa.ArrowInvalid:
        rows = [row for row in csv.reader(io.StringIO(body, newline=""), delimiter=mark) if row][1:]
        return _texts(rows, names)
    return {name: table.column(i) for i, name in reversed(list(enumerate(names)))}


def _texts(rows: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, Any]:
    width = len(names)
    filled = [(list(row) + [""] * width)[:width] for row in rows]
    return {n: pa.chunked_array([pa.array([row[i] for row in filled], pa.string())]) for i, n in enumerate(names)}


def _post_rows(stem: str, body: str, names: Sequence[str], mark: str, found: Match, notes: list[str]) -> Sheet:
    """Rows of posts as texts; one with fewer fields than the header is cut off, and refused."""
    csv.field_size_limit(2**27)
    rows = [row for row in csv.reader(io.StringIO(body, newline=""), delimiter=mark) if row][1:]
    whole = [dict(zip(names, row, strict=False)) for row in rows if len(row) >= len(names)]
    sheet = Sheet(stem, found, rows=whole, notes=notes)
    sheet.refused[CUT] += len(rows) - len(whole)
    return sheet
