"""Layouts of files as data: which columns a layout needs, what they mean, and which layout a file fits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from domain.errors import InputError

TIMES = (
    "unix",
    "unix timestamp",
    "timestamp",
    "open_time",
    "open time",
    "t",
    "t_utc",
    "t_utc_est",
    "time",
    "date",
    "datetime",
)
"""Names of the column with a candle's opening time, the surest first."""  # fmt: skip

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CandleLayout:
    """Candles. Column names are lower case; ``{base}`` in ``volume`` stands for the market's base coin.

    ``marks``: columns that a file of this layout has and another lacks. ``headless``: its columns where it has no header
    line. ``idle``: rows without any value are minutes without a trade, not faults. ``unit``: what the volume counts:
    ``base``, ``quote`` (turned into the base currency by the close) or ``contracts``.
    """

    name: str
    marks: Names = ()
    time: Names = TIMES
    volume: Names = ("volume",)
    headless: Names = ()
    idle: bool = False
    unit: str = "base"
    market: str = ""

    kind = "candles"

    def missing(self, columns: Collection[str]) -> list[str]:
        """What a file with these columns lacks to be of this layout, in words for people."""
        lacks = [f"“{mark}”" for mark in self.marks if not _there(mark, columns)]
        if not any(name in columns for name in self.time):
            lacks.append("a time (“time”, “date” or “unix”)")
        lacks += [f"“{name}”" for name in ("open", "high", "low", "close") if name not in columns]
        if not any(_there(name, columns) for name in self.volume):
            lacks.append("“volume”")
        return lacks


@dataclass(frozen=True, slots=True)
class PostLayout:
    """Posts. Fields are lower-case names, or paths into JSON objects such as ``user.username``; the first that is there counts.

    ``marks``: alternatives, one column of each must be there. ``text``: fields of words; ``joined``: all of them make the
    text. ``source``: what the posts' source is called; without one the column ``source``, else the file's name.
    ``drop``: field, its value in lower case, and why such a row is left out.
    """

    name: str
    marks: tuple[Names, ...]
    text: Names
    time: Names
    author: Names = ()
    likes: Names = ()
    retweets: Names = ()
    replies: Names = ()
    symbols: Names = ()
    source: str = ""
    joined: Names = ()
    local: bool = False
    drop: tuple[tuple[str, str, str], ...] = field(default=())

    kind = "posts"

    def missing(self, columns: Collection[str]) -> list[str]:
        """What a file with these columns lacks to be of this layout, in words for people."""
        groups = (*self.marks, self.text + self.joined, self.time)
        tops = [tuple(dict.fromkeys(name.split(".")[0] for name in group)) for group in groups]
        return [" or ".join(f"“{name}”" for name in names[:4]) for names in tops if not set(names) & set(columns)]


Layout = CandleLayout | PostLayout

_KLINE = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count")
CANDLES: tuple[CandleLayout, ...] = (
    CandleLayout(
        "CryptoDataDownload",
        ("symbol", "volume {any}"),
        ("unix", "unix timestamp", "date"),
        ("volume {base}", "volume_{base}", "volume {any}"),
    ),
    CandleLayout("CryptoDataDownload, one volume", ("symbol", "unix timestamp", "date"), ("unix timestamp", "date")),
    CandleLayout(
        "Binance archive",
        ("open_time", "close_time"),
        ("open_time",),
        headless=(*_KLINE, "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    ),
    CandleLayout(
        "Kraken OHLCVT", ("trades",), ("time",), headless=("time", "open", "high", "low", "close", "volume", "trades")
    ),
    CandleLayout(
        "Kraken OHLC with vwap",
        ("vwap",),
        ("time",),
        headless=("time", "open", "high", "low", "close", "vwap", "volume", "trades"),
    ),
    CandleLayout(
        "Bitstamp minutes (Kaggle)", ("volume_{any}", "weighted_price"), ("timestamp",), ("volume_{base}",), idle=True
    ),
    CandleLayout(
        "Bitstamp minutes (Kaggle), lower case", ("volume_{any}",), ("timestamp",), ("volume_{base}",), idle=True
    ),
    CandleLayout("Yahoo Finance", ("adj close",), ("date", "datetime"), idle=True, unit="quote"),
    CandleLayout("freqtrade", ("date",), ("date",), headless=("date", "open", "high", "low", "close", "volume")),
    CandleLayout("OHLCV"),
)
"""Layouts of candles; of several that fit, the one with most marks is taken, then the first."""

_REMOVED = "removed by its author"
_LIKES = ("likecount", "favorite_count", "public_metrics.like_count", "like_count")
_RETWEETS = ("retweetcount", "retweet_count", "public_metrics.retweet_count")
_REPLIES = ("replycount", "reply_count", "public_metrics.reply_count")
POSTS: tuple[PostLayout, ...] = (
    PostLayout(
        "Twint",
        (("tweet",), ("time",), ("timezone", "conversation_id", "username")),
        ("tweet",),
        ("date",),
        ("username", "user_id"),
        ("likes_count",),
        ("retweets_count",),
        ("replies_count",),
        source="twint",
        local=True,
    ),
    PostLayout(
        "Twint (pandas)",
        (("nlikes", "nretweets", "user_id_str"), ("tweet",)),
        ("tweet",),
        ("date", "created_at"),
        ("username", "user_id"),
        ("nlikes",),
        ("nretweets",),
        ("nreplies",),
        source="twint",
        local=True,
    ),
    PostLayout(
        "snscrape",
        (("rawcontent", "content"), ("user", "username"), ("likecount", "retweetcount", "_type")),
        ("rawcontent", "content"),
        ("date",),
        ("user.username", "user", "username"),
        _LIKES,
        _RETWEETS,
        _REPLIES,
        source="twitter",
    ),
    PostLayout(
        "Twitter API v1.1",
        (("id_str", "favorite_count", "retweet_count"), ("user",), ("created_at",)),
        ("extended_tweet.full_text", "full_text", "text"),
        ("created_at", "timestamp_ms"),
        ("user.screen_name", "user.id_str"),
        _LIKES,
        _RETWEETS,
        _REPLIES,
        source="twitter",
    ),
    PostLayout(
        "Twitter API v2",
        (("author_id", "public_metrics", "edit_history_tweet_ids"), ("created_at",), ("id",)),
        ("note_tweet.text", "text"),
        ("created_at",),
        ("author.username", "username", "author_id"),
        _LIKES,
        _RETWEETS,
        _REPLIES,
        source="twitter",
    ),
    PostLayout(
        "StockTwits",
        (("body", "message"), ("created_at", "datetime"), ("symbols", "symbol", "sentiment", "entities")),
        ("body", "message"),
        ("created_at", "datetime"),
        ("user.username", "username", "user"),
        ("likes.total", "likes", "total_likes"),
        symbols=("symbols", "symbol"),
        source="stocktwits",
    ),
    PostLayout(
        "Reddit",
        (("created_utc",), ("author", "subreddit")),
        ("body",),
        ("created_utc",),
        ("author",),
        ("score", "ups"),
        replies=("num_comments",),
        source="reddit",
        joined=("title", "selftext"),
        drop=tuple((name, f"[{what}]", _REMOVED) for name in ("body", "selftext") for what in ("removed", "deleted")),
    ),
    PostLayout(
        "Telegram export",
        (("date_unixtime", "from_id"), ("type",)),
        ("text",),
        ("date_unixtime", "date"),
        ("from_id", "actor_id", "from"),
        source="telegram",
        drop=(("type", "service", "service message"), ("text", "", "no words")),
    ),
    PostLayout(
        "Kaggle tweets",
        (("user_name",), ("user_followers", "is_retweet", "user_verified")),
        ("text",),
        ("date",),
        ("user_name",),
        source="twitter",
    ),
    PostLayout(
        "Kaggle tweets, semicolons",
        (("fullname",), ("user",), ("url", "id")),
        ("text",),
        ("timestamp",),
        ("user",),
        ("likes",),
        ("retweets",),
        ("replies",),
        source="twitter",
    ),
    PostLayout(
        "tweet scraper",
        (("userscreenname", "tweet url"), ("timestamp",)),
        ("text", "embedded_text"),
        ("timestamp",),
        ("username", "userscreenname"),
        ("likes",),
        ("retweets",),
        ("comments", "replies"),
        source="twitter",
    ),
    PostLayout(
        "posts",
        (),
        ("text", "content", "body", "tweet"),
        ("t", "t_utc", "t_utc_est", "timestamp", "created_at", "unix", "time", "date"),
        ("author", "username", "user.username", "user.screen_name", "user"),
        ("likes", "likes_count", "favorite_count"),
        ("retweets", "retweets_count", "retweet_count"),
        ("replies", "replies_count", "reply_count"),
        symbols=("symbols",),
    ),
)
"""Layouts of posts, chosen among as those of candles."""


def _there(pattern: str, columns: Collection[str]) -> bool:
    """Whether a column, or one that begins like a pattern with ``{…}``, is there."""
    stem, brace, _ = pattern.partition("{")
    return any(name.startswith(stem) for name in columns) if brace else pattern in columns


@dataclass(frozen=True, slots=True)
class Match:
    """The layout of a file, and the columns that told it."""

    layout: Layout
    why: str


def match(columns: Iterable[str], file: str) -> Match:
    """The layout that a file with these lower-case columns fits.

    Raises:
        InputError: none; it names the columns, the nearest layout, and what to pass.
    """
    names = list(dict.fromkeys(columns))
    layouts: list[Layout] = [*CANDLES, *POSTS]
    lacks = [(layout.missing(names), layout) for layout in layouts]
    fitting = [layout for missing, layout in lacks if not missing]
    if fitting:
        best = max(fitting, key=lambda layout: len(layout.marks))
        groups = [(mark,) if isinstance(mark, str) else mark for mark in best.marks]
        marks = [next(n for n in names if any(_there(mark, [n]) for mark in group)) for group in groups]
        return Match(best, f"by its columns {', '.join(marks)}" if marks else "by its plain column names")
    missing, nearest = min(lacks, key=lambda pair: (len(pair[0]), -len(pair[1].marks)))
    seen = ", ".join(f"“{name[:30]}”" for name in names[:15]) or "none"
    known = ", ".join(layout.name for layout in layouts)
    raise InputError(
        f"{file} fits no layout: its columns are {seen}; the nearest layout, {nearest.name}, also needs "
        f"{', '.join(missing)}. Known layouts: {known}. Name the columns like one of these, as plain OHLCV does: "
        "time, open, high, low, close, volume (with --symbol and --timeframe)."
    )
