"""Posts' files as people have them: each layout by its words, times, authors and counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InputError
from streaming.files.cells import moment, whole
from streaming.files.formats import Loaded, Options, load
from streaming.files.posts import author_hash

T = 1_609_502_400
"""2021-01-01 12:00 UTC."""
TWINT = "id,conversation_id,created_at,date,time,timezone,user_id,username,name,place,tweet,language,likes_count\n"


def read(path: Path) -> Loaded:
    return load(path, Options(author_key="k"))


def rows_of(found: Loaded) -> list[tuple[str, int, int | None, str | None]]:
    """Words, time, likes and author of each post."""
    (table,) = found.posts
    likes, authors = (table.columns.get(name, [None] * len(table.at)) for name in ("likes", "author_hash"))
    return list(zip(table.text, table.at.astype(int).tolist(), likes, authors, strict=True))


CSV = {
    "twint-pandas": (
        "id,created_at,date,timezone,place,tweet,language,user_id,user_id_str,username,nlikes,nreplies,nretweets\n"
        '1,1609502400000.0,2021-01-01 12:00:00,+0000,,"one\ntwo",en,1,1,ann,12,3,4\n', "twint", "one\ntwo", 12),
    "twint-utc": (TWINT + "1,9,1609502400000,2021-01-01,12:00:00,UTC,1,ann,Ann,,one,en,12\n", "twint", "one", 12),
    "twint-offset": (TWINT + "1,9,x,2021-01-01,14:00:00,+0200,1,ann,Ann,,one,en,12\n", "twint", "one", 12),
    "twint-name": (TWINT + "1,9,x,2021-01-01,13:00:00,CET,1,ann,Ann,,one,en,12\n", "twint", "one", 12),
    "kaggle": ("user_name,user_location,user_followers,date,text,hashtags,source,is_retweet\n"
               "ann,Here,9.0,2021-01-01 12:00:00,one,['btc'],Twitter for Android,False\n", "twitter", "one", None),
    "semicolons": ("id;user;fullname;url;timestamp;replies;likes;retweets;text\n"
                   '1;ann;Ann;x;2021-01-01 12:00:00+00;0;12;3;"one, two"\n', "twitter", "one, two", 12),
    "scraper": ("Tweet,UserScreenName,UserName,Timestamp,text,Emojis,Comments,Likes,Retweets,Image link,Tweet URL\n"
                '0,Ann,@ann,2021-01-01T12:00:00.000Z,one,,12,1.2K,"1,204",[],x\n', "twitter", "one", 1200),
    "stocktwits": ("message,datetime,user,symbol,likes\none,2021-01-01T12:00:00Z,ann,BTC.X,12\n", "stocktwits", "one", 12),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV)
def test_a_table_of_posts(tmp_path: Path, name: str) -> None:
    """Words as they stand, UTC, one author, counts read where they can be; the app that wrote a post is no source."""
    content, source, words, likes = CSV[name]
    (tmp_path / "posts.csv").write_text(content)
    found = read(tmp_path / "posts.csv")
    assert rows_of(found) == [(words, T, likes, author_hash("ann", "k"))]
    assert found.posts[0].source == source


def tweet(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "date": "2021-01-01T12:00:00+00:00", "likeCount": 3, "retweetCount": 2, "lang": "en"} | more


JSON: dict[str, tuple[Any, list[str]]] = {
    "snscrape": ([tweet(1, rawContent="one", user={"username": "ann", "followersCount": 1}),
                  tweet(2, content="two", user={"username": "Ann", "followersCount": 2})], ["one", "two"]),
    "v1.1": ([{"id_str": "1", "created_at": "Fri Jan 01 12:00:00 +0000 2021", "full_text": "one", "favorite_count": 3,
               "user": {"screen_name": "ann", "name": "A"}}], ["one"]),
    "v2 flat": ([{"id": "1", "created_at": "2021-01-01T12:00:00.000Z", "text": "on…", "note_tweet": {"text": "one"},
                  "author_id": "ann", "public_metrics": {"like_count": 3}}], ["one"]),
    "v2 page": ({"data": [{"id": "1", "created_at": "2021-01-01T12:00:00.000Z", "text": "one", "author_id": "7",
                           "public_metrics": {"like_count": 3}}], "includes": {"users": [{"id": "7", "username": "ann"}]}},
                ["one"]),
    "stocktwits": ({"messages": [{"id": 1, "body": "one", "created_at": "2021-01-01T12:00:00Z", "likes": {"total": 3},
                                  "user": {"id": 4, "username": "ann"}, "symbols": [{"symbol": "BTC.X"}, {"symbol": "TSLA"}]}]},
                   ["one"]),
    "reddit": ([{"author": "ann", "body": "one", "created_utc": T, "score": 3, "subreddit": "x"},
                {"author": "ann", "title": "two", "selftext": "three", "created_utc": str(T), "score": 3, "subreddit": "x"}],
               ["one", "two\nthree"]),
    "telegram": ({"name": "x", "messages": [
        {"id": 1, "type": "message", "date": "2021-01-01T12:00:00", "date_unixtime": str(T), "from": "A", "from_id": "ann",
         "text": ["Big day for ", {"type": "hashtag", "text": "#bitcoin"}, "!"]}]}, ["Big day for #bitcoin!"]),
}  # fmt: skip


@pytest.mark.parametrize("name", JSON)
def test_json_of_posts(tmp_path: Path, name: str) -> None:
    """As one document, and as lines in a packed file: the same posts of the same author."""
    body, words = JSON[name]
    (tmp_path / "x.json").write_text(json.dumps(body))
    lines = body if isinstance(body, list) else [body]
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    for file in ("x.json", "x.jsonl.gz"):
        found = rows_of(read(tmp_path / file))
        likes = None if name == "telegram" else 3
        assert found == [(own, T, likes, author_hash("ann", "k")) for own in words]


def test_what_was_removed_is_counted(tmp_path: Path) -> None:
    """Posts that their authors removed, and service messages, are left out by reason."""
    path = tmp_path / "x.ndjson"
    gone = {"author": "[deleted]", "body": "[removed]", "created_utc": T, "subreddit": "x"}
    path.write_text("\n".join(map(json.dumps, [gone, {**gone, "author": "ann", "body": "one"}])))
    found = read(path)
    assert (len(found.posts[0].at), found.left_out) == (1, {"removed by its author": 1})
    service = {"id": 1, "type": "service", "date_unixtime": str(T), "action": "create_channel"}
    words = {"id": 2, "type": "message", "date_unixtime": str(T), "from_id": "ann", "text": "one"}
    path.write_text("\n".join(map(json.dumps, [service, words])))
    found = read(path)
    assert (found.posts[0].text, found.left_out) == (["one"], {"service message": 1})


def test_a_row_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """Half a tweet is no tweet."""
    path = tmp_path / "x.csv"
    path.write_text(
        TWINT + '1,9,x,2021-01-01,12:00:00,UTC,1,ann,Ann,,whole,en,12\n2,9,x,2021-01-01,12:00:00,UTC,1,ann,Ann,,"half'
    )
    found = read(path)
    assert (found.posts[0].text, found.refused) == (["whole"], {"the row is cut off": 1})


def test_a_mark_at_the_begin_costs_no_line(tmp_path: Path) -> None:
    """The byte order mark before the first JSON line."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"text": "one", "timestamp": T}).encode())
    assert read(path).posts[0].text == ["one"]


def test_local_times_without_a_zone_are_asked_for(tmp_path: Path) -> None:
    """Twint without zone and without an exact time."""
    (tmp_path / "x.csv").write_text(TWINT + "1,9,x,2021-01-01,12:00:00,,1,ann,Ann,,one,en,12\n")
    with pytest.raises(InputError, match="--timezone"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "text",
    [
        T, str(T), f"{T}.0", f"{T}000", f"{T}000000", "2021-01-01T12:00:00Z", "2021-01-01 14:00:00+02:00",
        "2021-01-01 07:00:00 EST",
        "Fri, 01 Jan 2021 12:00:00 +0000", "Fri Jan 01 12:00:00 +0000 2021", "2021-01-01 08:00:00 EDT", "2021-01-01 12-PM",
    ],
)  # fmt: skip
def test_times_of_all_forms(text: object) -> None:
    """Seconds, ms, µs, ISO, zones by name, RFC 2822, Twitter's own."""
    assert moment(text) == T


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12", 12),
        ("12.0", 12),
        ("", None),
        (None, None),
        ("1.2K", 1200),
        ("1,204", 1204),
        ("3M", 3_000_000),
        ("many", None),
    ],
)
def test_counts_of_all_forms(text: str | None, count: int | None) -> None:
    """What cannot be read is unknown, never a fault."""
    assert whole(text) == count
