"""Live candles, and the sources that the settings name for ``--live``.

ccxt's ``watch_ohlcv`` drops the flag "closed". A minute is taken as final when a newer one has begun – seen on the
websocket, or told by the clock when the websocket is silent – and REST gives it; the two minutes before are fetched again
with it, so that late corrections come through.

Two watchdogs: a websocket that says nothing at all for a minute is opened anew; so is one that is silent about a market
while REST says that the market moved. What was missed comes by REST, from the last final candle on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import structlog
from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.queries.market_history import open_gaps
from domain import symbols as names
from domain.candles import MarketKey
from domain.clock import Clock
from domain.errors import InputError, Unavailable
from domain.symbols import kind_of
from streaming import steps
from streaming.feed import Source, Waiter
from streaming.market_data import Hole, Holes, ask, open_exchange, pages
from streaming.messages import Message, candle_messages
from streaming.quirks import quirks
from streaming.settings import StreamingSettings

log = structlog.get_logger()

OVERLAP = 2
"""Minutes that are fetched again with each new one."""
BACK = 9 * 3600
"""Seconds of history at the first start: the models look back 256 minutes, and forecasts are matched over as many more."""
SILENCE = 60.0
"""Seconds without a message after which a websocket, or a market that moves, counts as stalled."""
LONGEST_SILENCE = 3600.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds before a websocket is opened anew; doubled while it breaks again and again."""
LOST_SECONDS = 60.0
"""Seconds after which a market that the exchange does not know is asked for again."""
CHECKS = 5
"""Silent markets that are asked for at a time."""


@dataclass(slots=True)
class _Market:
    """State of one market's websocket. ``begun``: opening time of the newest minute, epoch seconds."""

    begun: int = 0
    volume: float = 0.0
    heard_at: float = 0.0
    patience: float = SILENCE
    empty: int = 0
    """How often REST had nothing new in a row."""
    again_at: float = 0.0

    def moved(self, minute: int, volume: float) -> bool:
        """Whether a candle of REST tells of trades that the websocket did not."""
        return volume > 0 and (minute > self.begun or (minute == self.begun and volume > self.volume))


class LiveCandles:
    """One-minute candles of some markets of one exchange, without end.

    Example:
        >>> source = LiveCandles("binance", ["BTC/USDT"], SystemClock())  # doctest: +SKIP
    """

    live = True

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        clock: Clock,
        rest: str | None = None,
        ws: str | None = None,
        silence: float = SILENCE,
        holes: Callable[[datetime], Sequence[Hole]] = lambda since: (),
    ) -> None:
        self.name = exchange
        self._exchange = exchange
        self._symbols = {f"{exchange}/{kind_of(s)}/{s}/1m": s for s in symbols}
        self._clock = clock
        self._rest, self._ws = rest, ws
        self._silence = silence
        self._holes = Holes(holes, clock)
        self._quirks = quirks(exchange)
        self._markets = {s: _Market(patience=silence) for s in symbols}
        self.lost: dict[str, str] = {}
        """Markets that the exchange does not know at present, with what it says; the others go on."""
        self._regained = 0
        """How often a lost market was found again: a websocket that began before does not follow it."""
        self._lives: dict[str, asyncio.Task[None]] = {}
        """The current websocket of each market."""
        self._news = asyncio.Event()

    def streams(self) -> Mapping[str, int]:
        return dict.fromkeys(self._symbols, int(self._clock.now().timestamp()) // 60 * 60 - BACK)

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        exchange = self._open()
        at = dict(cursors)
        listeners: list[asyncio.Task[None]] = []
        try:
            await self._leave_out_unknown(exchange)
            if self._quirks.stream and exchange.has.get("watchOHLCV"):
                symbols, size = list(self._symbols.values()), self._quirks.symbols_per_socket
                parts = [symbols[i : i + size] for i in range(0, len(symbols), size)]
                listeners = [asyncio.create_task(self._listen(part)) for part in parts]
            while True:
                for stream in self._due(at):
                    try:
                        async for messages in self._closed(exchange, stream, at):
                            yield messages
                    except InputError as error:
                        self._lose(self._symbols[stream], error.message)
                async for messages in self._missing(exchange):
                    yield messages
                if listeners:
                    await self._check_silent(exchange)
                await self._tick()
        finally:
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
            await exchange.close()

    def _open(self) -> Any:
        return open_exchange(self._exchange, self._symbols.values(), self._rest, self._ws)

    async def _leave_out_unknown(self, exchange: Any) -> None:
        """Go on without the markets that this exchange does not have; they are asked for again now and then.

        Raises:
            InputError: it has none of them.
        """
        await ask(exchange, "load_markets")
        unknown = [s for s in self._symbols.values() if s not in exchange.markets]
        if len(unknown) == len(self._symbols):
            raise InputError(f"{self.name} has none of the markets {', '.join(unknown)[:200]}.")
        for symbol in unknown:
            self._lose(symbol, "the exchange has no such market")

    def _lose(self, symbol: str, why: str) -> None:
        """Leave a market alone for a while."""
        if symbol not in self.lost:
            log.error("a market is not there; the others go on", exchange=self.name, market=symbol, error=why)
        self.lost[symbol] = why
        steps.REFUSED.labels(self.name, symbol).set(1)
        self._markets[symbol].again_at = self._clock.monotonic() + LOST_SECONDS

    def _found(self, symbol: str) -> None:
        """A market that was lost is there again; the next websocket follows it too."""
        del self.lost[symbol]
        steps.REFUSED.labels(self.name, symbol).set(0)
        log.info("a market is there again", exchange=self.name, market=symbol)
        self._regained += 1

    def _due(self, at: Mapping[str, int]) -> list[str]:
        """Streams with a closed minute, according to the websocket, or to the clock after some grace."""
        now, later = self._clock.now().timestamp(), self._clock.monotonic()
        grace = self._quirks.grace + (20 if self._lives else 0)
        by_clock = int(now - grace) // 60 * 60 - 60
        due = []
        for stream, symbol in self._symbols.items():
            market = self._markets[symbol]
            if max(by_clock, market.begun - 60) > at[stream] and later >= market.again_at:
                due.append(stream)
        return due

    async def _closed(self, exchange: Any, stream: str, at: dict[str, int]) -> AsyncIterator[list[Message]]:
        """Final candles after the stream's cursor, and once more the two before it."""
        symbol, before = self._symbols[stream], at[stream]
        key = MarketKey(self._exchange, kind_of(symbol), symbol)
        until = max(int(self._clock.now().timestamp()) // 60 * 60, self._markets[symbol].begun)
        start = at[stream] - (OVERLAP - 1) * 60
        if symbol in self.lost:
            await ask(exchange, "load_markets", True)
            if symbol not in exchange.markets:
                raise InputError("the exchange has no such market")
        async for candles in pages(exchange, key, start, until, self._quirks.page):
            again, new = candles.take(candles.at <= before), candles.take(candles.at > at[stream])
            if symbol in self.lost and len(new):
                self._found(symbol)
            yield [*candle_messages(again), *candle_messages(new, stream, at[stream])]
            if len(new):
                at[stream] = int(new.at[-1])
        self._wait_longer(self._markets[symbol], nothing=at[stream] == before)

    async def _missing(self, exchange: Any) -> AsyncIterator[list[Message]]:
        """Candles of holes that the database still has, where the exchange has them by now."""
        for symbol, start, end in await self._holes.due():
            if symbol not in self._markets or symbol in self.lost:
                continue
            key = MarketKey(self._exchange, kind_of(symbol), symbol)
            span = int(start.timestamp()), int(end.timestamp())
            with suppress(InputError):  # its own turn says that the market is lost
                async for candles in pages(exchange, key, *span, self._quirks.page):
                    log.info("a hole is filled", exchange=self.name, market=symbol, candles=len(candles))
                    yield candle_messages(candles)

    def _wait_longer(self, market: _Market, *, nothing: bool) -> None:
        """Ask less and less often for a minute that does not come: some markets have minutes without a trade."""
        market.empty = market.empty + 1 if nothing else 0
        market.again_at = self._clock.monotonic() + (min(30.0, 2.0**market.empty) if nothing else 0.0)

    async def _tick(self) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), 1.0)

    async def _check_silent(self, exchange: Any) -> None:
        """Ask REST about markets of which the websocket has not spoken for long; open it anew where they moved."""
        now = self._clock.monotonic()
        followed = [s for s in self._lives if s not in self.lost]
        silent = [s for s in followed if now - self._markets[s].heard_at > self._markets[s].patience]
        for symbol in silent[:CHECKS]:
            market = self._markets[symbol]
            since = (int(self._clock.now().timestamp()) // 60 - 1) * 60_000
            try:
                rows = await ask(exchange, "fetch_ohlcv", symbol, "1m", since, 2)
            except InputError as error:
                self._lose(symbol, error.message)
                continue
            market.heard_at = now
            if rows and market.moved(int(rows[-1][0]) // 1000, float(rows[-1][5] or 0)):
                steps.STALLS.labels(self.name).inc()
                log.warning("the websocket is silent about a market that moves", exchange=self.name, market=symbol)
                market.patience = min(2 * market.patience, LONGEST_SILENCE)
                self._lives[symbol].cancel()

    async def _listen(self, symbols: Sequence[str]) -> None:
        """Follow one websocket; after an error or a silence open it anew. Never ends by itself."""
        wait = FIRST_PAUSE
        while True:
            life = asyncio.create_task(self._follow(symbols))
            self._lives.update(dict.fromkeys(symbols, life))
            began = self._clock.monotonic()
            try:
                await asyncio.wait({life})
            finally:
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)
            error = None if life.cancelled() else life.exception()
            if error is not None and not isinstance(error, Unavailable | InputError | TimeoutError):
                log.error("the websocket broke unexpectedly", exchange=self.name, exc_info=error)
            steps.RECONNECTS.labels(self.name).inc()
            log.warning("the websocket is opened anew", exchange=self.name, error=str(error or "it was silent"))
            wait = FIRST_PAUSE if self._clock.monotonic() - began > self._silence else min(2 * wait, LONGEST_PAUSE)
            await asyncio.sleep(wait)

    async def _follow(self, symbols: Sequence[str]) -> None:
        """Read one connection until it breaks, or sends nothing about any market for too long.

        Raises:
            TimeoutError: it was silent.
        """
        exchange, loop, regained = self._open(), asyncio.get_running_loop(), self._regained
        for symbol in symbols:
            self._markets[symbol].heard_at = self._clock.monotonic()
        spoke = [loop.time()]
        tasks: list[asyncio.Task[None]] = []
        try:
            await ask(exchange, "load_markets")
            symbols = [s for s in symbols if s in exchange.markets and s not in self.lost]
            if not symbols:
                await asyncio.sleep(self._silence)
                raise TimeoutError("it has none of the markets now")
            together = [[[s, "1m"] for s in symbols]] if exchange.has.get("watchOHLCVForSymbols") else None
            tasks = [asyncio.create_task(self._hear(exchange, spoke, one)) for one in together or symbols]
            while loop.time() - spoke[0] <= self._silence and self._regained == regained:
                done, _ = await asyncio.wait(tasks, timeout=self._silence / 6, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            raise TimeoutError("it was silent" if self._regained == regained else "a market is there again")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await exchange.close()

    async def _hear(self, exchange: Any, spoke: list[float], asked: Any) -> None:
        """Read the messages about one market, or about a list of markets where the exchange sends many at once."""
        while True:
            if isinstance(asked, str):
                candles_of = {asked: await ask(exchange, "watch_ohlcv", asked, "1m")}
            else:
                answer = await ask(exchange, "watch_ohlcv_for_symbols", asked)
                candles_of = {symbol: candles["1m"] for symbol, candles in answer.items()}
            spoke[0] = asyncio.get_running_loop().time()
            for symbol, candles in candles_of.items():
                self._heard(symbol, candles)

    def _heard(self, symbol: str, candles: Sequence[Any]) -> None:
        market, newest = self._markets[symbol], max(candles, key=lambda c: c[0], default=None)
        if newest is None:
            return
        market.heard_at, market.patience = self._clock.monotonic(), self._silence
        minute, market.volume = int(newest[0]) // 1000, float(newest[5] or 0)
        if minute > market.begun:
            market.begun, market.again_at = minute, 0.0
            self._news.set()


def post_source(text: str, settings: StreamingSettings, clock: Clock) -> Source:
    """The post source of a setting like ``bluesky`` or ``rss=https://example.org/feed``.

    Raises:
        InputError: there is no such source, or it lacks what it needs.
    """
    name, _, argument = text.strip().partition("=")
    if not name.isidentifier() or find_spec(f"streaming.posts.{name}") is None:
        raise InputError(f"There is no post source “{name[:40]}”; see docs/how-to/add-post-source.md.")
    made: Source = import_module(f"streaming.posts.{name}").source(argument, settings, clock)
    return made


def live_sources(settings: StreamingSettings, clock: Clock, engine: Engine) -> list[Source]:
    """Every exchange with every market of the settings, and every post source; the database knows what is missing."""

    def holes(exchange: str, since: datetime) -> Sequence[Hole]:
        with transaction(engine, PATIENCE) as connection:
            return open_gaps(connection, exchange, since)

    wanted = [s for s in settings.symbols.split(",") if s.strip()]
    rest = settings.exchange_url or None
    ws = re.sub("^http", "ws", rest) if rest else None
    sources: list[Source] = [
        LiveCandles(
            exchange, [names.normalize(s, exchange) for s in wanted], clock, rest, ws, holes=partial(holes, exchange)
        )
        for exchange in filter(None, map(str.strip, settings.exchanges.split(",")))
    ]
    sources += [post_source(text, settings, clock) for text in settings.post_sources.split(",") if text.strip()]
    return sources
