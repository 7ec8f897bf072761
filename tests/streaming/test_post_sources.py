"""Post sources: read from a cursor, in order, with what they give out accepted by the sink."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import feedparser
import pytest
from prometheus_client import REGISTRY

import streaming.posts
from db.engine import make_engine
from domain.clock import ManualClock
from domain.errors import InputError, Unavailable
from streaming.live import live_sources, post_source
from streaming.messages import PostMessage
from streaming.posts import mastodon, scraping, telegram
from streaming.posts.bluesky import Bluesky
from streaming.posts.rss import Rss
from streaming.posts.scraping import Scraped, scraper_module
from streaming.settings import StreamingSettings
from streaming.validate import to_post
from tests.fakes.post_servers import channel, jetstream, rss
from tests.fakes.post_servers import mastodon as mastodon_server
from tests.streaming.test_replay import Waits

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
US = int(NOW.timestamp() * 1e6)
CLOCK = ManualClock(NOW)


async def take(source: Any, cursor: int, count: int) -> list[PostMessage]:
    """The first ``count`` posts after the cursor; they join and the sink would store them."""
    (stream,) = source.streams()
    out: list[PostMessage] = []
    stream = source.read({stream: cursor}, Waits(CLOCK))
    try:
        while len(out) < count:
            out += await asyncio.wait_for(anext(stream), 10)
    finally:
        await stream.aclose()
    at = cursor
    for message in out:
        assert message.after == at
        at = message.upto
        assert to_post(message, NOW.timestamp() + 60, lambda text: "en").id == message.id
    return out


async def test_bluesky_gives_posts_that_name_a_market() -> None:
    """Other posts, deletions and unknown events are left out; the cursor is what the next reading begins after."""
    async with jetstream() as server:
        server.post(US + 1, "I love bitcoin")
        server.post(US + 2, "nice weather")
        server.post(US + 3, "gone", operation="delete")
        server.events.append({"did": "x", "time_us": US + 4, "kind": "identity"})
        server.post(US + 5, "$ETH up", did="did:plc:b")
        source = Bluesky(CLOCK, "key", server.url)
        first = await take(source, US, 2)
        again = await take(source, first[0].upto, 1)
    assert [m.text for m in first] == ["I love bitcoin", "$ETH up"]
    assert again == first[1:]
    assert server.cursors == [US + 1, US + 2]
    assert first[0].author_hash != first[1].author_hash
    assert "did:plc" not in str(first)
    assert first[0].id != first[1].id


async def test_an_event_of_more_than_a_mebibyte_does_not_stop_bluesky() -> None:
    """It is read, cut, and left to the sink to refuse; what comes after it is read as well."""
    async with jetstream() as server:
        server.post(US + 1, "bitcoin " * 150_000)
        server.post(US + 2, "more bitcoin")
        stream = Bluesky(CLOCK, "key", server.url).read({"bluesky": US}, Waits(CLOCK))
        long, short = [(await asyncio.wait_for(anext(stream), 10))[0] for _ in range(2)]
        await stream.aclose()
    assert isinstance(long, PostMessage)
    assert isinstance(short, PostMessage)
    assert (len(long.text), short.text) == (100_000, "more bitcoin")
    assert (long.upto, short.after) == (US + 1, US + 1)


async def test_a_jetstream_that_breaks_or_falls_silent_is_unavailable() -> None:
    """Both end the reading in a way that the feed waits for and repeats from its cursor."""
    async with jetstream() as server:
        with pytest.raises(Unavailable, match="silent"):
            await take(Bluesky(CLOCK, "key", server.url, silence=0.05), US, 1)
        server.hang_up_after = 1
        server.post(US + 1, "nothing of interest")
        with pytest.raises(Unavailable, match="does not answer"):
            await take(Bluesky(CLOCK, "key", server.url), US, 1)
    with pytest.raises(Unavailable):
        await take(Bluesky(CLOCK, "key", server.url), US, 1)


async def test_rss_gives_entries_once_oldest_first() -> None:
    """A second look brings only what is new, also when it is dated before the newest one."""
    async with rss() as server:
        server.items = [
            ("b", "Ether &amp; more", "Sun, 01 Mar 2026 11:00:00 GMT"),
            ("a", "Bitcoin rises", "Sun, 01 Mar 2026 10:00:00 GMT"),
        ]
        source = Rss(server.url, CLOCK)
        stream = source.read({source.name: 0}, Waits(CLOCK))
        first = await anext(stream)
        server.items.append(("late", "late one", "Sun, 01 Mar 2026 10:30:00 GMT"))
        second = await anext(stream)
        await stream.aclose()
        server.status = 500
        with pytest.raises(Unavailable, match="500"):
            await take(source, 0, 1)
    assert [m.text for m in first if isinstance(m, PostMessage)] == ["Bitcoin rises", "Ether & more"]
    assert [m.text for m in second if isinstance(m, PostMessage)] == ["late one"]


async def test_a_feed_that_is_too_long_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit ends the reading; the feed is parsed beside the event loop."""
    monkeypatch.setattr("streaming.posts.rss.MOST_BYTES", 100_000)
    async with rss() as server:
        server.items = [("a", "bitcoin " * 50_000, "Sun, 01 Mar 2026 10:00:00 GMT")]
        with pytest.raises(Unavailable, match="more than 100,000 bytes"):
            await take(Rss(server.url, CLOCK), 0, 1)
        server.items = [("a", "bitcoin", "Sun, 01 Mar 2026 10:00:00 GMT")]
        threads: list[threading.Thread] = []

        def parse(content: bytes) -> Any:
            threads.append(threading.current_thread())
            return feedparser.parse(content)

        monkeypatch.setattr("streaming.posts.rss.feedparser", SimpleNamespace(parse=parse))
        assert [m.text for m in await take(Rss(server.url, CLOCK), 0, 1)] == ["bitcoin"]
    assert threads != [threading.main_thread()]


async def test_all_that_is_new_at_a_site_is_read_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many items, back to the cursor; where that is too far the newest of them, counted; a start reads some."""

    def pages() -> Any:
        for number in range(600, 0, -1):
            yield SimpleNamespace(url=f"https://t.me/s/chan/{number}", content=f"btc {number}", date=NOW)

    source = Scraped("telegram", "chan", pages, telegram.convert, "k")
    assert [m.upto for m in await take(source, 100, 500)] == list(range(101, 601))
    assert [m.upto for m in await take(source, 0, 200)] == list(range(401, 601))
    monkeypatch.setattr(scraping, "MOST", 400)
    skipped = "moodtape_feed_skipped_total", {"source": "telegram-chan"}
    before = REGISTRY.get_sample_value(*skipped) or 0
    assert [m.upto for m in await take(source, 100, 400)] == list(range(201, 601))
    assert REGISTRY.get_sample_value(*skipped) == before + 1


async def test_scraped_pages_are_turned_round() -> None:
    """Sites give the newest first and old pinned ones on top; the source gives what is new in order."""

    def item(number: int) -> SimpleNamespace:
        return SimpleNamespace(url=f"https://t.me/s/chan/{number}", content=f"btc {number}", date=NOW)

    items = [item(3), item(9), item(8), SimpleNamespace(url="https://t.me/s/chan/7", content="", date=NOW), item(6)]
    found = await take(Scraped("telegram", "chan", lambda: items, telegram.convert, "k"), 5, 3)
    assert [m.id for m in found] == ["telegram:chan/6", "telegram:chan/8", "telegram:chan/9"]

    def broken() -> list[Any]:
        raise RuntimeError("the page looks different now")

    with pytest.raises(Unavailable, match="RuntimeError"):
        await take(Scraped("telegram", "chan", broken, telegram.convert, "k"), 0, 1)


def diverted(scraper: Any, site: str, server: str) -> Any:
    """A scraper of snscrape's whose requests for a site go to a server of ours."""
    import requests

    class Diverted(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **named: Any) -> Any:
            request.url = request.url.replace(site, server)
            return super().send(request, **named)

    scraper._session.mount(site, Diverted())
    scraper._session.trust_env = False
    return scraper


async def test_a_channel_is_read_through_snscrape() -> None:
    """The real scraper on pages of ours: page after page back to the cursor, oldest first, no further than it needs."""
    pytest.importorskip("snscrape", reason="install the extra “dev” anew: it holds snscrape")
    async with channel() as server:
        server.posts = {n: f"bitcoin {n}" for n in range(1, 101)}
        module = scraper_module("telegram")

        def fetch() -> Any:
            return diverted(module.TelegramChannelScraper("chan"), "https://t.me", server.url).get_items()

        source = Scraped("telegram", "chan", fetch, telegram.convert, "k")
        assert [m.id for m in await take(source, 65, 35)] == [f"telegram:chan/{n}" for n in range(66, 101)]
        assert server.asked == ["/s/chan", "/s/chan?before=81", "/s/chan?before=61"]
        server.status = 429
        with pytest.raises(Unavailable, match="ScraperException"):
            await take(source, 65, 1)


async def test_a_profile_is_read_through_snscrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real scraper on pages of ours: toots whole, boosts left out, oldest first, back to the cursor and no further."""
    pytest.importorskip("snscrape", reason="install the extra “dev” anew: it holds snscrape")
    module = scraper_module("mastodon")
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 0.0, sleep=lambda seconds: None))
    real = module.MastodonProfileScraper
    async with mastodon_server() as server:
        server.toots = {n: f"bitcoin <b>{n}</b> &amp; ether" for n in range(1, 101)}
        server.boosts = {99}
        site = "https://toots.example"
        monkeypatch.setattr(module, "MastodonProfileScraper", lambda profile: diverted(real(profile), site, server.url))
        source = mastodon.source("ann@toots.example", StreamingSettings(), CLOCK)
        found = await take(source, 65, 34)
        assert [m.id for m in found] == [f"mastodon:{n}" for n in range(66, 101) if n != 99]
        assert found[0].text == "bitcoin 66 & ether"
        assert server.asked == ["/@ann/with_replies", *(f"/@ann/with_replies?max_id={n}" for n in (81, 61))]
        server.scripted = True
        with pytest.raises(InputError, match=r"rss=https://toots.example/@ann.rss"):
            await take(source, 65, 1)


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ("nosuch", InputError, "no post source"),
        ("../x", InputError, "no post source"),
        ("rss", InputError, "rss=https"),
        ("telegram=a/b", InputError, "channelname"),
        ("mastodon=me", InputError, "name@server"),
    ],
)
def test_wrong_settings_give_one_sentence(setting: str, error: type[Exception], words: str) -> None:
    """What is missing is said with an example."""
    with pytest.raises(error, match=words):
        post_source(setting, StreamingSettings(), CLOCK)


OPTIONAL = [("x", "tweepy"), ("telegram=chan", "snscrape"), ("mastodon=a@b.social", "snscrape")]


@pytest.mark.parametrize(("setting", "package"), OPTIONAL)
def test_the_optional_sources_say_what_they_need(setting: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package a source says what to install, and no traceback comes."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match="pip install"):
        post_source(setting, StreamingSettings(), CLOCK)


def test_every_file_is_a_source() -> None:
    """Each file beside the bridge offers ``source(argument, settings, clock)``."""
    folder = Path(str(streaming.posts.__file__)).parent
    names = {p.stem for p in folder.glob("*.py")} - {"__init__", "scraping"}
    assert names >= {"bluesky", "rss", "telegram", "mastodon", "x"}
    for name in names:
        module = __import__(f"streaming.posts.{name}", fromlist=["source"])
        assert callable(module.source)


def test_the_settings_name_the_live_sources() -> None:
    """--live makes one source per exchange and one per post source."""
    named = {"exchanges": "binance,kraken", "symbols": "btc,ETH/USDT"}
    settings = StreamingSettings.model_validate(named)
    made = live_sources(settings, CLOCK, make_engine())
    assert [s.name for s in made] == ["binance", "kraken", "bluesky"]
    assert set(made[0].streams()) == {"binance/spot/BTC/USDT/1m", "binance/spot/ETH/USDT/1m"}
