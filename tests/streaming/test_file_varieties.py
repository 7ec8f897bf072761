"""Further files of each kind, made after what exchanges, charting pages, scrapers and archives really write."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from domain.clock import SystemClock
from domain.errors import InputError
from streaming.bulk import Bulk, Report
from streaming.files.candles import Asked
from streaming.files.cells import day_first, moment, number
from streaming.files.formats import Options, load
from streaming.files.posts import author_hash
from streaming.files.tables import Cut

T = 1_700_000_040
BARS = ("36000,36010,35990,36005", "36005,36020,36000,36001")
ANN = author_hash("ann", "k")


def imported(path: Path, content: str | bytes, **asked: str) -> Report:
    """What ``moodtape import FILE --dry-run`` reports of a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    loaded = load(path, Options(Asked(**asked), Cut(undated=True), None, "k"))
    report, bulk = Report.of(loaded), Bulk(None, SystemClock(), dry_run=True)
    for candles in loaded.candles:
        bulk.candles(candles, report)
    for table in loaded.posts:
        bulk.posts(table, report)
    return report


INVESTING = 'Date,Price,Open,High,Low,Vol.,Change %\n"{}","44,943.7","44,183.4","45,885.4","44,166.0",{},1.72%\n'
CANDLES: dict[str, tuple[str | bytes, str, float]] = {
    "BTC_USD Bitfinex Historical Data.csv": ("\ufeff" + INVESTING.format("Jan 02, 2024", "97.84K"), "spot BTC/USD 1d", 97840),
    "BTC-USD_yf.csv": (
        "Price,Close,High,Low,Open,Volume\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD\nDate,,,,,\n"
        "2024-01-01,40000,41000,39000,39500,80000\n2024-01-02,50000,51000,39000,40000,50000\n", "spot BTC/USD 1d", 3),
    "coin_Bitcoin.csv": (
        "SNo,Name,Symbol,Date,High,Low,Open,Close,Volume,Marketcap\n1,Bitcoin,BTC,2013-04-29 23:59:59,147,134,135,144,288,1\n"
        "2,Bitcoin,BTC,2013-04-30 23:59:59,147,134,135,144,144,1\n", "spot BTC/USD 1d", 3),
    "BTC-USD_coinmarketcap.csv": (
        'timeOpen;timeClose;open;high;low;close;volume;marketCap;timestamp\n"2024-01-02T00:00:00.000Z";"2024-01-02T23:59:59.999Z"'
        ';40000;41000;39000;40000;80000;1;"2024-01-02T23:59:59.999Z"\n"2024-01-01T00:00:00.000Z";"2024-01-01T23:59:59.999Z";'
        '40000;41000;39000;40000;40000;1;"2024-01-01T23:59:59.999Z"\n', "spot BTC/USD 1d", 3),
    "BINANCE_ETHUSDT.P, 15.csv": (
        f"time,open,high,low,close,Volume\n2024-01-01T00:00:00Z,{BARS[0]},12.5\n2024-01-01T00:15:00Z,{BARS[1]},13.5\n",
        "swap ETH/USDT:USDT 15m", 26),
    "btcusd.csv": (
        f"time,open,close,high,low,volume\n{T}000,36000,36005,36010,35990,1.5\n{T + 60}000,36005,36001,36020,36000,2.5\n",
        "spot BTC/USD 1m", 4),
    "BTC-USD_coinbase_60.json": (
        json.dumps([[T + 60, 36000, 36020, 36005, 36001, 2.5], [T, 35990, 36010, 36000, 36005, 1.5]]), "spot BTC/USD 1m", 4),
    "tBTCUSD-1h.json": (
        json.dumps([[T * 1000, 36000, 36005, 36010, 35990, 1.5], [(T + 3600) * 1000, 36005, 36001, 36020, 36000, 2.5]]),
        "spot BTC/USD 1h", 4),
    "BTC_USDT-202401.csv.gz": (
        gzip.compress(f"{T},1.5,36005,36010,35990,36000\n{T + 60},2.5,36001,36020,36000,36005\n".encode()),
        "spot BTC/USDT 1m", 4),
    "kraken_answer_60.json": (
        json.dumps({"error": [], "result": {"XXBTZUSD": [[T, "3", "4", "2", "3", "3", "1.5", 3],
                                                         [T + 3600, "3", "4", "2", "3", "3", "2.5", 4]], "last": T}}),
        "spot BTC/USD 1h", 4),
    "bitstamp_answer.json": (
        json.dumps({"data": {"pair": "ETH/EUR", "ohlc": [
            {"timestamp": str(T + n), "open": "3", "high": "4", "low": "2", "close": "3", "volume": "2"} for n in (0, 60)]}}),
        "spot ETH/EUR 1m", 4),
    "BTC-USDT-SWAP-candles-2024-01.csv": (
        "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm\n"
        f"BTC-USDT-SWAP,{BARS[0]},120,1.2,43200,{T}000,1\nBTC-USDT-SWAP,{BARS[1]},130,1.3,46800,{T + 60}000,1\n",
        "swap BTC/USDT:USDT 1m", 2.5),
    "bitmex-1m.csv": (
        "timestamp,symbol,open,high,low,close,trades,volume,vwap,homeNotional,foreignNotional\n"
        f"2024-01-01T00:01:00.000Z,XBTUSD,{BARS[0]},5,1000,1,0.02,1000\n2024-01-01T00:02:00.000Z,XBTUSD,{BARS[1]},5,9,1,0.07,9\n",
        "swap BTC/USD:BTC 1m", 0.09),
    "BTCUSDT_excel.csv": (
        "date;open;high;low;close;volume\n01.02.2024 00:00;36000,5;36010,5;35990,5;36005,5;1,5\n"
        "02.02.2024 00:00;36005,5;36020,5;36000,5;36001,5;2,5\n", "spot BTC/USDT 1d", 4),
    "ETHUSDT_two_columns.csv": (
        f"date,time,open,high,low,close,volume\n2024.01.02,00:00:00,{BARS[0]},1\n2024.01.02,00:01:00,{BARS[1]},3\n",
        "spot ETH/USDT 1m", 4),
}  # fmt: skip


@pytest.mark.parametrize("name", CANDLES)
def test_further_candles(tmp_path: Path, name: str) -> None:
    """The right market, kind, timeframe and volume in the base currency; no row refused."""
    content, series, volume = CANDLES[name]
    asked = {"timeframe": "1d"} if "Historical" in name else {}
    found = imported(tmp_path / name, content, exchange="bitfinex" if name.startswith("t") else "import", **asked)
    assert [own.partition(" ")[2] for own in found.series] == [series]
    assert (found.volume, found.stored) == (pytest.approx(volume), found.rows)
    assert not found.refused


REFUSED = {
    "mt5.csv": ("<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n2024.01.02\t00:00\t1\t2\t1\t1\t9\n", "<tickvol>"),
    "gecko_btc_usd.csv": ("snapped_at,price,market_cap,total_volume\n2024-01-01 00:00:00 UTC,4,8e11,1e10\n", "also needs"),
    "BTCUSDT-404.csv": ("<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "fits no layout"),
    "BTCUSDT-mixed.csv": (f"{T},36000,35000,36500,36400,1\n{T + 60},36005,35000,36500,36400,1\n", "are not in the order"),
    "BTCUSDT-nine.csv": ("".join(f"{T + 60 * n}000,3,4,2,3,7,8,9,1\n" for n in range(3)), "are not in the order"),
    "BTCUSDT-packed.csv.gz": (gzip.compress(b"timestamp,open\n" * 99)[:30], "cannot be read"),
    "pairs_yf.csv": ("Price,Close,Close\nTicker,BTC-USD,ETH-USD\nDate,,\n2024-01-01,1,2\n", "2 markets side by side"),
    "BTC-USD.csv": (INVESTING.format("01/02/2024", "1K"), "do not tell how long"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_further_candles_that_are_refused(tmp_path: Path, name: str) -> None:
    """What cannot be read for certain is refused, with what was seen or what to pass."""
    content, told = REFUSED[name]
    with pytest.raises(InputError, match=told):
        imported(tmp_path / name, content)


def test_an_american_table_is_read_by_its_neighbours(tmp_path: Path) -> None:
    """01/02 and 01/03: two days of January rather than the first of two months; thousands with commas."""
    rows = INVESTING.format("01/03/2024", "40.38K") + INVESTING.format("01/02/2024", "97.84K").partition("\n")[2]
    found = imported(tmp_path / "BTC-USD.csv", rows)
    assert (found.series, found.stored, found.first) == (["import spot BTC/USD 1d"], 2, 1_704_153_600)


P = 1_609_502_400
"""2021-01-01 12:00 UTC."""
ISO = "2021-01-01T12:00:00.000Z"
TWITTER = "Fri Jan 01 12:00:00 +0000 2021"


def lines(*rows: Any) -> str:
    return "\n".join(map(json.dumps, rows))


ARCHIVE = [
    {"tweet": {"id_str": "1", "created_at": TWITTER, "full_text": "BTC up", "favorite_count": "12", "lang": "en"}}
]
TELEGRAM = {"id": 1, "type": "message", "date_unixtime": str(P), "from": "A", "from_id": "ann", "text": "BTC up"}
POSTS: dict[str, tuple[str, int | None, str | None]] = {
    "apify.json": (json.dumps([{"text": "BTC…", "fullText": "BTC up", "createdAt": TWITTER, "likeCount": 12, "retweetCount": 3,
                                "author": {"userName": "ann", "followers": 3}}]), 12, ANN),
    "apify.csv": (f"author/userName,createdAt,fullText,likeCount,retweetCount\nann,{TWITTER},BTC up,12,3\n", 12, ANN),
    "twarc.csv": ("id,created_at,text,author_id,public_metrics.like_count,author.username\n"
                  f"1,{ISO},BTC up,7,12,ann\n", 12, ANN),
    "snscrape-pandas.csv": ("_type,date,rawContent,user,likeCount,lang\nsnscrape.Tweet,2021-01-01 12:00:00+00:00,"
                            "BTC up,\"{'id': 7, 'username': 'ann', 'followersCount': 3}\",12,en\n", 12, ANN),
    "snscrape-repr.csv": ("_type,date,rawContent,user,likeCount\nT,2021-01-01 12:00:00+00:00,BTC up,"
                          "\"User(username='ann', id=7)\",12\n", 12, ANN),
    "datetime.csv": (",Datetime,Tweet Id,Text,Username\n0,2021-01-01 12:00:00+00:00,1,BTC up,ann\n", None, ANN),
    "tweets.js": ("window.YTD.tweets.part0 = " + json.dumps(ARCHIVE), 12, None),
    "v11.jsonl": (lines({"id_str": "2", "created_at": TWITTER, "text": "B…", "extended_tweet": {"full_text": "BTC up"},
                         "favorite_count": 12, "retweet_count": 0, "user": {"screen_name": "ann"}},
                        {"delete": {"status": {"id": 1}}}), 12, ANN),
    "telegram-all.json": (json.dumps({"about": "x", "chats": {"list": [{"name": "g", "messages": [TELEGRAM]}]}}), None, ANN),
    "telethon.jsonl": (lines({"_": "Message", "peer_id": {"channel_id": 1}, "date": ISO, "message": "BTC up",
                              "from_id": {"_": "PeerUser", "user_id": "ann"}}), None, ANN),
    "mastodon.json": (json.dumps([{"created_at": ISO, "content": "<p>BTC <b>up</b></p>", "account": {"acct": "ann"},
                                   "favourites_count": 12, "reblogs_count": 3}]), 12, ANN),
    "bluesky.jsonl": (lines({"did": "ann", "time_us": P * 10**6, "kind": "commit", "commit": {"record": {
        "text": "BTC up", "createdAt": ISO, "langs": ["en"]}}}), None, ANN),
    "reddit_wsb.csv": ("title,score,id,url,comms_num,created,body,timestamp\nBTC up,12,a,u,6,1609502400.0,,2021-01-01 14:00\n",
                       12, None),
    "reddit-comments.csv": ('"type","subreddit.name","created_utc","body","score"\n"comment","x",1609502400,"BTC up",12\n',
                            12, None),
    "youtube.csv": (f"comment_id,author,text,likes,published_at\n1,ann,BTC up,12,{ISO}\n", 12, ANN),
    "american.csv": ("user,date,text\nann,1/1/2021 12:00 PM,BTC up\n", None, ANN),
}  # fmt: skip


@pytest.mark.parametrize("name", POSTS)
def test_further_posts(tmp_path: Path, name: str) -> None:
    """Whole words without tags, UTC, likes, one hash for one author however the table writes the user."""
    content, likes, author = POSTS[name]
    (tmp_path / name).write_text(content)
    (table,) = load(tmp_path / name, Options(author_key="k")).posts
    told = [table.columns.get(column, [None])[0] for column in ("likes", "author_hash")]
    assert (table.text, table.at.tolist(), told) == (["BTC up"], [P], [likes, author])
    report = imported(tmp_path / name, content)
    assert (report.stored, report.refused, report.stored + sum(report.left_out.values())) == (1, {}, report.rows)


def test_an_author_keeps_one_hash_while_the_rest_of_the_user_changes(tmp_path: Path) -> None:
    """Two rows of one author in a table of pandas, with other followers and another name on the page."""
    rows = "".join(
        f"T,2021-01-01 1{n}:00:00+00:00,BTC,\"{{'username': 'ann', 'displayname': 'Ann {n}', 'followersCount': {n}}}\",1\n"
        for n in (0, 1)
    )
    (tmp_path / "x.csv").write_text("_type,date,rawContent,user,likeCount\n" + rows)
    (table,) = load(tmp_path / "x.csv", Options(author_key="k")).posts
    assert table.columns["author_hash"] == [ANN, ANN]


@pytest.mark.parametrize(
    ("text", "value"),
    [("44,943.7", 44943.7), ("1,234,567", 1_234_567), ("36000,5", 36000.5), ("0,00012", 0.00012), ("97.84K", 97840),
     ("-1.5", -1.5), ("1e3", 1000)],
)  # fmt: skip
def test_numbers_of_all_forms(text: str, value: float) -> None:
    """Commas between thousands or before decimals, and letters for thousands."""
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["36,005", "-", "", "K", "1.2.3", "12 apples", "NaN"])
def test_what_may_be_two_numbers_is_none(text: str) -> None:
    """``36,005`` is thirty-six, or thirty-six thousand: nobody guesses."""
    assert number(text) != number(text)


def test_days_and_months_are_told_apart() -> None:
    """By a number above 12, else by what lies closer together; else not at all."""
    assert day_first(["13/01/2021", "01/02/2021"]) is True
    assert day_first(["01/13/2021"]) is False
    assert day_first(["01/02/2021", "01/03/2021"]) is False
    assert day_first(["01/02/2021"]) is None
    assert moment("01/02/2021") != moment("01/02/2021")
    assert moment("01/01/2021 12:00") == moment("01.01.2021 12:00:00") == moment("1/1/2021, 12:00 PM") == P
