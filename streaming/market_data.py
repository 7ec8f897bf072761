"""Exchanges over ccxt: opened with their quirks, asked within their limits, and their past read page by page."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import ccxt
import ccxt.pro
import numpy as np

from domain.candles import CandleColumns, MarketKey
from domain.clock import Clock, SystemClock
from domain.errors import ConfigError, InputError, Unavailable
from domain.symbols import kind_of
from streaming import steps
from streaming.quirks import quirks

BUSY_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds between attempts at an exchange that says it is asked too often."""
LOOK = 120.0
"""Seconds between two looks at the holes that the database knows."""
FIRST_AGAIN, LAST_AGAIN = 600.0, 86_400.0
"""Seconds until a hole is asked for a second time, and the longest wait between two times."""
KEPT, LONGEST_HOLE = timedelta(days=7), timedelta(days=1)
"""How long holes are asked for, and what is asked of one at a time: its newest part."""
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}


def open_exchange(name: str, symbols: Iterable[str] = (), rest: str | None = None, ws: str | None = None) -> Any:
    """A ccxt exchange that honours rate limits; with swaps among ``symbols`` it also knows those markets.

    ``rest`` and ``ws`` point it at another server, its paths stay.

    Raises:
        InputError: ccxt knows no such exchange.
    """
    if name not in ccxt.pro.exchanges and name not in ccxt.async_support.exchanges:
        raise InputError(f"ccxt knows no exchange “{name[:40]}”; its ids are written like binance or kraken.")
    module = ccxt.pro if name in ccxt.pro.exchanges else ccxt.async_support
    peculiar = quirks(name)
    swaps = peculiar.swaps if any(kind_of(s) == "swap" for s in symbols) else {}
    exchange = getattr(module, name)({"enableRateLimit": True, "options": {**peculiar.options, **swaps}})
    if rest:
        exchange.urls["api"] = _everywhere(exchange.urls["api"], rest, ws or rest)
    return exchange


def _everywhere(urls: Any, rest: str, ws: str) -> Any:
    """The same tree of addresses with every host replaced."""
    if isinstance(urls, dict):
        return {k: _everywhere(v, ws if k == "ws" else rest, ws) for k, v in urls.items()}
    return rest + urlsplit(urls).path if isinstance(urls, str) else urls


async def ask(exchange: Any, method: str, *arguments: Any, **named: Any) -> Any:
    """Call ccxt; after “too many requests” wait as long as the exchange says, or longer each time.

    Raises:
        Unavailable: the exchange is away or slow, or stays busy for a minute; try again.
        InputError: it knows no such market or timeframe.
        ConfigError: it refuses this place or this key.
    """
    for wait in (*BUSY_WAITS, None):
        try:
            return await getattr(exchange, method)(*arguments, **named)
        except (ccxt.AuthenticationError, ccxt.PermissionDenied) as error:
            raise ConfigError(f"{exchange.id} refuses to answer: {str(error)[:160]}") from None
        except ccxt.BadSymbol as error:
            raise InputError(f"{exchange.id} has no such market: {str(error)[:120]}") from None
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:
            steps.BUSY.labels(exchange.id).inc()
            if wait is None:
                raise Unavailable(f"{exchange.id} stays busy: {str(error)[:160]}") from None
            await asyncio.sleep(_retry_after(exchange, wait))
        except (ccxt.NetworkError, ccxt.ExchangeError) as error:
            raise Unavailable(f"{exchange.id} does not answer ({type(error).__name__}): {str(error)[:160]}") from None
    raise AssertionError("unreachable")


def _retry_after(exchange: Any, default: float) -> float:
    """Seconds that the answer asks us to wait, at most two minutes."""
    headers = getattr(exchange, "last_response_headers", None) or {}
    header = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    try:
        return min(120.0, float(header)) if header is not None else default
    except ValueError:
        return default


async def pages(exchange: Any, key: MarketKey, since: int, until: int, page: int) -> AsyncIterator[CandleColumns]:
    """Candles that open in [since, until), oldest first, page by page; holes at the exchange stay holes."""
    step = SECONDS[key.timeframe]
    at = since
    while at < until:
        limit = min(page, (until - at) // step + 1)
        raw = await ask(exchange, "fetch_ohlcv", key.symbol, key.timeframe, at * 1000, limit)
        rows = np.array([r[:6] for r in raw], dtype=np.float64).reshape(-1, 6)  # None becomes NaN, to be refused
        rows[:, 0] //= 1000
        rows = rows[(rows[:, 0] >= at) & (rows[:, 0] < until)]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        rows = rows[np.append(np.diff(rows[:, 0]) > 0, np.ones(min(len(rows), 1), bool))]  # of equal times the last
        if len(rows):
            yield CandleColumns.of(key, rows[:, 0].astype(np.int64), rows[:, 1:])
        at = int(rows[-1, 0]) + step if len(rows) else at + page * step


Hole = tuple[str, datetime, datetime]
"""A market's symbol, and the first minute that is missing and the next one that is not."""


class Holes:
    """Open holes of an exchange's stored candles, each asked for again: after ten minutes, twenty, and so on up to a day.

    ``find`` asks the database; it may raise :class:`Unavailable`, and then nothing is due.
    """

    def __init__(self, find: Callable[[datetime], Sequence[Hole]], clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._looked = -math.inf
        self._next: dict[tuple[str, datetime], tuple[float, float]] = {}

    async def due(self) -> list[Hole]:
        """The holes to ask for now; the database is asked every :data:`LOOK` seconds."""
        now = self._clock.monotonic()
        if now - self._looked < LOOK:
            return []
        self._looked = now
        try:
            found = await asyncio.to_thread(self._find, self._clock.now() - KEPT)
        except Unavailable:
            return []
        self._next = {hole[:2]: self._next.get(hole[:2], (now, FIRST_AGAIN)) for hole in found}
        due = [hole for hole in found if self._next[hole[:2]][0] <= now]
        for hole in due:
            wait = self._next[hole[:2]][1]
            self._next[hole[:2]] = (now + wait, min(2 * wait, LAST_AGAIN))
        return [(symbol, max(start, end - LONGEST_HOLE), end) for symbol, start, end in due]


class Backfill:
    """Past candles of some markets of one exchange; a second run goes on from the stored cursors.

    Example:
        >>> day = datetime(2024, 1, 1, tzinfo=UTC)
        >>> Backfill("binance", ["BTC/USDT"], day, day + timedelta(days=1)).expected
        1440

    It ends before the candle that is still open, whatever ``until`` says: every candle is sent as final.
    """

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        since: datetime,
        until: datetime,
        timeframe: str = "1m",
        rest: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if timeframe not in SECONDS:
            raise InputError(f"--timeframe is one of {', '.join(SECONDS)}, not “{timeframe[:10]}”.")
        self.name = f"backfill-{exchange}"
        self._exchange = exchange
        self._rest = rest
        self._timeframe = timeframe
        settled = (clock or SystemClock()).now().timestamp() - quirks(exchange).grace
        closed = int(settled) // SECONDS[timeframe] * SECONDS[timeframe]
        self._since, self._until = int(since.timestamp()), min(int(until.timestamp()), closed)
        self.failed: dict[str, str] = {}
        self._symbols = {f"backfill/{exchange}/{s}/{timeframe}/{self._since}": s for s in symbols}

    @property
    def exchange(self) -> str:
        """Its ccxt id."""
        return self._exchange

    @property
    def timeframe(self) -> str:
        """How long a candle lasts."""
        return self._timeframe

    @property
    def since(self) -> datetime:
        """Begin of the fetched time."""
        return datetime.fromtimestamp(self._since, UTC)

    @property
    def symbols(self) -> dict[str, str]:
        """The market of each stream."""
        return dict(self._symbols)

    def asked(self, cursor: int) -> int:
        """Candles from after a cursor to the end if the exchange has no holes."""
        return max(0, (self._until - cursor) // SECONDS[self._timeframe] - 1)

    @property
    def until(self) -> datetime:
        """End of the fetched time, exclusive."""
        return datetime.fromtimestamp(self._until, UTC)

    @property
    def expected(self) -> int:
        """Candles in the asked-for time if the exchange has no holes."""
        return len(self._symbols) * max(0, (self._until - self._since) // SECONDS[self._timeframe])

    def streams(self) -> Mapping[str, int]:
        return dict.fromkeys(self._symbols, self._since - SECONDS[self._timeframe])

    async def columns(self, cursors: Mapping[str, int]) -> AsyncIterator[tuple[str, int, CandleColumns]]:
        """A stream, its cursor before and the candles that follow, page by page and market by market.

        A market that the exchange does not know any more is noted in :attr:`failed`, and the next one follows.
        """
        page = quirks(self._exchange).page
        exchange = open_exchange(self._exchange, self._symbols.values(), self._rest)
        step = SECONDS[self._timeframe]
        try:
            for stream, symbol in self._symbols.items():
                key = MarketKey(self._exchange, kind_of(symbol), symbol, self._timeframe)
                at = cursors[stream]
                try:
                    async for candles in pages(exchange, key, at + step, self._until, page):
                        yield stream, at, candles
                        at = int(candles.at[-1])
                except InputError as error:
                    self.failed[symbol] = error.message
        finally:
            await exchange.close()
