"""A loopback exchange that speaks Binance's REST and websocket, well enough for ccxt, with faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

Bar = tuple[float, float, float, float, float]


@dataclass
class FakeExchange:
    """``bars[symbol][minute]`` is what REST tells; :meth:`tick` is what the websocket tells.

    Pairs like ``BTC/USDT:USDT`` are perpetual swaps, told apart by their path. Faults: ``busy`` REST calls are answered
    429 with ``retry_after``; ``silent`` keeps the websocket open and says nothing, ``mute`` says nothing of some pairs;
    :meth:`hang_up` closes it with 1011; a minute left out of ``bars`` is a hole, or late when it is put there afterwards; a
    changed bar is a correction; ``doubled`` sends every row of REST twice; of a
    ``delisted`` pair REST says -1121.
    """

    bars: dict[str, dict[int, Bar]] = field(default_factory=dict)
    busy: int = 0
    retry_after: str = "0"
    silent: bool = False
    mute: set[str] = field(default_factory=set)
    doubled: bool = False
    delisted: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    _sockets: list[web.WebSocketResponse] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    url: str = ""

    def put(self, symbol: str, minute: int, close: float = 100.5) -> None:
        """One candle that opens at epoch second ``minute``."""
        self.bars.setdefault(symbol, {})[minute] = (100.0, max(101.0, close), min(99.0, close), close, 5.0)

    async def __aenter__(self) -> FakeExchange:
        app = web.Application()
        app.router.add_get("/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()
        if self._runner:
            await self._runner.cleanup()

    @property
    def ws(self) -> str:
        return self.url.replace("http://", "ws://")

    async def tick(self, symbol: str, minute: int, *, times: int = 1) -> None:
        """Say on every websocket that this minute has an (unfinished) candle."""
        if self.silent or symbol in self.mute:
            return
        code = symbol.replace("/", "")
        o, h, low, c, v = self.bars.get(symbol, {}).get(minute, (100.0, 101.0, 99.0, 100.0, 1.0))
        kline = {"t": minute * 1000, "T": minute * 1000 + 59_999, "s": code, "i": "1m", "o": str(o), "c": str(c)}
        kline |= {"h": str(h), "l": str(low), "v": str(v), "x": False}
        data = {"e": "kline", "E": minute * 1000, "s": code, "k": kline}
        event = json.dumps({"stream": f"{code.lower()}@kline_1m", "data": data})
        for socket in list(self._sockets) * times:
            if not socket.closed:
                await socket.send_str(event)

    async def hang_up(self) -> None:
        """Close every websocket the way servers do when something breaks inside."""
        for socket in self._sockets:
            if not socket.closed:
                await socket.close(code=1011, message=b"internal error")
        self._sockets.clear()

    async def listened(self, sockets: int = 1) -> None:
        """Wait until so many websockets have subscribed since the start."""
        for _ in range(1000):
            if self.calls["SUBSCRIBE"] >= sockets:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody subscribed")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._stream(request)
        name = request.path.rsplit("/", 1)[-1]
        self.calls[name] += 1
        if self.busy > 0 and name == "klines":
            self.busy -= 1
            return web.json_response(
                {"code": -1003, "msg": "Too many requests."}, status=429, headers={"Retry-After": self.retry_after}
            )
        swaps = "/fapi/" in request.path
        own = [s for s in self.bars if (":" in s) == swaps]
        own = [s for s in own if s not in self.delisted]
        if name == "klines" and request.query["symbol"] not in [s.split(":")[0].replace("/", "") for s in own]:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        if name == "klines":
            return web.json_response(self._klines(own, request.query))
        return web.json_response({"symbols": [self._market(s) for s in own]} if name == "exchangeInfo" else {})

    def _klines(self, own: Sequence[str], query: Any) -> list[list[Any]]:
        symbol = next(s for s in own if s.split(":")[0].replace("/", "") == query["symbol"])
        start = int(query.get("startTime", 0)) // 1000
        minutes = sorted(m for m in self.bars[symbol] if m >= start)[: int(query.get("limit", 500))]
        rows = []
        for minute in minutes:
            o, h, low, c, v = self.bars[symbol][minute]
            prices = [str(x) for x in (o, h, low, c, v)]
            rows.append([minute * 1000, *prices, minute * 1000 + 59_999, "0", 1, "0", "0", "0"])
        return [row for row in rows for _ in range(1 + self.doubled)]

    def _market(self, symbol: str) -> dict[str, Any]:
        base, quote = symbol.split(":", maxsplit=1)[0].split("/")
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        ]
        return {
            "symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, "baseAssetPrecision": 8,
            "quotePrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
            "permissions": ["SPOT"], "orderTypes": ["LIMIT"], "filters": filters,
        } | ({"contractType": "PERPETUAL", "marginAsset": quote} if ":" in symbol else {})  # fmt: skip

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                asked = json.loads(message.data)
                self.calls[asked.get("method", "?")] += 1
                await socket.send_json({"result": None, "id": asked.get("id")})
        return socket
