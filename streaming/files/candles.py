"""Candles of a sheet: its market, its time, its unit of volume, and what is left out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from domain.candles import CandleColumns
from domain.errors import InputError
from domain.symbols import ALIASES, kind_of, normalize, readings
from streaming.files.cells import TIMEFRAMES, epoch_seconds, numbers, timeframe_in, timeframe_of
from streaming.files.layouts import CandleLayout
from streaming.files.opening import Sheet
from streaming.files.tables import UNDATED, Cut, candle_tables

NO_TRADE = "no trade"
OUTSIDE = "outside --since and --until, or of another market"
REPEATED = "the same time again; the last row counts"
_NAMED: tuple[str, ...] = ("exchange", "symbol", "asset", "market", "timeframe")
_PRICES = ("open", "high", "low", "close")
_CONTRACT = re.compile(r"[A-Z0-9]{2,15}_(PERP|\d{6})", re.I)
_CHARTED = re.compile(r"[A-Z0-9]{5,}\.P(?![A-Za-z0-9])")
"""A perpetual in the name of a file that TradingView wrote: ``BINANCE_ETHUSDT.P, 15``."""
_CLOCK = re.compile(r"\d{1,2}:\d\d")
_SECONDS = {name: seconds for seconds, name in TIMEFRAMES.items()}
_UNREAD = re.compile(r"(?:^|[-_])(\d+(?:s|mo|M|d|w|h|m))(?=$|[-_])")
_KRAKEN = {str(seconds // 60): name for seconds, name in TIMEFRAMES.items()}
_WORDS = {"d": "1d", "1day": "1d", "daily": "1d", "hourly": "1h", "1hour": "1h", "minute": "1m", "1min": "1m"}
_OTHER_KINDS = ("aggtrades", "trades", "booktickers", "bookticker", "metrics", "liquidationsnapshot", "fundingrate")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller says about candles; what he leaves empty is told by the file."""

    exchange: str = "import"
    symbol: str | None = None
    timeframe: str = ""


@dataclass(slots=True)
class Candles:
    """The candles of a sheet, one entry a market; rows left out by reason; what a reader should know."""

    tables: list[CandleColumns]
    rows: int
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def candles(sheet: Sheet, asked: Asked, cut: Cut, folder: str = "") -> Candles:
    """Read a sheet of candles. ``folder``: the path above the file, which tells Binance's futures from its spot markets.

    Raises:
        InputError: its market or timeframe is not told, not known, or not stored here.
    """
    layout = sheet.match.layout
    assert isinstance(layout, CandleLayout)
    columns: dict[str, Any] = {name: sheet.columns[name] for name in _NAMED if name in sheet.columns}
    rows = len(next(iter(sheet.columns.values())))
    out = Candles([], rows, notes=list(sheet.notes))
    symbol = _market(sheet, layout, asked, columns, folder)
    if asked.timeframe:
        columns.pop("timeframe", None)
    timeframe = asked.timeframe or _timeframe(sheet.name, layout)
    columns["t"] = _opened(sheet, layout, timeframe)
    for name in _PRICES:
        columns[name] = sheet.columns[layout.close if name == "close" else name]
    columns["volume"] = _volume(sheet, layout, symbol or _first_named(columns), out)
    columns = _traded(columns, layout, out)
    tables = candle_tables(columns, cut, asked.exchange, symbol, timeframe)
    at = epoch_seconds(columns["t"])
    wanted = int(cut.mask(at).sum()) if not cut.symbols else sum(map(len, tables))
    undated = 0 if cut.undated else int((~np.isfinite(at)).sum())
    out.left_out[UNDATED] += undated
    out.left_out[OUTSIDE] += len(at) - wanted - undated
    out.left_out[REPEATED] += wanted - sum(map(len, tables))
    out.tables = tables
    return out


def _opened(sheet: Sheet, layout: CandleLayout, timeframe: str) -> Any:
    """The column of opening times; a day and a time of day in two columns are joined, and ends of candles moved back."""
    column = sheet.columns[next(name for name in layout.time if name in sheet.columns)]
    days, hours = (sheet.columns.get(name) for name in ("date", "time"))
    if days is not None and hours is not None and _CLOCK.match(str(next(iter(hours), ""))):
        days, hours = days.cast(pa.string()), hours.cast(pa.string())
        column = pa.chunked_array([pa.array([f"{day} {hour}" for day, hour in zip(days, hours, strict=True)])])
    if not layout.ends:
        return column
    at = epoch_seconds(column)
    whole = np.where(np.isfinite(at), at, -1).astype(np.int64)
    seconds = _SECONDS[timeframe or timeframe_of(whole, whole)]
    return pa.chunked_array([pa.array(np.ceil(at / seconds) * seconds - seconds)])


def _first_named(columns: dict[str, Any]) -> str | None:
    """The first market that the rows name."""
    column = columns.get("symbol", columns.get("asset"))
    named = "" if column is None else next((str(s) for s in column.unique().to_pylist() if s), "")
    try:
        return normalize(named) if named else None
    except InputError:
        return None


def _named(column: Any, layout: CandleLayout) -> Any:
    """A column of markets in the house's spelling; what is no known name stays, for the checks to refuse."""
    known: dict[str | None, str | None] = {}
    for name in column.unique().to_pylist():
        try:
            alone = layout.quote and re.fullmatch(r"[A-Za-z0-9]{2,12}", name or "")
            known[name] = normalize(f"{name}/{layout.quote}" if alone else name or "", layout.venue or None)
        except InputError:
            known[name] = name
    return pa.chunked_array([pa.array([known[name] for name in column.to_pylist()], pa.string())])


def _market(sheet: Sheet, layout: CandleLayout, asked: Asked, columns: dict[str, Any], folder: str) -> str | None:
    """The market of all rows; None where a column names each row's."""
    if asked.symbol is not None:
        columns.pop("symbol", None)
        columns.pop("asset", None)
        return normalize(asked.symbol, asked.exchange)
    if layout.market:
        columns["symbol"] = _named(sheet.columns[layout.market].cast(pa.string()), layout)
    if {"symbol", "asset"} & set(columns):
        return None
    if layout.name.startswith("Bitstamp"):
        base = next(n for n in sheet.columns if re.fullmatch(r"volume_\([a-z]{2,6}\)", n) and "currency" not in n)
        quote = re.match(r"[a-z]+?([A-Z]{3,4})(?=[_.-]|$)", sheet.name)
        return normalize(f"{base[8:-1]}/{quote[1] if quote else 'USD'}")
    symbol = symbol_in(sheet.name, asked.exchange)
    if layout.name == "Binance archive":
        parts = re.split(r"[\\/]", folder.lower())
        header = "taker_buy_volume" in sheet.columns and not sheet.match.why.startswith("no header")
        if ":" not in symbol and ("um" in parts or header):
            return f"{symbol}:{symbol.partition('/')[2]}"
    return symbol


def symbol_in(stem: str, exchange: str | None = None) -> str:
    """The market named in a file's name, such as ``BTCUSDT-1m-2021-01``, ``BTC_USDT-1h``, ``BTC-USD`` or ``BTCUSD_PERP-1h``.

    Raises:
        InputError: no market, or more than one reading of it, is known.
    """
    if (exchange or "").startswith("bitfinex"):
        stem = re.sub(r"(?<![A-Za-z])t(?=[A-Z]{5})", "", stem)
    head = stem.split("-", maxsplit=1)[0]
    if _CONTRACT.fullmatch(head):
        return normalize(head, exchange)
    if charted := _CHARTED.search(stem):
        return normalize(charted[0], exchange)
    words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
    for place, (first, second) in enumerate(pairwise(words)):
        base, quote = (ALIASES.get(w.upper(), w.upper()) for w in (first, second))
        if f"{base}/{quote}" in readings(base + quote, exchange):
            settle = words[place + 2].upper() if len(words) > place + 2 else ""
            return f"{base}/{quote}:{settle}" if settle in (base, quote) else f"{base}/{quote}"
    for word in words:
        if found := readings(word.upper(), exchange):
            return found[0] if len(found) == 1 else normalize(word, exchange)
    for word in words:
        if re.fullmatch(r"[A-Za-z0-9]{2,12}(USDT|USDC|USD)", word, re.I):
            return normalize(word, exchange)
    raise InputError(
        f"{stem} has no column “symbol”, and its name does not say which market it is; say it: --symbol BTC/USDT."
    )


def _timeframe(stem: str, layout: CandleLayout) -> str:
    """The timeframe in a file's name; one that is not stored here is refused."""
    words = [word.lower() for word in re.split(r"[-_. ]+", stem)]
    if other := next((word for word in words if word in _OTHER_KINDS), ""):
        raise InputError(f"{stem} holds {other}, not candles; klines (candles) of Binance's archive are read.")
    if layout.name.startswith("Kraken") and (name := _KRAKEN.get(words[-1])):
        return name
    if found := timeframe_in(stem):
        return found
    if unread := _UNREAD.search(stem):
        raise InputError(
            f"{stem} holds candles of {unread[1]}, which are not stored here; read are {', '.join(TIMEFRAMES.values())}."
        )
    return _WORDS.get(words[-1], "")


def _volume(sheet: Sheet, layout: CandleLayout, symbol: str | None, out: Candles) -> Any:
    """The volume in the base currency. ``symbol``: the market, or the first of several."""
    base = (symbol or "").partition("/")[0]
    if layout.contracts and kind_of(symbol or "") != "spot":
        out.notes.append(f"“volume” is in contracts; stored is the volume in {base} of “{layout.contracts}”")
        return sheet.columns[layout.contracts]
    if (
        kind_of(symbol or "") != "spot"
        and symbol
        and symbol.partition(":")[2].split("-")[0] == symbol.partition("/")[0]
    ):
        name = next((n for n in ("quote_volume", "quote_asset_volume", "base_volume") if n in sheet.columns), "")
        total = f"{np.nansum(numbers(sheet.columns['volume'])):,.0f}"
        if not name:
            out.notes.append(f"coin-margined: the volume is in contracts ({total}), not in {base}")
            return sheet.columns["volume"]
        out.notes.append(
            f"coin-margined: “volume” is in contracts ({total}); stored is the volume in {base} of “{name}”"
        )
        return sheet.columns[name]
    for pattern in layout.volume:
        stem, brace, kind = pattern.partition("{")
        names = (
            [n for n in sheet.columns if n.startswith(stem)] if brace else [pattern] if pattern in sheet.columns else []
        )
        if kind == "base}":
            names = [n for n in names if re.sub(r"[^a-z0-9]", "", n[len(stem) :]) == base.lower()]
        if names:
            name = names[0]
            break
    else:
        raise InputError(
            f"{sheet.name} names no volume in {base or 'the base coin'}; pass a file with a column “volume”."
        )
    if layout.unit == "quote":
        out.notes.append("the volume is in the quote currency; stored is volume / close, in the base currency")
        close = numbers(sheet.columns["close"])
        with np.errstate(divide="ignore", invalid="ignore"):
            return pa.chunked_array([pa.array(numbers(sheet.columns[name]) / close)])
    return sheet.columns[name]


def _traded(columns: dict[str, Any], layout: CandleLayout, out: Candles) -> dict[str, Any]:
    """Without the rows that hold no value at all, where the layout has such."""
    if not layout.idle:
        return columns
    values = np.stack([numbers(columns[name]) for name in _PRICES])
    idle = np.isnan(values).all(axis=0)
    out.left_out[NO_TRADE] += int(idle.sum())
    keep = pa.array(~idle)
    return {name: column.filter(keep) for name, column in columns.items()}
