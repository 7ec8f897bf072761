"""What may be stored: candles checked a batch at a time, posts one by one; every refusal has a reason a person can read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answer.catalogue import texts
from answer.words import explain
from domain import symbols
from domain.candles import MarketKey
from domain.errors import InputError
from domain.text import clean
from domain.types import Post
from streaming.messages import UNSTORABLE, PostMessage

FIRST = int(datetime(2009, 1, 3, tzinfo=UTC).timestamp())
"""Nothing traded here is older than the first bitcoin block."""

AHEAD = 60
"""Seconds that an exchange's clock may be ahead of ours."""

MOST_SYMBOLS = 50
"""Markets of one post."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,39}")
_TIMEFRAME = re.compile(r"[1-9][0-9]?[mhdw]")
_LENGTHS = {"id": 300, "author": 64}
"""Most characters of a post's texts: an index takes no key of more than 2.7 kB."""
_BARS = ("open", "high", "low", "close", "volume")


def _empty(place: int, bars: NDArray[np.float64]) -> Any:
    return np.isnan(bars[:, place])


_CLAIMS: tuple[tuple[str, Callable[[NDArray[np.float64]], Any]], ...] = (
    *((f"{name} is empty", partial(_empty, place)) for place, name in enumerate(_BARS)),
    ("a price or the volume is infinite", lambda b: ~np.isfinite(b).all(axis=1)),
    ("a price is zero or negative", lambda b: (b[:, :4] <= 0).any(axis=1)),
    ("the volume is negative", lambda b: b[:, 4] < 0),
    ("the high is below another price", lambda b: b[:, 1] < b[:, [0, 2, 3]].max(axis=1)),
    ("the low is above another price", lambda b: b[:, 2] > b[:, [0, 1, 3]].min(axis=1)),
)


def market_key(exchange: str, market: str, symbol: str, timeframe: str) -> MarketKey:
    """The market of a candle, its symbol in the house's form.

    Raises:
        ValueError: one of the four is no such name.
    """
    if not _NAME.fullmatch(exchange):
        raise ValueError(f"“{exchange[:40]}” is not an exchange")
    if market == "future":
        raise ValueError("it is a dated future, and these are not stored; pass spot markets or perpetuals")
    if market not in ("spot", "swap"):
        raise ValueError(f"“{market[:40]}” is not a market kind; spot and swap are")
    if not _TIMEFRAME.fullmatch(timeframe):
        raise ValueError(f"“{timeframe[:40]}” is not a timeframe")
    try:
        return MarketKey(exchange, market, symbols.normalize(symbol, exchange), timeframe)
    except InputError as error:
        raise ValueError(explain(error, texts().speaker("en"))) from None


def moment_reason(at: float, now: float) -> str | None:
    """Why a time in epoch seconds cannot be right."""
    if not np.isfinite(at):
        return "the time is not a number"
    if at > 1e14:
        return f"the time {at:.0f} is in microseconds; epoch seconds are expected"
    if at > 1e11:
        return f"the time {at:.0f} is in milliseconds; epoch seconds are expected"
    if at < FIRST:
        return f"the time {at:.0f} is before 2009" if at >= 0 else "the time is missing or cannot be read"
    if at > now + AHEAD:
        return f"the time {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} is in the future"
    return None


def candle_reasons(at: NDArray[np.int64], bars: NDArray[np.float64], now: float) -> dict[int, str]:
    """Row number → reason, for the candles that cannot be right. ``bars``: float64[n, 5] OHLCV."""
    wrong = ~((at >= FIRST) & (at <= now + AHEAD))
    reasons = {int(i): moment_reason(float(at[i]), now) or "the time is wrong" for i in np.flatnonzero(wrong)}
    for i in np.flatnonzero((at % 60 != 0) & ~wrong):
        reasons[int(i)] = f"the opening time {at[i]:.0f} is not on a minute"
    with np.errstate(invalid="ignore"):
        for words, holds in _CLAIMS:
            for i in np.flatnonzero(holds(bars)):
                reasons.setdefault(int(i), words)
    return reasons


def refuse_unstorable(**texts: str) -> None:
    """Raise ValueError when one of the named texts holds what PostgreSQL cannot store."""
    for name, value in texts.items():
        if UNSTORABLE.search(value):
            raise ValueError(f"the {name} holds a NUL or half a surrogate pair")


def to_post(message: PostMessage, now: float, language: Callable[[str], str]) -> Post:
    """The post of a message, its text cleaned and its language found; markets are found where the message names none.

    Raises:
        ValueError: it cannot be stored; the text says why.
    """
    if (reason := moment_reason(message.at, now)) is not None:
        raise ValueError(reason)
    if not _NAME.fullmatch(message.source):
        raise ValueError(f"“{message.source[:40]}” is not a source")
    short = {"id": message.id, "author": message.author_hash or ""}
    refuse_unstorable(text=message.text, **short)
    for name, most in _LENGTHS.items():
        if len(short[name]) > most:
            raise ValueError(f"the {name} is longer than {most} characters")
    if not message.id.strip():
        raise ValueError("the id is empty")
    if len(message.symbols) > MOST_SYMBOLS:
        raise ValueError(f"the post names {len(message.symbols)} markets; at most {MOST_SYMBOLS} are taken")
    try:
        text = clean(message.text)
        markets = tuple(map(symbols.normalize, message.symbols)) or symbols.mentioned(text)[:MOST_SYMBOLS]
    except InputError as error:
        raise ValueError(explain(error, texts().speaker("en"))) from None
    if not text:
        raise ValueError("the post has no words")
    return Post(
        id=message.id,
        source=message.source,
        text=text,
        language=language(text),
        posted_at=datetime.fromtimestamp(message.at, UTC),
        symbols=markets,
        author_hash=message.author_hash,
        likes=_count(message.likes),
        retweets=_count(message.retweets),
        replies=_count(message.replies),
        replayed=message.replayed,
    )


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 2**53 else None


def summary(reasons: dict[int, str], rows: int) -> str:
    """One sentence for the bad candles of a message."""
    first = min(reasons)
    return f"{len(reasons)} of {rows} candles refused; number {first}: {reasons[first]}"
