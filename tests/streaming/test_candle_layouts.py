"""Candle files as people have them: each layout by its right market, volume and times."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pytest

from domain.errors import InputError
from streaming.files.candles import Asked, symbol_in
from streaming.files.formats import Loaded, Options, load
from streaming.files.layouts import CANDLES

T = 1_700_000_040
BAR = "36000,36010,35990,36005"
CDD = "Date,Symbol,Open,High,Low,Close,Volume {coin},Volume USD\n"
KLINE = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"


def read(path: Path, **asked: str) -> Loaded:
    return load(path, Options(Asked(**asked)))


def archive(path: Path, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{path.stem}.csv", content)
    return path


def klines(count: int, step: int = 60, unit: int = 1000) -> str:
    return "".join(
        f"{(T + step * n) * unit},{BAR},1200,{(T + step * n) * unit},3.5,10,600,1.7,0\n" for n in range(count)
    )


@pytest.mark.parametrize(
    ("name", "content", "market", "timeframe", "volume"),
    [
        ("created.csv", "Created on 01-05-2024,https://www.x.com\n" + CDD.format(coin="BTC")
         + f"2024-01-03,BTCUSD,{BAR},10.5,9\n2024-01-02,BTCUSD,{BAR},35,9\n", "BTC/USD", "1d", 45.5),
        ("no-link.csv", CDD.format(coin="BTC") + f"2024-01-02 01-PM,BTCUSD,{BAR},10.5,9\n2024-01-02 12-PM,BTCUSD,{BAR},35,9\n",
         "BTC/USD", "1h", 45.5),
        ("dot.csv", "https://www.x.com\n" + CDD.format(coin="DOT")
         + f"2024-01-02 13:00:00,DOTUSD,{BAR},1,9\n2024-01-02 12:00:00,DOTUSD,{BAR},2,9\n", "DOT/USD", "1h", 3),
        ("shib.csv", "# a remark\n" + CDD.format(coin="SHIB") + f"2024-01-02,SHIBUSD,{BAR},1,9\n2024-01-01,SHIBUSD,{BAR},2,9\n",
         "SHIB/USD", "1d", 3),
        ("bitstampUSD_1-min_data_2012.csv", "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n"
         + f"{T},{BAR},0.45,1,1\n{T + 60},{BAR},0.45,1,1\n{T + 120},NaN,NaN,NaN,NaN,NaN,NaN,NaN\n", "BTC/USD", "1m", 0.9),
        ("XXBTZUSD_1.csv", "".join(f"{T + 60 * n},{BAR},1.5,3\n" for n in range(2)), "BTC/USD", "1m", 3),
        ("XETHXXBT_60.csv", "".join(f"{T + 3600 * n},{BAR},1.5,3\n" for n in range(2)), "ETH/BTC", "1h", 3),
        ("ADAEUR_720.csv", f"time,open,high,low,close,vwap,volume,trades\n{T},{BAR},36000,1.5,3\n", "ADA/EUR", "12h", 1.5),
        ("BTC-USD.csv", "Date,Open,High,Low,Close,Adj Close,Volume\n" + f"2021-01-01,{BAR},36005,72010\n"
         + f"2021-01-02,{BAR},36005,36005\n2021-01-03,null,null,null,null,null,null\n", "BTC/USD", "1d", 3),
        ("ETHGBP-1m-2023-04-07.csv", klines(2), "ETH/GBP", "1m", 2400),
        ("SOL_USDT-1h.csv", f"date,open,high,low,close,volume\n2024-01-01 00:00:00+00:00,{BAR},7\n", "SOL/USDT", "1h", 7),
        ("ETH_USDT_USDT-1h-futures.csv", f"date;open;high;low;close;volume\n2024-01-01;{BAR.replace(',', ';')};7\n",
         "ETH/USDT:USDT", "1h", 7),
    ],
)  # fmt: skip
def test_a_candle_file_is_what_it_says(
    tmp_path: Path, name: str, content: str, market: str, timeframe: str, volume: float
) -> None:
    """Market, timeframe and volume in the base currency, and not one row refused."""
    (tmp_path / name).write_text(content)
    found = read(tmp_path / name)
    (table,) = found.candles
    assert (table.key.symbol, table.key.timeframe) == (market, timeframe)
    assert table.bars[:, 4].sum() == pytest.approx(volume)
    assert not found.refused
    assert sum(found.left_out.values()) == found.rows - len(table), "nothing is passed over in silence"


def test_binance_spot_and_both_futures_are_kept_apart(tmp_path: Path) -> None:
    """Perpetuals by their path, their header or their name; a coin-margined volume is said to be in contracts."""
    spot = archive(tmp_path / "BTCUSDT-1m-2024-01.zip", klines(2))
    (tmp_path / "um").mkdir()
    by_path = archive(tmp_path / "um" / "BTCUSDT-1m-2024-01.zip", klines(2))
    by_header = archive(tmp_path / "ETHUSDT-1m-2024-01.zip", KLINE + klines(2))
    inverse = archive(tmp_path / "BTCUSD_PERP-1h-2023-10-27.zip", KLINE + klines(2, 3600))
    keys = [
        (key.kind, key.symbol) for path in (spot, by_path, by_header, inverse) for key in [read(path).candles[0].key]
    ]
    assert keys == [
        ("spot", "BTC/USDT"), ("swap", "BTC/USDT:USDT"), ("swap", "ETH/USDT:USDT"), ("swap", "BTC/USD:BTC"),
    ]  # fmt: skip
    found = read(inverse)
    assert "contracts (2,400)" in found.notes[0]
    assert found.candles[0].bars[:, 4].tolist() == [3.5, 3.5]
    dated = archive(tmp_path / "BTCUSD_240329-1h-2024-01.zip", klines(2, 3600))
    assert read(dated).candles[0].key[1:3] == ("future", "BTC/USD:BTC-240329"), "kept apart; the writer refuses it"


@pytest.mark.parametrize("interval", ["1s", "1mo", "10s"])
def test_an_interval_that_is_not_stored_is_refused(tmp_path: Path, interval: str) -> None:
    """Seconds and months: the sentence names what is read."""
    path = archive(tmp_path / f"DOGEUSDT-{interval}-2025-01.zip", klines(3, 1, 1_000_000))
    with pytest.raises(InputError, match=f"candles of {interval}.*1m, 3m, 5m"):
        read(path)


def test_binance_microseconds_and_other_tables(tmp_path: Path) -> None:
    """Since 2025 in µs; a table of trades is no table of candles."""
    assert read(archive(tmp_path / "BTCUSDT-1m-2025-01.zip", klines(2, unit=1_000_000))).candles[0].at.tolist() == [
        T,
        T + 60,
    ]
    with pytest.raises(InputError, match="aggtrades, not candles"):
        read(archive(tmp_path / "BTCUSDT-aggTrades-2025-01.zip", klines(2)))


@pytest.mark.parametrize("name", ["BTC_USDT-1h.json", "BTC_USDT-1h.json.gz", "BTC_USDT-1h.feather"])
def test_freqtrade_files(tmp_path: Path, name: str) -> None:
    """Lists of lists, packed or not, and feather: the market stands in the name."""
    rows = [[1000 * (T + 3600 * n), 1.0, 2.0, 0.5, 1.5, 7.0] for n in range(2)]
    path = tmp_path / name
    if name.endswith("feather"):
        names = ("date", "open", "high", "low", "close", "volume")
        pa.feather.write_feather(pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}), path)
    else:
        raw = json.dumps(rows).encode()
        path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    (table,) = read(path).candles
    assert (table.key.symbol, table.key.timeframe, table.at.tolist()) == ("BTC/USDT", "1h", [T, T + 3600])


@pytest.mark.parametrize(
    ("encoding", "note"), [("utf-16", "read as UTF-16"), ("utf-16-le", "read as UTF-16"), ("cp1252", "Windows-1252")]
)
def test_other_encodings_are_read_and_named(tmp_path: Path, encoding: str, note: str) -> None:
    """UTF-16 with and without its mark, Windows-1252."""
    path = tmp_path / "ETHUSDT-1h.csv"
    path.write_bytes(f"time,open,high,low,close,volume,remark\n{T},{BAR},7,Zürich\n".encode(encoding))
    found = read(path)
    assert len(found.candles[0]) == 1
    assert note in found.notes[0]


def test_a_file_that_fits_none_says_what_was_seen(tmp_path: Path) -> None:
    """Its columns, the nearest layout with what it lacks, and what to pass; no number of columns is guessed at."""
    path = tmp_path / "ETHUSDT.csv"
    path.write_text(f"when,open,high,low,close,volume\n{T},{BAR},7\n")
    with pytest.raises(InputError) as caught:
        read(path)
    for words in ("“when”, “open”", "nearest layout", "also needs a time", "Binance archive", "--symbol"):
        assert words in caught.value.message, words
    path.write_text(f"{T},{BAR},7,1,2,3,4,5,6,7,8\n")
    with pytest.raises(InputError, match="no line of column names and 14 columns"):
        read(path)


@pytest.mark.parametrize(
    ("stem", "market"),
    [
        ("Binance_BTCUSDT_d", "BTC/USDT"), ("ETH-EUR-daily", "ETH/EUR"), ("XDGUSD_1440", "DOGE/USD"), ("LTC_BTC-5m", "LTC/BTC"),
        ("BTCUSDT-1m-2021-01", "BTC/USDT"), ("ETHUSD_PERP-1h-2023-10", "ETH/USD:ETH"), ("kraken.XBTUSD.1m", "BTC/USD"),
        ("BTC_USD_BTC-1h-futures", "BTC/USD:BTC"), ("PYUSDUSD_1", "PYUSD/USD"), ("USDTZUSD_1", "USDT/USD"),
        ("Coinbase_SOLUSD_minute", "SOL/USD"),
    ],
)  # fmt: skip
def test_the_market_in_a_files_name(stem: str, market: str) -> None:
    """Exchanges' spellings, glued or not."""
    assert symbol_in(stem) == market


@pytest.mark.parametrize("stem", ["candles", "QQQZZZUSD-1m", "export_2021"])
def test_a_name_without_a_known_market_is_refused(stem: str) -> None:
    """Never guessed."""
    with pytest.raises(InputError):
        symbol_in(stem)


def test_every_layout_is_told_apart() -> None:
    """No two layouts of candles have one name, nor two without a line of names the same columns in the same order."""
    assert len({layout.name for layout in CANDLES}) == len(CANDLES)
    orders = [layout.headless for layout in CANDLES if layout.headless]
    assert len(set(orders)) == len(orders)
    assert io.StringIO(KLINE).readline().count(",") + 1 in map(len, orders)
