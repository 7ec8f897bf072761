"""X's search: read back to the cursor however many pages that are, and sent oldest first."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from domain.clock import ManualClock
from domain.errors import Unavailable
from streaming.posts.x import X
from tests.streaming.test_post_sources import NOW, take


class Tweets:
    """What tweepy's client does: the newest first, a hundred a page; ``busy`` pages later X refuses once."""

    def __init__(self, *numbers: int, busy: int = -1) -> None:
        self.numbers = sorted(numbers, reverse=True)
        self.busy = busy
        self.asked: list[dict[str, Any]] = []

    def search_recent_tweets(self, query: str, **named: Any) -> SimpleNamespace:
        self.asked.append(named)
        self.busy -= 1
        if self.busy == -1:
            raise sys.modules["tweepy"].TooManyRequests
        begin = int(named["next_token"] or 0)
        found = [n for n in self.numbers if n > (named["since_id"] or 0)]
        data = [
            SimpleNamespace(id=n, text=f"btc {n}", created_at=NOW, author_id=5, public_metrics={"like_count": n})
            for n in found[begin : begin + 100]
        ]
        meta = {"next_token": str(begin + 100)} if len(found) > begin + 100 else {}
        return SimpleNamespace(data=data or None, meta=meta)


@pytest.fixture
def tweepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with the errors of tweepy, which is not part of the tests' environment."""
    made = ModuleType("tweepy")
    base = type("TweepyException", (Exception,), {})
    vars(made)["TweepyException"] = base
    for name in ("Unauthorized", "Forbidden", "BadRequest", "TooManyRequests"):
        vars(made)[name] = type(name, (base,), {})
    monkeypatch.setitem(sys.modules, "tweepy", made)


@pytest.mark.usefixtures("tweepy")
async def test_x_is_searched_from_the_newest_stored_post() -> None:
    """Results come newest first and are sent oldest first; the search goes on from the cursor."""
    client = Tweets(11, 12)
    found = await take(X(client, "btc", "k"), 10, 2)
    assert [(m.id, m.likes) for m in found] == [("x:11", 11), ("x:12", 12)]
    assert client.asked[0]["since_id"] == 10


@pytest.mark.usefixtures("tweepy")
async def test_x_is_read_page_by_page_back_to_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 new posts are three pages and all sent; a start reads one page; of too many the newest are sent."""
    client = Tweets(*range(1001, 1251))
    assert [m.upto for m in await take(X(client, "btc", "k"), 1000, 250)] == list(range(1001, 1251))
    assert len(client.asked) == 3
    assert [m.upto for m in await take(X(client, "btc", "k"), 0, 100)] == list(range(1151, 1251))
    monkeypatch.setattr("streaming.posts.x.MOST_PAGES", 2)
    assert [m.upto for m in await take(X(client, "btc", "k"), 1000, 200)] == list(range(1051, 1251))


@pytest.mark.usefixtures("tweepy")
async def test_a_search_that_x_interrupts_goes_on_behind_its_pages() -> None:
    """What was read before the refusal is not asked for again, and not lost."""
    client = Tweets(*range(1001, 1251), busy=2)
    source = X(client, "btc", "k")
    with pytest.raises(Unavailable, match="TooManyRequests"):
        await take(source, 1000, 250)
    assert [m.upto for m in await take(source, 1000, 250)] == list(range(1001, 1251))
    assert [named["next_token"] for named in client.asked] == [None, "100", "200", "200"]


@pytest.mark.usefixtures("tweepy")
async def test_a_cursor_older_than_a_week_is_dropped_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """X answers 400 to it for ever; the search goes back as far as X does, and the gap is named once."""
    now = int(NOW.timestamp() * 1000) - 1_288_834_974_657
    old, recent = ((now - days * 86_400_000) << 22 for days in (8, 6))
    client = Tweets(recent + 1)
    found = await take(X(client, "btc", "k", clock=ManualClock(NOW)), old, 1)
    assert [(m.after, m.upto) for m in found] == [(old, recent + 1)]
    assert client.asked[0]["since_id"] is None
    assert capsys.readouterr().out.count("older posts are missing") == 1
    await take(X(client, "btc", "k", clock=ManualClock(NOW)), recent, 1)
    assert client.asked[-1]["since_id"] == recent


@pytest.mark.usefixtures("tweepy")
def test_long_posts_are_whole() -> None:
    """X cuts ``text``; the whole words stand in ``note_tweet``, which is asked for."""
    client = Tweets()
    source = X(client, "btc", "k")
    source._page(0)
    assert "note_tweet" in client.asked[0]["tweet_fields"]
    raw = {"note_tweet": {"text": "the whole of it"}}
    tweet = SimpleNamespace(id=1, text="the wh…", created_at=NOW, author_id=5, public_metrics=None, data=raw)
    assert source._message(tweet, 0).text == "the whole of it"
