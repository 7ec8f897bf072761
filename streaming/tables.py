"""Candles and posts from parquet and CSV files, whatever the columns are called, as columns in order of time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from db.queries.candles import Key
from domain import symbols
from domain.errors import InputError

TIME_COLUMNS = ("t", "t_utc", "t_utc_est", "timestamp", "unix", "time", "date", "open_time")
_PRICES = ("open", "high", "low", "close")
_TIMEFRAMES = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 14_400: "4h", 86_400: "1d"}
_SWAPS = {"_um": "USDT"}
"""Suffixes of exchange names that mean perpetual swaps, with what they settle in."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What part of the files is wanted; the ends are [since, until)."""

    since: datetime | None = None
    until: datetime | None = None
    symbols: frozenset[str] = frozenset()

    def mask(self, at: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows in the wanted time."""
        keep = np.isfinite(at)
        if self.since:
            keep &= at >= self.since.timestamp()
        if self.until:
            keep &= at < self.until.timestamp()
        return keep


@dataclass(frozen=True, slots=True)
class CandleTable:
    """One market's candles in order of time: ``at`` int64[n] epoch seconds, ``bars`` float64[n, 5] OHLCV."""

    key: Key
    at: NDArray[np.int64]
    bars: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PostTable:
    """One source's posts in order of time; all columns have the length of ``at`` (float64 epoch seconds)."""

    source: str
    at: NDArray[np.float64]
    ids: list[str]
    text: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)


def files_of(paths: Iterable[Path], suffixes: Sequence[str] = (".parquet", ".csv")) -> list[Path]:
    """The files of these kinds among these paths and below these directories.

    Raises:
        InputError: a path is missing, or there is no such file at all.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or directory {path}; correct the path.")
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = [p for p in found if p.suffix in suffixes]
    if not found:
        raise InputError(f"There is no file to read there ({', '.join(suffixes)}); name files with candles or posts.")
    return found


def read_columns(path: Path) -> dict[str, Any]:
    """The Arrow columns of a file by lower-case name; only those that candles or posts can use.

    Raises:
        InputError: the file cannot be read.
    """
    wanted = {*TIME_COLUMNS, *_PRICES, "volume", "exchange", "symbol", "asset", "market", "timeframe", *POST_COLUMNS}
    try:
        if path.suffix == ".parquet":
            names = [n for n in pa.parquet.read_schema(path).names if n.lower() in wanted]
            table = pa.parquet.read_table(path, columns=names)
        else:
            table = pa.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path.name} cannot be read as {path.suffix[1:]}: {str(error)[:120]}") from None
    return {name.lower(): table.column(name) for name in table.column_names if name.lower() in wanted}


POST_COLUMNS = ("text", "source", "lang", "language", "symbols", "likes", "retweets", "replies", "author_hash")


def kind_of(columns: dict[str, Any]) -> str | None:
    """``candles``, ``posts`` or None, by the columns."""
    if time_column(columns) is None:
        return None
    if all(name in columns for name in _PRICES):
        return "candles"
    return "posts" if "text" in columns else None


def time_column(columns: dict[str, Any]) -> str | None:
    """Name of the column with the time."""
    return next((name for name in TIME_COLUMNS if name in columns), None)


def epoch_seconds(column: Any) -> NDArray[np.float64]:
    """Seconds since the epoch from numbers (s, ms or µs, told apart by size), timestamps or ISO texts; NaN where unknown."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    units = np.select([np.abs(values) > 1e14, np.abs(values) > 1e11], [1e6, 1e3], 1.0)
    return np.asarray(values / units, dtype=np.float64)


def candle_tables(columns: dict[str, Any], cut: Cut, exchange: str, symbol: str | None = None) -> list[CandleTable]:
    """The candles of a file by market, one a minute (of equal ones the last); ``exchange``, ``symbol`` if it names none."""
    at = epoch_seconds(columns[time_column(columns) or ""])
    keep = np.flatnonzero(cut.mask(at))
    at_ = at[keep].astype(np.int64)
    prices = [np.asarray(columns[n].to_numpy(zero_copy_only=False), dtype=np.float64)[keep] for n in _PRICES]
    volume = columns.get("volume")
    prices.append(
        np.asarray(volume.to_numpy(zero_copy_only=False), np.float64)[keep] if volume else np.zeros(len(keep))
    )
    bars = np.stack(prices, axis=1)
    tables = []
    for (raw_exchange, raw_symbol), rows in _groups(columns, keep, exchange, symbol).items():
        if cut.symbols and symbols.normalize(raw_symbol).split(":")[0] not in cut.symbols:
            continue
        order = rows[np.argsort(at_[rows], kind="stable")]
        last = np.append(at_[order][1:] != at_[order][:-1], [True]) if len(order) else np.zeros(0, bool)
        own = at_[order][last]
        tables.append(CandleTable(_key(raw_exchange, raw_symbol, timeframe_of(own)), own, bars[order][last]))
    return tables


def _groups(
    columns: dict[str, Any], keep: NDArray[np.intp], exchange: str, symbol: str | None
) -> dict[tuple[str, str], NDArray[np.intp]]:
    """Row numbers (within ``keep``) by exchange and symbol."""
    names, codes = [], np.zeros(len(keep), dtype=np.int64)
    for column, default in (("exchange", exchange), ("symbol", symbol or ""), ("asset", "")):
        if column == "asset" and "symbol" in columns:
            continue
        if column not in columns:
            names.append([default])
            continue
        encoded = columns[column].cast(pa.string()).dictionary_encode().combine_chunks()
        encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
        names.append(encoded.dictionary.to_pylist())
        codes = codes * len(names[-1]) + np.asarray(encoded.indices)[keep]
    out: dict[tuple[str, str], NDArray[np.intp]] = {}
    exchanges, markets = names[0], next(n for n in reversed(names) if n != [""])
    for code in np.unique(codes):
        out[exchanges[code // len(markets)], markets[code % len(markets)]] = np.flatnonzero(codes == code)
    return out


def timeframe_of(at: NDArray[np.int64]) -> str:
    """The timeframe by the commonest distance of neighbours; one minute where there are none."""
    if len(at) < 2:
        return "1m"
    steps, counts = np.unique(np.diff(at), return_counts=True)
    return _TIMEFRAMES.get(int(steps[np.argmax(counts)]), "1m")


def _key(exchange: str, symbol: str, timeframe: str) -> Key:
    pair = symbols.normalize(symbol)
    for suffix, settle in _SWAPS.items():
        if exchange.endswith(suffix):
            return exchange.removesuffix(suffix), "swap", f"{pair}:{settle}", timeframe
    return exchange, "swap" if ":" in pair else "spot", pair, timeframe


def post_tables(columns: dict[str, Any], cut: Cut, source: str) -> list[PostTable]:
    """The posts of a file by source; ids are made of time, author and words, and so are the same at every reading."""
    at = epoch_seconds(columns[time_column(columns) or ""])
    keep = np.flatnonzero(cut.mask(at))
    keep = keep[np.argsort(at[keep], kind="stable")]
    taken = {name: columns[name].take(pa.array(keep)).to_pylist() for name in POST_COLUMNS if name in columns}
    names = [_source_name(s or source) for s in taken.get("source", [source] * len(keep))]
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    moments, tables = at[keep], []
    for name, rows in rows_of.items():
        own = {column: [values[r] for r in rows] for column, values in taken.items() if column != "source"}
        text = [t.decode(errors="surrogatepass") if isinstance(t, bytes) else t or "" for t in own.pop("text")]
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
