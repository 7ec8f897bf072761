"""Candles from an exchange: final only when closed, corrected, resumed, and honest about holes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import REGISTRY

from domain.candles import CandleColumns
from domain.clock import ManualClock
from domain.errors import InputError, Unavailable
from domain.symbols import kind_of
from streaming import live, market_data
from streaming.live import LiveCandles, _Market
from streaming.market_data import Backfill, Hole, Holes, open_exchange
from streaming.messages import CandleMessage, Message, outgoing
from streaming.quirks import Quirks, quirks
from tests.fakes.exchange import FakeExchange
from tests.streaming.kit import closes
from tests.streaming.test_replay import Waits

T = 1_772_366_400
SYMBOL = "BTC/USDT"
STREAM = "binance/spot/BTC/USDT/1m"
NAMED = ("binance", "bybit", "okx", "kraken", "coinbase", "bitstamp", "kucoin", "bitget")


def clock_at(seconds: int) -> ManualClock:
    return ManualClock(datetime.fromtimestamp(seconds, UTC))


async def collect(
    source: Any, cursors: dict[str, int], enough: Callable[[list[Message]], bool], seconds: float = 20
) -> list[Message]:
    out: list[Message] = []
    stream = source.read(cursors, Waits(ManualClock(datetime.fromtimestamp(T, UTC))))

    async def work() -> None:
        async for batch in stream:
            out.extend(batch)
            if enough(out):
                return

    try:
        await asyncio.wait_for(work(), seconds)
    finally:
        await stream.aclose()
    return out


async def fetched(source: Backfill, after: int | None = None) -> list[CandleColumns]:
    """The pages of a back-fill, from its beginning or after a cursor."""
    cursors = {stream: start if after is None else after for stream, start in source.streams().items()}
    return [candles async for _, _, candles in source.columns(cursors)]


def opened(pages: Sequence[CandleColumns]) -> list[int]:
    """Opening times of the candles."""
    return [at for candles in pages for at in candles.at.tolist()]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def backfill(exchange: FakeExchange, count: int) -> Backfill:
    since, until = (datetime.fromtimestamp(T + 60 * n, UTC) for n in (0, count))
    return Backfill("binance", [SYMBOL], since, until, rest=exchange.url)


def minutes(messages: Sequence[Message]) -> list[int]:
    """Opening times of the candles."""
    return [at for m in messages if isinstance(m, CandleMessage) for at in closes(m)]


def finals(messages: Sequence[Message]) -> list[int]:
    """Minutes that move the stream, counted from T."""
    return [(at - T) // 60 for at in minutes([m for m in messages if m.stream])]


async def test_a_minute_is_final_when_a_newer_one_began(exchange: FakeExchange) -> None:
    """The websocket's word about minute 4 lets minute 3 be fetched by REST; minute 4 itself is not sent."""
    for n in range(5):
        exchange.put(SYMBOL, T + 60 * n)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", [SYMBOL], clock, exchange.url, exchange.ws)
    task = asyncio.create_task(collect(source, {STREAM: T}, lambda out: 3 in finals(out)))
    await exchange.listened()
    assert not task.done()
    clock.advance(52)
    await exchange.tick(SYMBOL, T + 240, times=3)
    out = await task
    assert finals(out) == [1, 2, 3]
    assert all(isinstance(m, CandleMessage) and m.market == "spot" for m in out)


async def test_a_correction_comes_with_the_next_minute(exchange: FakeExchange) -> None:
    """The two minutes before are fetched again; a changed one is sent once more, outside the stream."""
    for n in range(3):
        exchange.put(SYMBOL, T + 60 * n)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", [SYMBOL], clock, exchange.url, exchange.ws)
    task = asyncio.create_task(collect(source, {STREAM: T}, lambda out: 3 in finals(out)))
    await exchange.listened()
    exchange.put(SYMBOL, T + 120, close=123.0)
    exchange.put(SYMBOL, T + 180)
    clock.advance(60)
    await exchange.tick(SYMBOL, T + 240)
    out = await task
    again = [closes(m) for m in out if not m.stream and T + 120 in closes(m)]
    assert again[-1][T + 120] == 123.0
    assert {outgoing(m).key for m in out} == {STREAM.encode()}, "one partition, and so in order"


async def test_a_silent_websocket_is_noticed_and_the_clock_closes_minutes(exchange: FakeExchange) -> None:
    """Open but silent: it is opened anew, and meanwhile REST delivers what closed."""
    exchange.silent = True
    for n in range(10):
        exchange.put(SYMBOL, T + 60 * n)
    source = LiveCandles("binance", [SYMBOL], clock_at(T + 600), exchange.url, exchange.ws, silence=1.0)
    out = await collect(source, {STREAM: T}, lambda out: 9 in finals(out))
    assert finals(out) == list(range(1, 10))
    again = asyncio.create_task(collect(source, {STREAM: T + 540}, lambda out: False, seconds=30))
    await exchange.listened(2)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    assert exchange.calls["SUBSCRIBE"] >= 2


async def test_after_a_hang_up_it_listens_again(exchange: FakeExchange) -> None:
    """Close 1011 in the middle: a new websocket, and nothing missing."""
    for n in range(5):
        exchange.put(SYMBOL, T + 60 * n)
    clock = clock_at(T + 130)
    source = LiveCandles("binance", [SYMBOL], clock, exchange.url, exchange.ws)
    task = asyncio.create_task(collect(source, {STREAM: T}, lambda out: 3 in finals(out)))
    await exchange.listened(1)
    await exchange.hang_up()
    await exchange.listened(2)
    clock.advance(120)
    await exchange.tick(SYMBOL, T + 240)
    assert finals(await task) == [1, 2, 3]


async def test_a_hole_stays_a_hole(exchange: FakeExchange) -> None:
    """Sixty minutes that the exchange does not have are not invented; the candle after them follows in the stream."""
    for n in (0, 1, 62, 63):
        exchange.put(SYMBOL, T + 60 * n)
    source = backfill(exchange, 64)
    assert [(at - T) // 60 for at in opened(await fetched(source))] == [0, 1, 62, 63]


async def test_too_many_requests_is_waited_for(exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 is waited for as long as the exchange says; one that stays busy ends as “try again”."""
    exchange.put(SYMBOL, T)
    exchange.busy = 3
    source = backfill(exchange, 1)
    assert opened(await fetched(source)) == [T]
    assert exchange.calls["klines"] == 4
    monkeypatch.setattr(market_data, "BUSY_WAITS", (0.0,))
    exchange.busy = 5
    with pytest.raises(Unavailable, match="stays busy"):
        await fetched(source)
    assert exchange.busy == 3


async def test_a_market_that_falls_silent_alone_is_noticed(exchange: FakeExchange) -> None:
    """The connection talks about another market while REST says that this one moved: it is opened anew, within a minute."""
    for n in range(5):
        exchange.put(SYMBOL, T + 60 * n)
        exchange.put("ETH/USDT", T + 60 * n)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", [SYMBOL, "ETH/USDT"], clock, exchange.url, exchange.ws)
    cursors = dict.fromkeys(source.streams(), T)
    before = value("moodtape_feed_stalls_total", source="binance")
    task = asyncio.create_task(collect(source, cursors, lambda out: False, seconds=60))
    await exchange.listened()
    exchange.mute = {"ETH/USDT"}
    for _ in range(100):
        clock.advance(2)
        await exchange.tick(SYMBOL, T + 240)
        if exchange.calls["SUBSCRIBE"] > 1:
            break
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert exchange.calls["SUBSCRIBE"] == 2
    assert value("moodtape_feed_stalls_total", source="binance") == before + 1


async def test_a_market_without_trades_is_not_stalled(exchange: FakeExchange) -> None:
    """When REST has nothing newer either, silence is no reason to open the websocket anew."""
    market = _Market(begun=T, volume=5.0)
    assert not market.moved(T, 5.0)
    assert not market.moved(T + 60, 0.0)
    assert market.moved(T, 6.0)
    assert market.moved(T + 60, 0.1)


async def test_markets_that_an_exchange_lacks_are_left_out(exchange: FakeExchange) -> None:
    """The others go on; an exchange that has none of them is an error of the settings."""
    exchange.put(SYMBOL, T + 60)
    source = LiveCandles("binance", [SYMBOL, "NO/USDT"], clock_at(T + 190), exchange.url, exchange.ws)
    out = await collect(source, dict.fromkeys(source.streams(), T), lambda out: 1 in finals(out))
    assert {m.symbol for m in out if isinstance(m, CandleMessage)} == {SYMBOL}
    none = LiveCandles("binance", ["NO/USDT"], clock_at(T + 190), exchange.url, exchange.ws)
    with pytest.raises(InputError, match="none of the markets NO/USDT"):
        await collect(none, dict.fromkeys(none.streams(), T), lambda out: False)


async def test_swaps_are_fetched_and_kept_apart(exchange: FakeExchange) -> None:
    """BTC/USDT and BTC/USDT:USDT of one exchange come from their own markets and stay different series."""
    exchange.put(SYMBOL, T, close=100.0)
    exchange.put(SYMBOL + ":USDT", T, close=100.7)
    since, until = (datetime.fromtimestamp(T + n, UTC) for n in (0, 60))
    source = Backfill("binance", [SYMBOL, SYMBOL + ":USDT"], since, until, rest=exchange.url)
    out = [(c.key.kind, c.key.symbol, c.bars[0, 3]) for c in await fetched(source)]
    assert out == [("spot", SYMBOL, 100.0), ("swap", SYMBOL + ":USDT", 100.7)]


async def test_an_exchange_that_tells_of_one_market_at_a_time(
    exchange: FakeExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a joint stream each market is followed by itself, over one connection."""
    for n in range(5):
        exchange.put(SYMBOL, T + 60 * n)
        exchange.put("ETH/USDT", T + 60 * n)

    def apart(*arguments: Any) -> Any:
        made = open_exchange(*arguments)
        made.has["watchOHLCVForSymbols"] = False
        return made

    monkeypatch.setattr(live, "open_exchange", apart)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", [SYMBOL, "ETH/USDT"], clock, exchange.url, exchange.ws)
    cursors = dict.fromkeys(source.streams(), T)
    task = asyncio.create_task(collect(source, cursors, lambda out: finals(out).count(3) == 2))
    await exchange.listened(2)
    clock.advance(52)
    for symbol in (SYMBOL, "ETH/USDT"):
        await exchange.tick(symbol, T + 240)
    assert sorted(finals(await task)) == [1, 1, 2, 2, 3, 3]
    assert len(exchange._sockets) == 1


async def test_a_late_minute_is_waited_for_and_doubles_are_sent_once(exchange: FakeExchange) -> None:
    """A minute that REST does not have yet is asked for again, ever more rarely; rows that come twice leave one candle."""
    exchange.doubled = True
    exchange.put(SYMBOL, T + 60)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", [SYMBOL], clock, exchange.url, exchange.ws)
    task = asyncio.create_task(collect(source, {STREAM: T}, lambda out: 2 in finals(out)))
    for _ in range(200):
        await asyncio.sleep(0.02)
        clock.advance(0.5)
        if exchange.calls["klines"] == 4:
            exchange.put(SYMBOL, T + 120)
    out = await task
    assert finals(out) == [1, 2]
    assert 5 <= exchange.calls["klines"] <= 7


def test_unknown_names_are_refused() -> None:
    """An exchange or timeframe that does not exist gives one sentence."""
    now = datetime.now(UTC)
    with pytest.raises(InputError, match="no exchange"):
        open_exchange("nosuchexchange")
    with pytest.raises(InputError, match="--timeframe"):
        Backfill("binance", [SYMBOL], now, now, "2m")


@pytest.mark.parametrize("name", NAMED)
async def test_quirk_files_are_data_that_ccxt_accepts(name: str) -> None:
    """Each named exchange opens with its quirks, which differ from the usual ones in something."""
    made = open_exchange(name)
    await made.close()
    assert quirks(name) != Quirks()
    assert made.enableRateLimit
    assert "1m" in made.timeframes


def test_spot_and_swap_are_told_apart() -> None:
    """BTC/USDT is not BTC/USDT:USDT, and any other ccxt exchange has the usual quirks."""
    assert (kind_of("BTC/USDT"), kind_of("BTC/USDT:USDT")) == ("spot", "swap")
    assert quirks("gate") == Quirks()


async def test_a_delisted_market_is_left_and_comes_back(exchange: FakeExchange) -> None:
    """REST answers -1121 in mid-run: that market is named as lost, the other goes on, and it is read again when it is back."""
    both = (SYMBOL, "ETH/USDT")
    for symbol in both:
        exchange.put(symbol, T + 60)
    clock = clock_at(T + 190)
    source = LiveCandles("binance", both, clock, exchange.url, exchange.ws)
    stream = source.read(dict.fromkeys(source.streams(), T), Waits(clock))
    out: list[tuple[str, int]] = []

    async def seen(*wanted: tuple[str, int]) -> None:
        async for batch in stream:
            out.extend((m.symbol, at) for m in batch if isinstance(m, CandleMessage) for at in closes(m))
            if set(wanted) <= set(out):
                return

    await asyncio.wait_for(seen(*((symbol, T + 60) for symbol in both)), 20)
    exchange.delisted.add("ETH/USDT")
    for symbol in both:
        exchange.put(symbol, T + 120)
        exchange.put(symbol, T + 180)
    clock.advance(120)
    await asyncio.wait_for(seen((SYMBOL, T + 180)), 20)
    clock.advance(60)
    exchange.put(SYMBOL, T + 240)
    await asyncio.wait_for(seen((SYMBOL, T + 240)), 20)
    assert list(source.lost) == ["ETH/USDT"]
    assert value("moodtape_feed_refused", source="binance", item="ETH/USDT") == 1
    exchange.delisted.clear()
    clock.advance(120)
    await asyncio.wait_for(seen(("ETH/USDT", T + 180)), 20)
    await stream.aclose()
    assert source.lost == {}
    assert value("moodtape_feed_refused", source="binance", item="ETH/USDT") == 0


async def test_an_open_hole_is_asked_for_again(exchange: FakeExchange) -> None:
    """A minute that was not there comes later; it is asked for at once, and then ever more rarely until it is there."""
    for n in (1, 2, 4, 5):
        exchange.put(SYMBOL, T + 60 * n)
    clock, holes = clock_at(T + 60 * 6 + 30), [(SYMBOL, *(datetime.fromtimestamp(T + 60 * n, UTC) for n in (3, 4)))]
    source = LiveCandles("binance", [SYMBOL], clock, exchange.url, exchange.ws, holes=lambda since: holes)
    stream, out = source.read({STREAM: T + 120}, Waits(clock)), []

    async def seen(minute: int) -> None:
        async for batch in stream:
            out.extend(minutes(batch))
            if minute in out:
                return

    await asyncio.wait_for(seen(T + 300), 20)
    exchange.put(SYMBOL, T + 180)
    clock.advance(market_data.FIRST_AGAIN)
    await asyncio.wait_for(seen(T + 180), 20)
    await stream.aclose()
    assert out.count(T + 180) == 1
    asked = Holes(lambda since: holes, clock)
    times = []
    for _ in range(40):
        times += [clock.monotonic()] * len(await asked.due())
        clock.advance(market_data.LOOK)
    assert len(times) == 4
    assert [b - a for a, b in pairwise(times)] == [600, 1200, 2400]


async def test_a_database_that_is_away_knows_of_no_hole() -> None:
    """The live feed goes on without it."""

    def away(since: datetime) -> list[Hole]:
        raise Unavailable("PostgreSQL does not answer.")

    assert await Holes(away, clock_at(T)).due() == []
