"""Files as others publish them."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import InputError
from streaming.files.candles import Asked
from streaming.files.formats import Loaded, Options, load
from streaming.files.posts import author_hash
from streaming.files.tables import Cut

T = 1_610_000_040


def read(path: Path, timezone: str | None = None, key: str = "") -> Loaded:
    return load(path, Options(Asked("gemini"), Cut(undated=True), timezone, key))


@pytest.mark.parametrize(
    ("header", "rows", "timeframe"),
    [
        (
            "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
            [f"{T + 60},x,BTC/USD,1,2,0.5,1.5,7,9", f"{T},x,BTC/USD,1,2,0.5,1.4,6,9"],
            "1m",
        ),
        (
            "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume",
            [f"{T + 60}000,x,BTCUSD,1,2,0.5,1.5,7", f"{T}000,x,BTCUSD,1,2,0.5,1.4,6"],
            "1m",
        ),
        (
            "date,symbol,open,high,low,close,Volume USD,Volume BTC",
            ["2021-01-08,BTCUSD,1,2,0.5,1.5,9,7", "2021-01-07,BTCUSD,1,2,0.5,1.4,9,6"],
            "1d",
        ),
        (
            "Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USD",
            [
                "2019-10-17 09-PM,BTCUSD,1,2,0.5,1.5,7,9",
                "2019-10-17 08-PM,BTCUSD,1,2,0.5,1.4,6,9",
                "soon,BTCUSD,1,2,1,1,1,1",
            ],
            "1h",
        ),
    ],
)
def test_crypto_data_download(tmp_path: Path, header: str, rows: list[str], timeframe: str) -> None:
    """A link first, newest row first, both column spellings; the volume is the base currency's."""
    path = tmp_path / "Gemini_BTCUSD.csv"
    path.write_text("https://www.CryptoDataDownload.com\n" + "\n".join([header, *rows]) + "\n")
    (table,) = [own.take(own.at >= 0) for own in read(path).candles]
    assert table.key == ("gemini", "spot", "BTC/USD", timeframe)
    assert table.bars[:, 3].tolist() == [1.4, 1.5]
    assert table.bars[:, 4].tolist() == [6, 7]


def test_a_binance_archive_may_change_its_unit_of_time(tmp_path: Path) -> None:
    """Zips without a header, in milliseconds and since 2025 in microseconds; the market stands in the name."""
    path = tmp_path / "SOLUSDT-1m-2024-12.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SOLUSDT-1m-2024-12.csv", f"{T}000,1,2,0.5,1.5,3,x,0\n{T + 60}000000,1,2,0.5,1.6,4,x,0\n")
    (table,) = read(path).candles
    assert table.key[2:] == ("SOL/USDT", "1m")
    assert table.at.tolist() == [T, T + 60]


def test_every_file_of_an_archive_is_read(tmp_path: Path) -> None:
    """Also with one row each: market and timeframe stand in their names."""
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("BTCUSDT-1d-2024-01-01", "BTCUSDT-1d-2024-01-02", "ETHUSDT-30m-2024-01-01"):
            day = datetime.fromisoformat(name[-10:]).replace(tzinfo=UTC).timestamp()
            archive.writestr(f"{name}.csv", f"open_time,open,high,low,close,volume\n{day:.0f}000,1,2,0.5,1.5,3\n")
    found = {table.key[2:]: len(table.at) for table in read(path).candles}
    assert found == {("BTC/USDT", "1d"): 2, ("ETH/USDT", "30m"): 1}


def test_a_volume_that_nobody_gives_is_not_made_up(tmp_path: Path) -> None:
    """CryptoDataDownload without a volume column: refused with the layout that it nearly is, never stored as zero."""
    path = tmp_path / "Gemini_BTCUSD_1h.csv"
    path.write_text(
        f"https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close\n{T},x,BTC/USD,1,2,0.5,1.5\n"
    )
    with pytest.raises(InputError, match="also needs “volume”"):
        read(path)


def test_twint_needs_a_time_zone(tmp_path: Path) -> None:
    """Local times are refused until somebody says whose they are; a zone in the row or the option settles it."""
    path = tmp_path / "2021-01-07.csv"
    path.write_text(
        "id,date,time,timezone,username,tweet,likes_count,retweets_count,replies_count,language\n"
        "1,2021-01-07,07:14:00,,elon,to the moon with #doge,5,2,1,en\n"
    )
    with pytest.raises(InputError, match="--timezone"):
        read(path)
    with pytest.raises(InputError, match="not a time zone"):
        read(path, "Mars/Olympus")
    (table,) = read(path, "Europe/Berlin", "k").posts
    assert table.at.tolist() == [T]
    assert table.source == "twint"
    assert table.columns["author_hash"] == [author_hash("elon", "k")]
    assert table.columns["likes"] == [5]
    path.write_text(path.read_text().replace("07:14:00,,", "07:14:00,+0100,"))
    (again,) = read(path, None, "k").posts
    assert again.at.tolist() == table.at.tolist()


def test_json_lines_of_posts(tmp_path: Path) -> None:
    """One object a line with the usual names of the fields."""
    path = tmp_path / "posts.jsonl"
    rows: list[dict[str, object]] = [
        {"created_at": "2021-01-07T06:14:00Z", "content": "btc", "user": "a", "favorite_count": "3"},
        {"t": T + 5, "text": "eth", "symbols": ["ETH"]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    (table,) = read(path).posts
    assert (table.text, table.at.tolist()) == (["btc", "eth"], [T, T + 5])
    assert table.columns["likes"] == [3, None]


def test_an_author_is_recognised_and_not_named() -> None:
    """The same name gives the same hash under one key and another under another."""
    assert author_hash("Satoshi", "k") == author_hash("satoshi", "k") != author_hash("satoshi", "other")
    assert author_hash(None, "k") is None
    assert "satoshi" not in str(author_hash("satoshi", "k"))
