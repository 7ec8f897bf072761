"""Layouts of files of candles as data, and which layout, of these and those of posts, a file fits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from domain.errors import InputError
from streaming.files.post_layouts import POSTS, Names, PostLayout

TIMES = (
    "unix",
    "unix timestamp",
    "timestamp",
    "open_time",
    "open time",
    "t",
    "t_utc",
    "t_utc_est",
    "time",
    "date",
    "datetime",
)
"""Names of the column with a candle's opening time, the surest first."""  # fmt: skip


@dataclass(frozen=True, slots=True)
class CandleLayout:
    """Candles. Column names are lower case; ``{base}`` in ``volume`` stands for the market's base coin.

    ``marks``: columns that a file of this layout has and another lacks. ``headless``: its columns where it has no header
    line; ``bare``: it never has one. ``idle``: rows without any value are minutes without a trade, not faults. ``unit``:
    what the volume counts: ``base`` or ``quote`` (turned into the base currency by the close). ``market``: the column that
    names the market, in the spelling of ``venue``; a coin alone is quoted in ``quote``. ``contracts``: the column of the
    base currency where the market is a contract, since ``volume`` counts contracts there. ``ends``: the time is the end.
    """

    name: str
    marks: Names = ()
    time: Names = TIMES
    volume: Names = ("volume",)
    headless: Names = ()
    idle: bool = False
    unit: str = "base"
    market: str = ""
    venue: str = ""
    quote: str = ""
    contracts: str = ""
    close: str = "close"
    ends: bool = False
    bare: bool = False

    kind = "candles"

    def missing(self, columns: Collection[str]) -> list[str]:
        """What a file with these columns lacks to be of this layout, in words for people."""
        if self.bare:
            return ["rows without a line of names"] * 9
        lacks = [f"“{mark}”" for mark in self.marks if not _there(mark, columns)]
        if not any(name in columns for name in self.time):
            lacks.append("a time (“time”, “date” or “unix”)")
        lacks += [f"“{name}”" for name in ("open", "high", "low", self.close) if name not in columns]
        if not any(_there(name, columns) for name in self.volume):
            lacks.append("“volume”")
        return lacks


Layout = CandleLayout | PostLayout

_KLINE = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count")
CANDLES: tuple[CandleLayout, ...] = (
    CandleLayout(
        "CryptoDataDownload",
        ("symbol", "volume {any}"),
        ("unix", "unix timestamp", "date"),
        ("volume {base}", "volume_{base}", "volume {any}"),
    ),
    CandleLayout("CryptoDataDownload, one volume", ("symbol", "unix timestamp", "date"), ("unix timestamp", "date")),
    CandleLayout(
        "Binance archive",
        ("open_time", "close_time"),
        ("open_time",),
        headless=(*_KLINE, "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    ),
    CandleLayout(
        "Kraken OHLCVT", ("trades",), ("time",), headless=("time", "open", "high", "low", "close", "volume", "trades")
    ),
    CandleLayout(
        "Kraken OHLC with vwap",
        ("vwap",),
        ("time",),
        headless=("time", "open", "high", "low", "close", "vwap", "volume", "trades"),
    ),
    CandleLayout(
        "Bitstamp minutes (Kaggle)", ("volume_{any}", "weighted_price"), ("timestamp",), ("volume_{base}",), idle=True
    ),
    CandleLayout(
        "Bitstamp minutes (Kaggle), lower case", ("volume_{any}",), ("timestamp",), ("volume_{base}",), idle=True
    ),
    CandleLayout("Yahoo Finance", ("adj close",), ("date", "datetime"), idle=True, unit="quote"),
    CandleLayout(
        "Yahoo Finance (yfinance)", ("ticker",), ("date", "datetime"), idle=True, unit="quote", market="ticker"
    ),
    CandleLayout("CoinMarketCap", ("timeopen", "marketcap"), ("timeopen",), unit="quote"),
    CandleLayout(
        "CoinMarketCap (Kaggle)",
        ("marketcap", "symbol"),
        ("date",),
        unit="quote",
        market="symbol",
        quote="USD",
        ends=True,
    ),
    CandleLayout("Investing.com", ("price", "vol."), ("date",), ("vol.",), close="price"),
    CandleLayout(
        "OKX archive",
        ("instrument_name", "vol_ccy"),
        ("open_time",),
        ("vol",),
        market="instrument_name",
        contracts="vol_ccy",
    ),
    CandleLayout(
        "BitMEX",
        ("homenotional", "symbol"),
        ("timestamp",),
        market="symbol",
        venue="bitmex",
        contracts="homenotional",
        ends=True,
    ),
    CandleLayout("Bitstamp API", ("pair", "timestamp"), ("timestamp",), market="pair"),
    CandleLayout("freqtrade", ("date",), ("date",), headless=("date", "open", "high", "low", "close", "volume")),
    CandleLayout("Coinbase API", bare=True, headless=("time", "low", "high", "open", "close", "volume")),
    CandleLayout("Bitfinex API", bare=True, headless=("time", "open", "close", "high", "low", "volume")),
    CandleLayout("Gate.io archive", bare=True, headless=("time", "volume", "close", "high", "low", "open")),
    CandleLayout("OHLCV"),
)
"""Layouts of candles; of several that fit, the one with most marks is taken, then the first; without a line of names the
first with as many columns, in the order of which no high is below and no low above another price."""


def _there(pattern: str, columns: Collection[str]) -> bool:
    """Whether a column, or one that begins like a pattern with ``{…}``, is there."""
    stem, brace, _ = pattern.partition("{")
    return any(name.startswith(stem) for name in columns) if brace else pattern in columns


@dataclass(frozen=True, slots=True)
class Match:
    """The layout of a file, and the columns that told it."""

    layout: Layout
    why: str


def match(columns: Iterable[str], file: str) -> Match:
    """The layout that a file with these lower-case columns fits.

    Raises:
        InputError: none; it names the columns, the nearest layout, and what to pass.
    """
    names = list(dict.fromkeys(columns))
    layouts: list[Layout] = [*CANDLES, *POSTS]
    lacks = [(layout.missing(names), layout) for layout in layouts]
    fitting = [layout for missing, layout in lacks if not missing]
    if fitting:
        best = max(fitting, key=lambda layout: len(layout.marks))
        groups = [(mark,) if isinstance(mark, str) else mark for mark in best.marks]
        marks = [next(n for n in names if any(_there(mark, [n]) for mark in group)) for group in groups]
        return Match(best, f"by its columns {', '.join(marks)}" if marks else "by its plain column names")
    likely = "candles" if {"open", "high", "low", "price"} & {name.strip("<>") for name in names} else "posts"
    own = [pair for pair in lacks if pair[1].kind == likely]
    missing, nearest = min(own, key=lambda pair: (len(pair[0]), -len(pair[1].marks)))
    seen = ", ".join(f"“{name[:30]}”" for name in names[:15]) or "none"
    known = ", ".join(layout.name for layout in layouts)
    needs = ", ".join(dict.fromkeys(missing))
    raise InputError(
        f"{file} fits no layout: its columns are {seen}; the nearest layout, {nearest.name}, also needs {needs}. "
        f"Known layouts: {known}. Name the columns like one of these, as plain OHLCV does: "
        "time, open, high, low, close, volume (with --symbol and --timeframe)."
    )
