"""Candles of the past: fetched page by page, resumed from a cursor, never the one that is still open."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streaming.market_data import Backfill
from tests.fakes.exchange import FakeExchange
from tests.streaming.test_market_data import SYMBOL, T, backfill, clock_at, fetched, opened


@pytest.mark.parametrize(("now", "last"), [(2 * 3600 + 1800, 1), (2 * 3600 + 2, 0), (2 * 3600 + 10, 1)])
async def test_a_backfill_leaves_out_the_open_candle(exchange: FakeExchange, now: int, last: int) -> None:
    """With an end in the future too: the hour that runs, or has ended this very moment, is not final yet."""
    day = T // 86_400 * 86_400
    for n in range(4):
        exchange.put(SYMBOL, day + 3600 * n)
    since, until = (datetime.fromtimestamp(day + n, UTC) for n in (0, 86_400))
    source = Backfill("binance", [SYMBOL], since, until, "1h", exchange.url, clock_at(day + now))
    assert opened(await fetched(source)) == [day + 3600 * n for n in range(last + 1)]
    assert (source.expected, source.until) == (last + 1, datetime.fromtimestamp(day + 3600 * (last + 1), UTC))


async def test_a_backfill_pages_and_resumes(exchange: FakeExchange) -> None:
    """More than a page is fetched in order; from a cursor only the rest."""
    for n in range(2500):
        exchange.put(SYMBOL, T + 60 * n)
    source = backfill(exchange, 2500)
    whole, rest = opened(await fetched(source)), opened(await fetched(source, T + 2000 * 60))
    assert whole == [T + 60 * n for n in range(2500)]
    assert rest == whole[2001:]
    assert source.expected == 2500
    assert exchange.calls["klines"] == 4
