"""Columns of files as candles and posts in order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.candles import CandleColumns, MarketKey
from domain.clock import parse_time
from domain.errors import InputError
from domain.symbols import kind_of, normalize
from streaming.files.cells import epoch_seconds, numbers, timeframe_of

TIME_COLUMNS = ("t", "t_utc", "t_utc_est", "timestamp", "unix", "time", "date", "open_time")
_PRICES = ("open", "high", "low", "close")
UNDATED = "without a time that can be read"
_SWAPS = {"_um": "USDT"}
"""Suffixes of exchange names that mean perpetual swaps, with what they settle in."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What part of the files is wanted; the ends are [since, until). ``undated``: also rows without a time, to be refused."""

    since: datetime | None = None
    until: datetime | None = None
    symbols: frozenset[str] = frozenset()
    undated: bool = False

    def mask(self, at: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows in the wanted time."""
        keep = np.isfinite(at)
        if self.since:
            keep &= at >= self.since.timestamp()
        if self.until:
            keep &= at < self.until.timestamp()
        return keep | ~np.isfinite(at) if self.undated else keep


@dataclass(frozen=True, slots=True)
class PostTable:
    """One source's posts in order of time; all columns have the length of ``at`` (float64 epoch seconds)."""

    source: str
    at: NDArray[np.float64]
    ids: list[str]
    text: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)


POST_COLUMNS = ("text", "source", "symbols", "likes", "retweets", "replies", "author_hash")


def time_column(columns: dict[str, Any]) -> str | None:
    """Name of the column with the time."""
    return next((name for name in TIME_COLUMNS if name in columns), None)


def candle_tables(
    columns: dict[str, Any], cut: Cut, exchange: str, symbol: str | None = None, timeframe: str = ""
) -> list[CandleColumns]:
    """The candles of a file, one entry a market in order of time, one candle a minute (of equal ones the last).

    Rows whose time cannot be read come last, and have minus their number for a time, which the sink refuses.
    ``exchange``, ``symbol`` and ``timeframe`` hold where the file names none; no timeframe at all is told by the steps.

    Raises:
        InputError: the steps do not tell it.
    """
    at = epoch_seconds(columns[time_column(columns) or ""])
    keep, at_ = cut.mask(at), np.where(np.isfinite(at), at, -1.0 - np.arange(len(at))).astype(np.int64)
    prices = [numbers(columns[n]) for n in _PRICES]
    prices.append(numbers(columns["volume"]) if "volume" in columns else np.zeros(len(at)))
    bars = np.stack(prices, axis=1)
    rows_of: dict[MarketKey, list[NDArray[np.intp]]] = {}
    for names, rows in _groups(columns, len(at), (exchange, symbol or "", "", timeframe)).items():
        rows_of.setdefault(_key(*names), []).append(rows)
    tables: dict[MarketKey, list[NDArray[np.intp]]] = {}
    for place, parts in rows_of.items():
        if not cut.symbols or place.symbol.split(":")[0] in cut.symbols:
            own = place.timeframe or timeframe_of(at_[np.concatenate(parts)], at_)
            tables.setdefault(place._replace(timeframe=own), []).extend(parts)
    wanted = {key: rows[keep[rows]] for key, parts in tables.items() for rows in [np.sort(np.concatenate(parts))]}
    return [_table(key, rows, at_, bars) for key, rows in wanted.items() if len(rows)]


def _table(key: MarketKey, rows: NDArray[np.intp], at: NDArray[np.int64], bars: NDArray[np.float64]) -> CandleColumns:
    """These rows in order of time, of equal times the last, undated ones at the end."""
    order = rows[np.lexsort((at[rows], at[rows] < 0))]
    last = np.append(at[order][1:] != at[order][:-1], [True])
    return CandleColumns.of(key, at[order][last], bars[order][last])


def merged(tables: Sequence[CandleColumns]) -> list[CandleColumns]:
    """One entry a market, for tables of several files of one archive; of equal times the last row counts."""
    parts: dict[MarketKey, list[CandleColumns]] = {}
    for table in tables:
        parts.setdefault(table.key, []).append(table)
    return [own[0] if len(own) == 1 else _joined(key, own) for key, own in parts.items()]


def _joined(key: MarketKey, parts: Sequence[CandleColumns]) -> CandleColumns:
    at, bars = np.concatenate([p.at for p in parts]), np.concatenate([p.bars for p in parts])
    return _table(key, np.arange(len(at)), at, bars)


def _groups(columns: dict[str, Any], rows: int, defaults: Sequence[str]) -> dict[tuple[str, ...], NDArray[np.intp]]:
    """Row numbers by exchange, symbol, market kind and timeframe; the defaults where a row names none."""
    names, codes = [], np.zeros(rows, dtype=np.int64)
    symbol = "symbol" if "symbol" in columns else "asset"
    for column, default in zip(("exchange", symbol, "market", "timeframe"), defaults, strict=True):
        if column not in columns:
            names.append([default])
            continue
        encoded = columns[column].cast(pa.string()).fill_null("").dictionary_encode().combine_chunks()
        encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
        names.append([name.strip() or default for name in encoded.dictionary.to_pylist()])
        codes = codes * len(names[-1]) + np.asarray(encoded.indices)
    shape = tuple(map(len, names))
    out: dict[tuple[str, ...], NDArray[np.intp]] = {}
    for code in np.unique(codes):
        places = np.unravel_index(code, shape)
        out[tuple(own[place] for own, place in zip(names, places, strict=True))] = np.flatnonzero(codes == code)
    return out


def _key(exchange: str, symbol: str, market: str, timeframe: str) -> MarketKey:
    """What is no market's name stays as it is, for the sink to refuse."""
    try:
        pair = normalize(symbol, exchange.partition("_")[0])
    except InputError:
        return MarketKey(exchange, market or "spot", symbol, timeframe)
    for suffix, settle in _SWAPS.items():
        if exchange.endswith(suffix):
            exchange, market, pair = exchange.removesuffix(suffix), "swap", f"{pair.split(':')[0]}:{settle}"
    if market == "swap" and ":" not in pair:
        base, quote = pair.split("/")
        pair += f":{base if quote == 'USD' else quote}"
    return MarketKey(exchange, market or kind_of(pair), pair, timeframe)


def post_tables(columns: dict[str, Any], cut: Cut, source: str) -> list[PostTable]:
    """The posts of a file by source; ids are made of time, author and words, and so are the same at every reading."""
    at = epoch_seconds(columns[time_column(columns) or ""])
    keep = np.flatnonzero(cut.mask(at))
    keep = keep[np.argsort(at[keep], kind="stable")]
    taken = {name: columns[name].take(pa.array(keep)).to_pylist() for name in POST_COLUMNS if name in columns}
    names = [_source_name(str(s or source)) for s in taken.get("source", [source] * len(keep))]
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    moments, tables = at[keep], []
    for name, rows in rows_of.items():
        own = {column: [values[r] for r in rows] for column, values in taken.items() if column != "source"}
        text = [t.decode(errors="surrogatepass") if isinstance(t, bytes) else str(t or "") for t in own.pop("text")]
        ids = _ids(name, moments[rows], own.get("author_hash", []), text)
        tables.append(PostTable(name, moments[rows], ids, text, own))
    return tables


def _ids(source: str, at: NDArray[np.float64], authors: Sequence[str | None], text: Sequence[str]) -> list[str]:
    """One id a row; rows that are alike in everything are numbered."""
    seen: dict[str, int] = {}
    out = []
    for row, words in enumerate(text):
        author = authors[row] if authors else ""
        raw = f"{at[row]:.3f}|{author}|{words}".encode(errors="surrogatepass")
        digest = hashlib.sha256(raw).hexdigest()[:24]
        seen[digest] = seen.get(digest, 0) + 1
        out.append(f"{source}:{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""))
    return out


def _source_name(raw: str) -> str:
    kept = "".join(c if c.isalnum() and c.isascii() else "_" for c in raw.lower())[:40].strip("_")
    return kept or "file"


def cut_of(since: str | None, until: str | None, symbols: str) -> Cut:
    """The cut that the options describe."""
    wanted = frozenset(normalize(s) for s in symbols.split(",") if s.strip())
    return Cut(parse_time(since) if since else None, parse_time(until) if until else None, wanted)
