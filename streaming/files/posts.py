"""Posts of a sheet: words, time, author and counts by its layout; a count that cannot be read is unknown, no fault."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from domain.errors import InputError
from streaming.files.cells import day_first, epoch_seconds, moment, offset, whole
from streaming.files.opening import Sheet
from streaming.files.post_layouts import POSTS, Names, PostLayout
from streaming.files.tables import UNDATED, Cut, PostTable, post_tables, time_column

_COUNTS = ("likes", "retweets", "replies")
_PLAIN = POSTS[-1]
"""Its names serve where a row lacks those of the file's layout, as in files put together of several."""
_LINKS = re.compile(r"<[^>]+>")
_REPR = re.compile(r"""[({,\s]["']?username["']?\s*[:=]\s*["']([^"']+)["']""")
"""The name in a user as Python prints one, in tables that pandas made of snscrape's objects."""


@dataclass(slots=True)
class Posts:
    """The posts of a sheet by source; rows left out by reason."""

    tables: list[PostTable]
    rows: int
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def plain(html: str) -> str:
    """The words of a piece of HTML: paragraphs and breaks are line breaks, tags go, entities are read."""
    return unescape(_LINKS.sub("", re.sub(r"(?i)<br\s*/?>|</p>\s*<p[^>]*>", "\n", html))).strip()


def author_hash(name: object, key: str) -> str | None:
    """A keyed hash of a name: the same author is recognised, the name is not kept."""
    if not name:
        return None
    plain = str(name).strip().removeprefix("@").lower()
    return hmac.new(key.encode(), plain.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:16]


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone of this name.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, KeyError):
        raise InputError(f"“{name}” is not a time zone; write it like Europe/Berlin or UTC.") from None


def posts(sheet: Sheet, cut: Cut, zone: tzinfo | None, key: str) -> Posts:
    """Read a sheet of posts; ``zone``: of local times, ``key``: authors' names are hashed with it.

    Raises:
        InputError: the times are local ones and nobody says where.
    """
    layout = sheet.match.layout
    assert isinstance(layout, PostLayout)
    left_out: Counter[str] = Counter()
    if sheet.rows is None:
        columns, rows = _plain(sheet, layout), len(next(iter(sheet.columns.values())))
    else:
        columns, rows = _by_layout(sheet, layout, zone, key, left_out), len(sheet.rows)
    stem = re.sub(r"[^a-z0-9]+", "_", sheet.name.lower()).strip("_") or "file"
    tables = post_tables(columns, cut, layout.source or stem[:40])
    if not cut.undated:
        left_out[UNDATED] += int((~np.isfinite(epoch_seconds(columns[time_column(columns) or ""]))).sum())
    left_out["outside --since and --until"] += rows - sum(left_out.values()) - sum(len(t.at) for t in tables)
    return Posts(tables, rows, left_out, list(sheet.notes))


def _plain(sheet: Sheet, layout: PostLayout) -> dict[str, Any]:
    """The columns of a table that is laid out as we name things."""
    columns = {**sheet.columns}
    for ours, names in (("text", layout.text), ("t", layout.time), *((n, getattr(layout, n)) for n in _COUNTS)):
        name = next((n for n in names if n in columns), None)
        if name is not None:
            columns.setdefault(ours, columns[name])
    return columns


def _by_layout(
    sheet: Sheet, layout: PostLayout, zone: tzinfo | None, key: str, left_out: Counter[str]
) -> dict[str, Any]:
    out: dict[str, list[Any]] = {name: [] for name in ("t", "text", "author_hash", *_COUNTS, "symbols", "source")}
    first = day_first(_first(row, layout.time + _PLAIN.time) for row in sheet.rows or ())
    for row in sheet.rows or ():
        reason = next(
            (why for name, value, why in layout.drop if name in row and _words(row[name]).lower() == value), None
        )
        if reason is not None and not (reason == "no words" and _words(row.get("text"))):
            left_out[reason] += 1
            continue
        words = "\n".join(w for name in layout.joined if (w := _words(row.get(name)))) or _words(
            _first(row, layout.text + _PLAIN.text)
        )
        if layout.html:
            words = plain(words)
        out["text"].append(words.encode(errors="surrogatepass"))  # Arrow's strings hold no half surrogate pairs
        out["t"].append(_time(row, layout, zone, sheet.name, first))
        out["author_hash"].append(row.get("author_hash") or author_hash(_name(_first(row, layout.author)), key))
        for name in _COUNTS:
            out[name].append(whole(_first(row, getattr(layout, name))))
        out["symbols"].append(_symbols(_first(row, layout.symbols)))
        out["source"].append(layout.source or _held(row.get("source")))
    if not any(out["source"]):
        del out["source"]
    moments = pa.chunked_array([pa.array(out.pop("t"), pa.float64())])
    filled = {name: values for name, values in out.items() if name == "text" or any(v is not None for v in values)}
    types = {"text": pa.binary(), **dict.fromkeys(_COUNTS, pa.int64())}
    return {"t": moments} | {n: pa.chunked_array([pa.array(v, types.get(n, pa.string()))]) for n, v in filled.items()}


def _first(row: Mapping[str, Any], names: Names) -> Any:
    """The first of these fields that is there and not empty; ``a.b`` goes into objects."""
    for name in names:
        value: Any = row.get(name)  # tables write the path into the column's name
        if value is None:
            value = row
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        if value not in (None, "", []):
            return value
    return None


def _words(value: object) -> str:
    """A text as such; the pieces of Telegram's are joined."""
    if isinstance(value, list):
        return "".join(str(p.get("text") or "") if isinstance(p, Mapping) else str(p) for p in value)
    return str(value or "")


def _name(author: object) -> object:
    """Who wrote it: of an object the name that the network keeps unique."""
    if isinstance(author, Mapping):
        names = (
            "username",
            "userName",
            "screen_name",
            "login",
            "acct",
            "name",
            "id",
            "user_id",
            "channel_id",
            "chat_id",
        )
        return next((author[n] for n in names if author.get(n)), None)
    written = _REPR.search(author) if isinstance(author, str) else None
    return written[1] if written else author


def _held(value: object) -> str | None:
    """A text that Arrow can hold."""
    value = value[0] if isinstance(value, list) and value else value
    return None if value is None else _LINKS.sub("", str(value)).encode(errors="replace").decode()


def _symbols(value: object) -> str | None:
    """Markets as words; StockTwits writes objects, and ``BTC.X`` for coins."""
    if value is None:
        return None
    items = value if isinstance(value, list) else re.split(r"[\s,;|]+", str(value).strip("[]'\""))
    names = [str(i.get("symbol") or "") if isinstance(i, Mapping) else str(i).strip("'\"") for i in items]
    if any(isinstance(i, Mapping) for i in items):
        names = [n for n in names if n.upper().endswith(".X")]  # others are shares
    return _held(" ".join(n.removesuffix(".X").removesuffix(".x") for n in names if n)) or None


def _time(
    row: Mapping[str, Any], layout: PostLayout, zone: tzinfo | None, file: str, first: bool | None
) -> float | None:
    if not layout.local:
        found = _first(row, layout.time + _PLAIN.time)
        return None if found is None else moment(found, zone or UTC, day_first=first)
    text = f"{row.get('date') or ''} {row.get('time') or ''}".strip()
    own = zone or offset(str(row.get("timezone") or "").strip())
    if own is None and (exact := moment(row.get("created_at"))) == exact:
        return exact
    if own is None:
        raise InputError(f"The times of {file} are local ones; say where they were written: --timezone Europe/Berlin.")
    return moment(text, own)
