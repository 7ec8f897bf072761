"""Layouts of files of posts as data: which columns each needs, and what they mean."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PostLayout:
    """Posts. Fields are lower-case names, or paths into JSON objects such as ``user.username``; the first that is there counts.

    ``marks``: alternatives, one column of each must be there. ``text``: fields of words; ``joined``: all of them make the
    text. ``html``: the words hold tags. ``source``: what the posts' source is called; without one the column ``source``,
    else the file's name. ``local``: times are those of a place. ``drop``: field, its value in lower case, and why such a
    row is left out.
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
    html: bool = False
    drop: tuple[tuple[str, str, str], ...] = field(default=())

    kind = "posts"

    def missing(self, columns: Collection[str]) -> list[str]:
        """What a file with these columns lacks to be of this layout, in words for people."""
        groups = (*self.marks, self.text + self.joined, self.time)
        tops = [tuple(dict.fromkeys(name.split(".")[0] for name in group)) for group in groups]
        seen = {*columns, *(name.split(".")[0] for name in columns)}
        return [" or ".join(f"“{name}”" for name in names[:4]) for names in tops if not set(names) & seen]


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
        (("created_utc",), ("author", "subreddit", "subreddit.name")),
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
        "Reddit (Kaggle)",
        (("comms_num",), ("title",)),
        (),
        ("created", "timestamp"),
        likes=("score",),
        replies=("comms_num",),
        source="reddit",
        joined=("title", "body"),
    ),
    PostLayout(
        "Telethon",
        (("peer_id",), ("message",)),
        ("message",),
        ("date",),
        ("from_id", "peer_id"),
        source="telegram",
        drop=(("_", "messageservice", "service message"), ("message", "", "no words")),
    ),
    PostLayout(
        "Mastodon API",
        (("account",), ("reblogs_count", "favourites_count")),
        ("content",),
        ("created_at",),
        ("account.acct", "account"),
        ("favourites_count",),
        ("reblogs_count",),
        ("replies_count",),
        source="mastodon",
        html=True,
        drop=(("content", "", "no words"),),
    ),
    PostLayout(
        "Bluesky stream",
        (("did",), ("commit",)),
        ("commit.record.text",),
        ("commit.record.createdAt", "time_us"),
        ("did",),
        source="bluesky",
    ),
    PostLayout(
        "tweet export (Apify)",
        (("createdat",), ("likecount", "retweetcount"), ("fulltext", "text")),
        ("fulltext", "text"),
        ("createdat",),
        ("author.username", "author.userName", "username", "author"),
        _LIKES,
        _RETWEETS,
        _REPLIES,
        source="twitter",
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
        ("text", "content", "body", "tweet", "full_text", "fulltext"),
        (
            "t",
            "t_utc",
            "t_utc_est",
            "timestamp",
            "created_at",
            "unix",
            "time",
            "date",
            "datetime",
            "published_at",
            "createdat",
        ),
        ("author", "username", "user.username", "user.screen_name", "user"),
        ("likes", "likes_count", "favorite_count"),
        ("retweets", "retweets_count", "retweet_count"),
        ("replies", "replies_count", "reply_count"),
        symbols=("symbols",),
    ),
)
"""Layouts of posts, chosen among as those of candles."""
