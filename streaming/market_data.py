"""Candles from exchanges over ccxt: pages of the past, and live minutes that are final when REST agrees.

ccxt's ``watch_ohlcv`` drops the flag "closed". A minute is taken as final when a newer one has begun – seen on the
websocket, or told by the clock when the websocket is silent – and REST gives it; the two minutes before are fetched again
with it, so that late corrections come through. A websocket that says nothing for a minute is closed and opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import ccxt
import ccxt.pro
import numpy as np
import structlog
from numpy.typing import NDArray

from db.queries.candles import Key
from domain.clock import Clock
from domain.errors import ConfigError, InputError, Unavailable
from streaming import metrics
from streaming.exchanges import Quirks, quirks
from streaming.feed import Waiter
from streaming.messages import BLOCK, Message, bar_blocks, bar_message

log = structlog.get_logger()

OVERLAP = 2
SILENCE = 60.0
"""Seconds without a word after which a websocket counts as dead."""
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
Rows = NDArray[np.float64]
"""float64[n, 6]: opening time in epoch seconds, then OHLCV."""


def open_exchange(name: str, peculiar: Quirks | None = None, rest: str | None = None, ws: str | None = None) -> Any:
    """A ccxt exchange that honours rate limits; ``rest`` and ``ws`` point it at another server.

    Raises:
        InputError: ccxt knows no such exchange.
    """
    if name not in ccxt.pro.exchanges and name not in ccxt.async_support.exchanges:
        raise InputError(f"ccxt knows no exchange “{name[:40]}”; its ids are written like binance or kraken.")
    module = ccxt.pro if name in ccxt.pro.exchanges else ccxt.async_support
    exchange = getattr(module, name)({"enableRateLimit": True, "options": dict((peculiar or quirks(name)).options)})
    if rest:
        exchange.urls["api"] = _everywhere(exchange.urls["api"], rest, ws or rest)
    return exchange


def _everywhere(urls: Any, rest: str, ws: str) -> Any:
    """The same tree of addresses with every host replaced."""
    if isinstance(urls, dict):
        return {k: _everywhere(v, ws if k == "ws" else rest, ws) for k, v in urls.items()}
    return rest


async def ask(exchange: Any, method: str, *arguments: Any, **named: Any) -> Any:
    """Call ccxt.

    Raises:
        Unavailable: the exchange is away, slow or busy (429 is honoured by waiting); try again.
        InputError: it knows no such market or timeframe.
        ConfigError: it refuses this place or this key.
    """
    try:
        return await getattr(exchange, method)(*arguments, **named)
    except (ccxt.AuthenticationError, ccxt.PermissionDenied) as error:
        raise ConfigError(f"{exchange.id} refuses to answer: {str(error)[:160]}") from None
    except ccxt.BadSymbol as error:
        raise InputError(f"{exchange.id} has no such market: {str(error)[:120]}") from None
    except (ccxt.NetworkError, ccxt.ExchangeError) as error:
        raise Unavailable(f"{exchange.id} does not answer ({type(error).__name__}): {str(error)[:160]}") from None


async def pages(exchange: Any, symbol: str, timeframe: str, since: int, until: int, page: int) -> AsyncIterator[Rows]:
    """Candles that open in [since, until), oldest first, page by page; holes at the exchange stay holes."""
    step = SECONDS[timeframe]
    at = since
    while at < until:
        limit = min(page, (until - at) // step + 1)
        raw = await ask(exchange, "fetch_ohlcv", symbol, timeframe, at * 1000, limit)
        rows = np.array([r[:6] for r in raw if None not in r[:6]], dtype=np.float64).reshape(-1, 6)
        rows[:, 0] //= 1000
        rows = rows[(rows[:, 0] >= at) & (rows[:, 0] < until)]
        if len(rows):
            yield rows[np.argsort(rows[:, 0], kind="stable")]
        at = int(rows[:, 0].max()) + step if len(rows) else at + page * step


def market_of(symbol: str) -> str:
    """``swap`` for a pair that settles in something, else ``spot``."""
    return "swap" if ":" in symbol else "spot"


class Backfill:
    """The past of some markets of one exchange; finite, and resumed where its lanes stand."""

    live = False

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        since: datetime,
        until: datetime,
        timeframe: str = "1m",
        rest: str | None = None,
    ) -> None:
        if timeframe not in SECONDS:
            raise InputError(f"--timeframe is one of {', '.join(SECONDS)}, not “{timeframe[:10]}”.")
        self.name = f"backfill-{exchange}"
        self._exchange = exchange
        self._rest = rest
        self._timeframe = timeframe
        self._since, self._until = int(since.timestamp()), int(until.timestamp())
        span = f"{self._since}-{self._until}"
        self._symbols = {f"backfill/{exchange}/{s}/{timeframe}/{span}": s for s in symbols}

    @property
    def expected(self) -> int:
        """Candles in the asked-for time if the exchange has no holes."""
        return len(self._symbols) * max(0, (self._until - self._since) // SECONDS[self._timeframe])

    def lanes(self) -> Mapping[str, int]:
        return dict.fromkeys(self._symbols, self._since - SECONDS[self._timeframe])

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        peculiar = quirks(self._exchange)
        exchange = open_exchange(self._exchange, peculiar, self._rest)
        step = SECONDS[self._timeframe]
        try:
            for lane, symbol in self._symbols.items():
                key = (self._exchange, market_of(symbol), symbol, self._timeframe)
                at = cursors[lane]
                async for rows in pages(exchange, symbol, self._timeframe, at + step, self._until, peculiar.page):
                    yield _blocks(key, rows, lane, at)
                    at = int(rows[-1, 0])
        finally:
            await exchange.close()


def _blocks(key: Key, rows: Rows, lane: str, after: int) -> list[Message]:
    at = rows[:, 0].astype(np.int64)
    return bar_blocks(key, at, rows[:, 1:], lane, after, at)


class LiveCandles:
    """One-minute candles of some markets of one exchange, for ever."""

    live = True

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        clock: Clock,
        rest: str | None = None,
        ws: str | None = None,
        silence: float = SILENCE,
    ) -> None:
        self.name = exchange
        self._exchange = exchange
        self._symbols = {f"{exchange}/{market_of(s)}/{s}/1m": s for s in symbols}
        self._clock = clock
        self._rest, self._ws = rest, ws
        self._silence = silence
        self._quirks = quirks(exchange)
        self._begun: dict[str, int] = {}
        """Newest minute seen on the websocket, per symbol."""
        self._news = asyncio.Event()

    def lanes(self) -> Mapping[str, int]:
        return dict.fromkeys(self._symbols, int(self._clock.now().timestamp()) // 60 * 60 - 600)

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        exchange = open_exchange(self._exchange, self._quirks, self._rest, self._ws)
        at = dict(cursors)
        listeners: list[asyncio.Task[None]] = []
        try:
            await ask(exchange, "load_markets")
            if self._quirks.stream and exchange.has.get("watchOHLCV"):
                symbols, size = list(self._symbols.values()), self._quirks.symbols_per_socket
                parts = [symbols[i : i + size] for i in range(0, len(symbols), size)]
                listeners = [asyncio.create_task(self._listen(part)) for part in parts]
            while True:
                for lane in self._due(at):
                    async for messages in self._closed(exchange, lane, at):
                        yield messages
                await self._tick()
        finally:
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
            await exchange.close()

    def _due(self, at: Mapping[str, int]) -> list[str]:
        """Lanes with a minute that has closed: by the websocket's word, or by the clock and some grace."""
        now = self._clock.now().timestamp()
        by_clock = int(now - self._quirks.grace - (20 if self._begun else 0)) // 60 * 60 - 60
        return [lane for lane, s in self._symbols.items() if max(by_clock, self._begun.get(s, 0) - 60) > at[lane]]

    async def _closed(self, exchange: Any, lane: str, at: dict[str, int]) -> AsyncIterator[list[Message]]:
        """Final candles after the lane's cursor, and once more the two before it."""
        symbol = self._symbols[lane]
        key = (self._exchange, market_of(symbol), symbol, "1m")
        until = max(int(self._clock.now().timestamp()) // 60 * 60, self._begun.get(symbol, 0))
        start = at[lane] - (OVERLAP - 1) * 60
        async for rows in pages(exchange, symbol, "1m", start, until, self._quirks.page):
            again, new = rows[rows[:, 0] <= at[lane]], rows[rows[:, 0] > at[lane]]
            messages: list[Message] = [bar_message(key, int(r[0]), r[1:].tolist()) for r in again]
            if len(new) > 2 * BLOCK:
                messages += _blocks(key, new, lane, at[lane])
            else:
                for row in new:
                    after = int(at[lane])
                    at[lane] = int(row[0])
                    messages.append(bar_message(key, at[lane], row[1:].tolist(), lane, after, at[lane]))
            if len(new):
                at[lane] = int(new[-1, 0])
            yield messages

    async def _tick(self) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), 1.0)

    async def _listen(self, symbols: Sequence[str]) -> None:
        """Follow one websocket; after an error or a silence open it anew. Never ends by itself."""
        wait = 1.0
        while True:
            exchange = open_exchange(self._exchange, self._quirks, self._rest, self._ws)
            try:
                await ask(exchange, "load_markets")
                while True:
                    self._heard(await self._next(exchange, symbols))
                    wait = 1.0
            except (Unavailable, InputError, TimeoutError) as error:
                metrics.RECONNECTS.labels(self.name).inc()
                log.warning("the websocket is opened anew", exchange=self.name, error=str(error) or "it was silent")
            finally:
                await exchange.close()
            await asyncio.sleep(wait)
            wait = min(2 * wait, 30.0)

    async def _next(self, exchange: Any, symbols: Sequence[str]) -> dict[str, list[Any]]:
        if exchange.has.get("watchOHLCVForSymbols"):
            call = ask(exchange, "watch_ohlcv_for_symbols", [[s, "1m"] for s in symbols])
            found: dict[str, dict[str, list[Any]]] = await asyncio.wait_for(call, self._silence)
            return {symbol: candles["1m"] for symbol, candles in found.items()}
        calls = [asyncio.create_task(ask(exchange, "watch_ohlcv", s, "1m")) for s in symbols]
        done, left = await asyncio.wait(calls, timeout=self._silence, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        if not done:
            raise TimeoutError
        return {s: task.result() for s, task in zip(symbols, calls, strict=True) if task in done}

    def _heard(self, found: Mapping[str, Iterable[Any]]) -> None:
        for symbol, candles in found.items():
            newest = max((int(c[0]) // 1000 for c in candles), default=0)
            if newest > self._begun.get(symbol, 0):
                self._begun[symbol] = newest
                self._news.set()
