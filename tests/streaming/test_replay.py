"""Replayed files: every row once, in order of time, from where the cursors stand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from domain.clock import ManualClock
from domain.errors import InputError
from streaming.files.candles import Asked
from streaming.files.cells import epoch_seconds
from streaming.files.formats import Options, load
from streaming.files.tables import Cut, candle_tables, post_tables
from streaming.messages import CandleMessage, PostMessage
from streaming.replay import Replay
from tests.streaming.kit import closes

T = 1_610_000_040


class Waits:
    """A waiter whose sleeping moves a manual clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[Mapping[str, int]] = []

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def stored(self, cursors: Mapping[str, int]) -> None:
        self.asked.append(cursors)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    candles = {
        "exchange": ["binance"] * 4 + ["binance_um"],
        "symbol": ["BTCUSDT"] * 3 + ["ETHUSDT", "BTCUSDT"],
        "t": [T + 120, T, T + 60, T, T],
        "open": [1.0] * 5,
        "high": [2.0] * 5,
        "low": [0.5] * 5,
        "close": [1.5, 1.1, 1.2, 1.3, 1.4],
        "volume": [9.0] * 5,
    }
    posts = {
        "t": [T + 90, T + 1, T + 1],
        "author_hash": ["a", "b", "b"],
        "text": ["two", "one", "one"],
        "symbols": ["BTC,ETH", "", None],
    }
    pa.parquet.write_table(pa.table(candles), tmp_path / "candles.parquet")
    pa.parquet.write_table(pa.table(posts), tmp_path / "Some Stream.parquet")
    return tmp_path


async def test_unpaced_rows_come_once_candles_first(folder: Path, clock: ManualClock) -> None:
    """Candles come as blocks per market in order of time; the posts wait until they are stored."""
    replay, waits = Replay([folder], clock, speed=0), Waits(clock)
    messages = [m async for batch in replay.read(replay.streams(), waits) for m in batch]
    blocks = [m for m in messages if isinstance(m, CandleMessage)]
    posts = [m for m in messages if isinstance(m, PostMessage)]
    assert {(b.exchange, b.market, b.symbol): list(closes(b)) for b in blocks} == {
        ("binance", "spot", "BTC/USDT"): [T, T + 60, T + 120],
        ("binance", "spot", "ETH/USDT"): [T],
        ("binance", "swap", "BTC/USDT:USDT"): [T],
    }
    assert [p.text for p in posts] == ["one", "one", "two"]
    assert len({p.id for p in posts}) == 3
    assert posts[2].symbols == ("BTC", "ETH")
    assert waits.asked[0]
    assert replay.rows == (5, 3)


async def test_paced_rows_follow_the_clock(folder: Path, clock: ManualClock) -> None:
    """At 60 times real time a minute of the file takes a second; a candle comes when it closes."""
    replay, waits = Replay([folder], clock, speed=60), Waits(clock)
    came: list[tuple[float, int]] = []
    async for batch in replay.read(replay.streams(), waits):
        came += [(clock.monotonic(), int(at)) for m in batch for at in (m.at if isinstance(m.at, list) else [m.at])]
    assert sorted(at for _, at in came) == [T, T, T, T + 1, T + 1, T + 60, T + 90, T + 120]
    assert clock.monotonic() == pytest.approx((T + 180 - (T + 1)) / 60, abs=0.2)


async def test_it_goes_on_from_the_cursors(folder: Path, clock: ManualClock) -> None:
    """After a restart only what was not stored is sent."""
    replay, waits = Replay([folder], clock, speed=0), Waits(clock)
    at = dict.fromkeys(replay.streams(), 1)
    messages = [m async for batch in replay.read(at, waits) for m in batch]
    assert sum(len(closes(m)) if isinstance(m, CandleMessage) else 1 for m in messages) == 2 + 2


def test_the_cut_limits_time_and_markets(folder: Path, clock: ManualClock) -> None:
    """--since, --until and --symbols choose rows; another cut has other streams."""
    cut = Cut(datetime.fromtimestamp(T + 60, UTC), datetime.fromtimestamp(T + 120, UTC), frozenset({"BTC/USDT"}))
    part = Replay([folder], clock, cut=cut)
    assert part.rows == (1, 1)
    assert not set(part.streams()) & set(Replay([folder], clock).streams())


def test_files_that_are_no_use_are_named(tmp_path: Path, clock: ManualClock) -> None:
    """A missing path, an empty directory and a broken file each give one sentence."""
    for path, words in ((tmp_path / "none", "no file or directory"), (tmp_path, "no file to read")):
        with pytest.raises(InputError, match=words):
            Replay([path], clock)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"x\.parquet cannot be read"):
        Replay([tmp_path / "x.parquet"], clock)
    with pytest.raises(InputError, match="No candles and no posts"):
        Replay([tmp_path], clock)


def test_csv_with_other_names_and_units(tmp_path: Path) -> None:
    """Times in milliseconds and ISO texts become epoch seconds; the market may stand in the file's name."""
    path = tmp_path / "ETHUSDT-1m.csv"
    path.write_text("timestamp,Open,High,Low,Close,Volume\n1610000040000,1,2,0.5,1.5,3\n1610000100000,1,2,0.5,1.6,3\n")
    (table,) = load(path, Options(Asked("kraken"))).candles
    assert table.key == ("kraken", "spot", "ETH/USDT", "1m")
    assert table.at.tolist() == [T, T + 60]
    texts = pa.chunked_array([pa.array(["2021-01-07T06:14:00Z"])])
    assert epoch_seconds(texts).tolist() == [T]


def test_doubled_minutes_keep_the_last(tmp_path: Path) -> None:
    """Of two candles of one minute the later row counts."""
    columns = {name: pa.chunked_array([pa.array([1.0, 1.0])]) for name in ("open", "high", "low")}
    columns |= {"t": pa.chunked_array([pa.array([T, T])]), "close": pa.chunked_array([pa.array([1.0, 7.0])])}
    (table,) = candle_tables(columns, Cut(), "x", "BTC", "1m")
    assert table.bars[:, 3].tolist() == [7.0]


ROWS = "t,exchange,symbol,market,timeframe,open,high,low,close,volume\n"


def test_market_and_timeframe_are_those_of_the_columns(tmp_path: Path, clock: ManualClock) -> None:
    """A swap stays one and an hour an hour, also as a single row; where a row says nothing, name and steps tell."""
    path = tmp_path / "candles.csv"
    bar = "1,2,0.5,1.5,3"
    path.write_text(ROWS + f"{T},x,BTCUSDT,swap,1h,{bar}\n{T},x,BTC/USDT,,1h,{bar}\n{T},x,ETHUSDT,spot,1d,{bar}\n")
    keys = [table.key for table in Replay([path], clock)._candles.values()]
    assert sorted(keys) == [
        ("x", "spot", "BTC/USDT", "1h"), ("x", "spot", "ETH/USDT", "1d"), ("x", "swap", "BTC/USDT:USDT", "1h"),
    ]  # fmt: skip


def test_an_unknown_step_is_asked_for(tmp_path: Path, clock: ManualClock) -> None:
    """A single row, or steps of seven minutes, are not taken for minutes; the option or the file's name says what they are."""
    head, bar = "t,symbol,open,high,low,close,volume\n", "BTCUSDT,1,2,0.5,1.5,3\n"
    path = tmp_path / "candles.csv"
    for rows in (f"{T},{bar}", f"{T},{bar}{T + 420},{bar}"):
        path.write_text(head + rows)
        with pytest.raises(InputError, match="--timeframe 1m"):
            Replay([path], clock)
        (table,) = Replay([path], clock, asked=Asked(timeframe="30m"))._candles.values()
        assert table.key[3] == "30m"
    named = path.rename(tmp_path / "BTCUSDT-1d-2024-01-01.csv")
    (table,) = Replay([named], clock)._candles.values()
    assert table.key[3] == "1d"


def test_files_are_told_apart_by_what_they_hold(tmp_path: Path, clock: ManualClock) -> None:
    """Two files of one name and size keep all their rows, and a corrected one is new; two spellings of a market are one."""
    head, bar = "t,symbol,open,high,low,close,volume\n", "1,2,0.5,1.5,3\n"
    paths = [tmp_path / folder / "x-1m.csv" for folder in "ab"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(
            head + "".join(f"{T + 60 * (3 * number + n)},{s},{bar}" for n, s in enumerate(("BTCUSDT",) * 3))
        )
    both = Replay([tmp_path], clock)
    assert both.rows == (6, 0)
    paths[0].write_text(paths[0].read_text().replace("1.5", "1.6"))
    assert len(set(Replay([tmp_path], clock).streams()) - set(both.streams())) == 1
    paths[0].write_text(head + "".join(f"{T + 60 * n},{('BTCUSDT', 'BTC/USDT')[n % 2]},{bar}" for n in range(4)))
    (table,) = Replay([paths[0]], clock)._candles.values()
    assert table.at.tolist() == [T, T + 60, T + 120, T + 180]


def test_post_ids_do_not_depend_on_the_order_of_rows() -> None:
    """The same rows in another order have the same ids."""
    rows = [(T, "x"), (T + 1, "y"), (T, "x")]
    ids = []
    for order in (rows, rows[::-1]):
        columns = {
            "t": pa.chunked_array([pa.array([t for t, _ in order])]),
            "text": pa.chunked_array([pa.array([w for _, w in order])]),
        }
        (table,) = post_tables(columns, Cut(), "s")
        ids.append(set(table.ids))
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3


def test_rows_that_are_not_played_are_counted_by_reason(tmp_path: Path, clock: ManualClock) -> None:
    """Undated, cut off, outside the wanted time: none is dropped in silence."""
    bar = "1,2,0.5,1.5,3"
    rows = [f"{T},{bar}", f"soon,{bar}", f"{T + 60},{bar}", f",{bar}", f"{T + 6000},{bar}"]
    (tmp_path / "BTCUSDT-1m.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(rows))
    (tmp_path / "posts.csv").write_text(f"text,timestamp,user\none,{T},a\ntwo,never,b\ncut,{T}\n")
    replay = Replay([tmp_path], clock, cut=Cut(None, datetime.fromtimestamp(T + 600, UTC)))
    assert replay.rows == (2, 1)
    assert replay.left_out == {
        "without a time that can be read": 3, "outside --since and --until, or of another market": 1, "the row is cut off": 1,
    }  # fmt: skip
