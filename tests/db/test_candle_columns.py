"""Candles are stored by the same rules, whether copied straight or merged with what is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.queries import candles
from db.queries.candles import Upserted, upsert_candles
from domain.candles import NO_CANDLES, CandleColumns, MarketKey, join

pytestmark = pytest.mark.stack

T = 1_706_572_800
BTC, ETH = MarketKey("binance", "spot", "BTC/USDT"), MarketKey("binance", "spot", "ETH/USDT")


def columns(minutes: range, key: MarketKey = BTC, close: float = 100.5, final: bool = True) -> CandleColumns:
    """Candles of one market, ``minutes`` after T."""
    count = len(minutes)
    bars = np.tile([100.0, 102.0, 99.0, close, 5.0], (count, 1))
    return CandleColumns([key], np.zeros(count, np.int64), T + 60 * np.array(minutes), bars, np.full(count, final))


def stored(engine: Engine) -> list[tuple[int, float, int]]:
    with engine.connect() as connection:
        query = "select count(*), close, max(revision) from candles group by close order by close"
        return [tuple(row) for row in connection.execute(text(query))]


def write(engine: Engine, batch: CandleColumns) -> tuple[int, int, int]:
    with engine.begin() as connection:
        done: Upserted = upsert_candles(connection, batch)
    return done.inserted, done.corrected, done.unchanged


def test_parts_join_under_one_list_of_markets() -> None:
    """Rows keep their order and their market; no parts give no rows."""
    both = join([columns(range(2), ETH), columns(range(3), BTC), columns(range(2, 4), ETH)])
    assert both.markets == [ETH, BTC]
    assert both.market.tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert both.newest() == {ETH: T + 180, BTC: T + 120}
    assert len(join([]).at) == len(NO_CANDLES.at) == 0


def test_new_rows_repeated_rows_and_corrections(engine: Engine) -> None:
    """New rows go straight in; a repeated batch changes nothing; a batch over stored rows corrects and adds."""
    assert write(engine, join([columns(range(100), key) for key in (BTC, ETH)])) == (200, 0, 0)
    assert write(engine, columns(range(100))) == (0, 0, 100)
    assert write(engine, columns(range(90, 120), close=101.0)) == (20, 10, 0)
    assert stored(engine) == [(190, 100.5, 0), (30, 101.0, 1)]


def test_equal_keys_in_one_batch_of_new_rows(engine: Engine) -> None:
    """The last of equal keys wins, and one that is final wins over a later one that is not."""
    batch = join([columns(range(20)), columns(range(20), close=101.0), columns(range(20), close=101.5, final=False)])
    assert write(engine, batch) == (20, 0, 0)
    assert stored(engine) == [(20, 101.0, 0)]


def test_rows_that_another_process_stores_meanwhile(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that appear after the question was answered are met by the upsert; the transaction goes on."""
    write(engine, columns(range(15, 25)))
    monkeypatch.setattr(candles, "_ANY_STORED", "select false")
    batch = columns(range(20))
    assert write(engine, replace(batch, bars=batch.bars + 1.0)) == (15, 5, 0)
    assert stored(engine) == [(5, 100.5, 0), (20, 101.5, 1)]
