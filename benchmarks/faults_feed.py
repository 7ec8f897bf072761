"""What an exchange can do to a feed, in real time on a loopback exchange, with a real broker and database (about 10 minutes).

``python -m benchmarks.faults_feed --json`` lets the websocket fall silent for 120 s, then one market of two alone, hangs up
with 1011, answers 429, delivers one candle when the next is stored already, and corrects a closed one; sixty minutes of the
past are missing at the exchange for good. It counts seconds until each silence was noticed, and compares every minute stored
with every minute delivered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import text

from benchmarks.streams import Servers, servers
from domain.clock import SystemClock
from streaming.kafka import KafkaBroker
from streaming.live import BACK, LiveCandles
from streaming.service import Service
from streaming.settings import StreamingSettings
from tests.fakes.exchange import FakeExchange

PAIRS = ("BTC/USDT", "ETH/USDT")
HOLE = 60
QUIET = 120.0


def minute_now() -> int:
    """Opening time of the current minute."""
    return int(time.time()) // 60 * 60


class Market:
    """Moves the loopback exchange in real time: every second each pair's minute changes and is told."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.exchange = exchange
        self.held: int | None = None
        """A minute of the second pair that REST does not deliver yet."""
        self._chance = random.Random(1)
        begin = minute_now() - BACK - 600
        self.hole = range(minute_now() - 180 * 60, minute_now() - (180 - HOLE) * 60, 60)
        for pair in PAIRS:
            for minute in range(begin, minute_now(), 60):
                if pair != PAIRS[0] or minute not in self.hole:
                    self.put(pair, minute)

    def put(self, pair: str, minute: int) -> None:
        """A candle with another close and a volume that grows."""
        old = self.exchange.bars.get(pair, {}).get(minute, (100.0, 101.0, 99.0, 100.0, 0.0))
        close = round(self._chance.uniform(99.0, 101.0), 4)
        self.exchange.bars.setdefault(pair, {})[minute] = (100.0, 101.0, 99.0, close, old[4] + 1.0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            minute = minute_now()
            for pair in PAIRS:
                if (pair, minute) != (PAIRS[1], self.held):
                    self.put(pair, minute)
                await self.exchange.tick(pair, minute)
            await asyncio.sleep(1.0)


async def until(done: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until something happened; None when it did not in time."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            return None
        await asyncio.sleep(0.1)
    return round(time.monotonic() - began, 1)


async def silence(market: Market, begin: Callable[[], None], end: Callable[[], None]) -> float | None:
    """Seconds until a silence of :data:`QUIET` seconds was noticed: until somebody subscribes anew."""
    exchange, before, began = market.exchange, market.exchange.calls["SUBSCRIBE"], time.monotonic()
    begin()
    noticed = await until(lambda: exchange.calls["SUBSCRIBE"] > before, QUIET)
    await asyncio.sleep(max(0.0, QUIET - (time.monotonic() - began)))
    end()
    return noticed


def compare(stack: Servers, exchange: FakeExchange, upto: int) -> dict[str, int]:
    """Minutes delivered and not stored, stored and never delivered, stored with another close."""
    with stack.engine.connect() as connection:
        rows = connection.execute(
            text(
                "select m.symbol, extract(epoch from c.opened_at)::int8, c.close, c.revision from candles c "
                "join markets m on m.id = c.market_id where c.final and c.opened_at < to_timestamp(:upto)"
            ),
            {"upto": upto},
        ).all()
    stored = {(symbol, at): close for symbol, at, close, _ in rows}
    first = min(at for _, at in stored)
    told = {(p, at): bar[3] for p in PAIRS for at, bar in exchange.bars[p].items() if first <= at < upto}
    return {
        "rows": len(stored),
        "missing": len(told.keys() - stored.keys()),
        "invented": len(stored.keys() - told.keys()),
        "different": sum(stored[key] != told[key] for key in stored.keys() & told.keys()),
        "corrected": sum(revision > 0 for *_, revision in rows),
    }


def has(stack: Servers, pair: str, minute: int) -> bool:
    """Whether the final candle of this minute is stored."""
    query = (
        "select count(*) from candles c join markets m on m.id = c.market_id "
        f"where c.final and m.symbol = '{pair}' and c.opened_at = to_timestamp({minute})"
    )
    return stack.number(query) > 0


async def late(stack: Servers, market: Market) -> dict[str, Any]:
    """A minute that comes when the one after it is stored already, and how long it then takes until it is stored, too."""
    minute = market.held = minute_now() + 60
    went_on = await until(lambda: has(stack, PAIRS[1], minute + 60), 300)
    missing = not has(stack, PAIRS[1], minute)
    market.put(PAIRS[1], minute)
    stored = await until(lambda: has(stack, PAIRS[1], minute), 120)
    return {"next_stored": went_on is not None, "missing_at_first": missing, "stored_after_seconds": stored}


async def show(stack: Servers) -> dict[str, Any]:
    """Run the feed and the sink against the exchange, fault after fault."""
    async with FakeExchange() as exchange:
        market = Market(exchange)
        source = LiveCandles("binance", PAIRS, SystemClock(), exchange.url, exchange.ws)
        settings = StreamingSettings(kafka_bootstrap=stack.bootstrap)
        service = Service(stack.engine, KafkaBroker(stack.bootstrap), settings, sources=[source], kind="")
        moving, running = asyncio.create_task(market.run()), asyncio.create_task(service.run())
        try:
            found = await faults(stack, exchange, market)
        finally:
            service.stop()
            moving.cancel()
            await asyncio.gather(moving, running, return_exceptions=True)
        return found


async def faults(stack: Servers, exchange: FakeExchange, market: Market) -> dict[str, Any]:
    """The faults, and what was found after them."""
    await exchange.listened()
    await until(lambda: stack.number("select count(*) from candles") > 900, 60)

    def silent(*, state: bool) -> None:
        exchange.silent = state

    whole = await silence(market, lambda: silent(state=True), lambda: silent(state=False))
    await asyncio.sleep(10)
    alone = await silence(market, lambda: exchange.mute.add(PAIRS[1]), exchange.mute.clear)
    before = exchange.calls["SUBSCRIBE"]
    exchange.busy = 3
    await exchange.hang_up()
    again = await until(lambda: exchange.calls["SUBSCRIBE"] > before, 60)
    behind = await late(stack, market)
    last = minute_now() - 60
    await until(lambda: compare(stack, exchange, last + 60)["missing"] == 0, 60)
    market.put(PAIRS[0], last)
    upto = minute_now() + 60
    await until(lambda: time.time() > upto + 45, 200)
    gaps = "select count(*) from candle_gaps where filled_at is null"
    span = "select coalesce(sum(extract(epoch from end_at - start_at) / 60), 0)::int from candle_gaps where filled_at is null"
    await until(lambda: stack.number(gaps) == 1, 130)
    return {
        "silent_websocket": {"seconds": QUIET, "noticed_after_seconds": whole, "goal": 90},
        "one_silent_market": {"seconds": QUIET, "noticed_after_seconds": alone, "goal": 90},
        "hang_up_1011": {"listening_again_after_seconds": again, "busy_answers": 3 - exchange.busy},
        "late_candle": behind,
        "hole": {"minutes": HOLE, "gaps_recorded": stack.number(gaps), "minutes_recorded": stack.number(span)},
        **compare(stack, exchange, upto),
        "dead_letters": stack.number("select count(*) from dead_letters"),
    }


def good(found: dict[str, Any]) -> bool:
    """Whether everything was noticed in time and nothing is missing, invented or different."""
    noticed = [found[k]["noticed_after_seconds"] for k in ("silent_websocket", "one_silent_market")]
    hole, hang_up, late_one = found["hole"], found["hang_up_1011"], found["late_candle"]
    return (
        all(n is not None and n <= 90 for n in noticed)
        and hang_up["listening_again_after_seconds"] is not None
        and hang_up["busy_answers"] == 3
        and late_one["next_stored"]
        and late_one["missing_at_first"]
        and late_one["stored_after_seconds"] is not None
        and (hole["gaps_recorded"], hole["minutes_recorded"]) == (1, HOLE)
        and not found["missing"] + found["invented"] + found["different"] + found["dead_letters"]
        and found["corrected"] > 0
    )


def main() -> None:
    """Command line; exits 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    with servers() as stack:
        found = asyncio.run(show(stack))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(0 if good(found) else 1)


if __name__ == "__main__":
    main()
