"""Files as others publish them: CryptoDataDownload, Binance's archive, Twint, JSON lines; all become Arrow columns."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa

from domain.errors import InputError
from streaming.files.cells import number, timeframe_in
from streaming.files.tables import TIME_COLUMNS, read_columns

SUFFIXES = (".parquet", ".csv", ".zip", ".jsonl", ".ndjson")
_KLINE = ("open_time", "open", "high", "low", "close", "volume")
_TWINT = {"tweet", "date", "time"}
_OTHER_NAMES = {
    "unix timestamp": "unix",
    "created_at": "timestamp",
    "replies_count": "replies",
    "retweets_count": "retweets",
    "likes_count": "likes",
    "favorite_count": "likes",
    "retweet_count": "retweets",
    "reply_count": "replies",
    "content": "text",
    "body": "text",
    "username": "author",
    "user": "author",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one file into columns. ``timezone``: of Twint's local times; ``author_key``: names are hashed with it."""

    timezone: str | None = None
    author_key: str = ""

    def __call__(self, path: Path) -> dict[str, Any]:
        """Columns by the names that :mod:`streaming.files.tables` knows.

        Raises:
            InputError: the file cannot be read, or a Twint file says no time zone.
        """
        try:
            if path.suffix == ".zip":
                return _archive(path)
            if path.suffix in (".jsonl", ".ndjson"):
                return self._posts(_json_lines(path))
            if path.suffix == ".csv":
                return self._csv(path)
        except (OSError, UnicodeDecodeError, csv.Error, zipfile.BadZipFile, pa.ArrowException) as error:
            raise InputError(f"{path.name} cannot be read: {str(error)[:120]}") from None
        return read_columns(path)

    def _csv(self, path: Path) -> dict[str, Any]:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            if first.lower().startswith(("http", "www.")):
                return _crypto_data_download(lines)
            header = {name.strip().strip('"').lower() for name in first.replace("\t", ",").split(",")}
            if header >= _TWINT:
                lines.seek(0)
                return self._posts(list(csv.DictReader(lines, delimiter="\t" if "\t" in first else ",")))
        return read_columns(path)

    def _posts(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        out: dict[str, list[Any]] = {name: [] for name in ("t", "text", "author_hash", "likes", "retweets", "replies")}
        out |= {"lang": [], "source": [], "symbols": []}
        for raw in rows:
            row = {_OTHER_NAMES.get(k.lower(), k.lower()): v for k, v in raw.items() if k}
            out["t"].append(self._moment(row))
            words = str(row.get("tweet") or row.get("text") or "")
            out["text"].append(words.encode(errors="surrogatepass"))  # Arrow's strings hold no half surrogate pairs
            out["author_hash"].append(author_hash(row.get("author"), self.author_key))
            for name in ("likes", "retweets", "replies"):
                out[name].append(_whole(row.get(name)))
            out["lang"].append(_plain(row.get("language") or row.get("lang")))
            out["source"].append(_plain(row.get("source")) or ("twint" if "tweet" in row else None))
            named = row.get("symbols")
            out["symbols"].append(_plain(" ".join(map(str, named)) if isinstance(named, list) else named))
        if not any(out["source"]):
            del out["source"]
        moments = pa.chunked_array([pa.array(out.pop("t"), pa.float64())])
        return {"t": moments} | {
            name: pa.chunked_array([pa.array(values)])
            for name, values in out.items()
            if any(v is not None for v in values)
        }

    def _moment(self, row: Mapping[str, Any]) -> float | None:
        if "tweet" in row and row.get("date") and row.get("time"):
            return self._local(f"{row['date']} {row['time']}", str(row.get("timezone") or ""))
        value = next((row[name] for name in TIME_COLUMNS if row.get(name) is not None), None)
        if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
            try:
                moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            except ValueError:
                return None
            return moment.replace(tzinfo=moment.tzinfo or ZoneInfo("UTC")).timestamp()
        return None if value is None else number(str(value))

    def _local(self, text: str, offset: str) -> float | None:
        """Twint writes local times; the zone comes from the option, else from the row's own offset."""
        if self.timezone is None and not (offset[:1] in "+-" and offset[1:].isdigit()):
            raise InputError("Twint's times are local ones; say where they were written: --timezone Europe/Berlin.")
        try:
            if self.timezone is not None:
                return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(self.timezone)).timestamp()
            return datetime.strptime(f"{text} {offset}", "%Y-%m-%d %H:%M:%S %z").timestamp()
        except ZoneInfoNotFoundError:
            raise InputError(f"“{self.timezone}” is not a time zone; write it like Europe/Berlin or UTC.") from None
        except (ValueError, OverflowError):
            return None


def author_hash(name: object, key: str) -> str | None:
    """A keyed hash of a name: the same author is recognised, the name is not kept."""
    if not name:
        return None
    return hmac.new(key.encode(), str(name).lower().encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:16]


def _date(text: str) -> float:
    """Epoch seconds of a UTC time like ``2021-01-08``, ``2021-01-08 17:00:00`` or ``2019-10-17 05-PM``, else NaN."""
    for read in (datetime.fromisoformat, lambda words: datetime.strptime(words, "%Y-%m-%d %I-%p")):  # noqa: DTZ007 - next line
        with suppress(ValueError):
            return read(text.strip()).replace(tzinfo=ZoneInfo("UTC")).timestamp()
    return float("nan")


def _plain(value: object) -> str | None:
    """A text that Arrow can hold."""
    return None if value is None else str(value).encode(errors="replace").decode()


def _whole(value: object) -> int | None:
    read = number(str(value))
    return int(read) if abs(read) < 2**53 else None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file; a line that is none becomes a post of these words without a time, for the sink to refuse."""
    rows = []
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            rows.append(row if isinstance(row, dict) else {"text": line.strip()})
    return rows


def _archive(path: Path) -> dict[str, Any]:
    """Binance's public data: CSV files of klines in a zip, with or without a header, in ms or (since 2025) µs."""
    places = {name: place for place, name in enumerate(_KLINE)}
    parts = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".csv")):
            text = archive.read(name).decode()
            rows = [row for row in csv.reader(io.StringIO(text)) if row and not row[0].lower().startswith("open")]
            own = Path(name).stem
            parts.append(_columns(rows, places, own if "-" in own else path.stem))
            parts[-1]["timeframe"] = pa.chunked_array([pa.array([timeframe_in(own)] * len(rows), pa.string())])
    if not parts:
        raise InputError(f"{path.name} holds no CSV file.")
    return {name: pa.chunked_array([c for part in parts for c in part[name].chunks]) for name in parts[0]}


def _crypto_data_download(lines: Iterable[str]) -> dict[str, Any]:
    """CryptoDataDownload: a link first, newest row first, two spellings of the columns; volume is in the base currency."""
    reader = csv.reader(lines)
    header = [name.strip().lower() for name in next(reader, [])]
    rows = [row for row in reader if row]
    places = {_OTHER_NAMES.get(name, name): place for place, name in enumerate(header)}
    if "unix" not in places and "date" not in places:
        raise InputError("The CryptoDataDownload file has neither a “unix” nor a “date” column.")
    symbol = next((_cell(row, places["symbol"]) for row in rows if "symbol" in places), "")
    base = symbol.replace("/", "").upper()
    volumes = [name for name in places if name.startswith("volume")]
    own = next((v for v in volumes if base.startswith(v.removeprefix("volume").strip(" _").upper() or "-")), None)
    if volumes:
        places["volume"] = places[own or volumes[0]]
    return _columns(rows, places, symbol)


def _cell(row: Sequence[str], place: int) -> str:
    """A field of a row; nothing where the row ends before."""
    return row[place] if place < len(row) else ""


def _columns(rows: Sequence[Sequence[str]], places: Mapping[str, int], symbol: str) -> dict[str, Any]:
    time = next((name for name in ("unix", "open_time") if name in places), None)
    read, place = (_date, places["date"]) if time is None else (number, places[time])
    out = {"t": pa.chunked_array([pa.array([read(_cell(row, place)) for row in rows], pa.float64())])}
    for name in ("open", "high", "low", "close", "volume"):
        if name in places:
            values = [number(_cell(row, places[name])) for row in rows]
            out[name] = pa.chunked_array([pa.array(values, pa.float64())])
    if symbol:
        market = symbol.split("-", maxsplit=1)[0]
        out["symbol"] = pa.chunked_array([pa.array([market] * len(rows))])
    return out
