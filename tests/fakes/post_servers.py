"""Loopback servers of posts: a Jetstream that can be read again from a cursor, an RSS feed, a Telegram channel's pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve


@dataclass
class FakeJetstream:
    """``events`` in order of ``time_us``; a client gets those after its cursor, and new ones as they come."""

    events: list[dict[str, Any]] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    hang_up_after: int | None = None
    url: str = ""

    def post(self, time_us: int, text: str, *, did: str = "did:plc:a", **commit: Any) -> None:
        """One more post."""
        record = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-03-01T12:00:00.000Z"}
        body = {"operation": "create", "collection": "app.bsky.feed.post", "rkey": str(time_us), "record": record}
        self.events.append({"did": did, "time_us": time_us, "kind": "commit", "commit": body | commit})

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = parse_qs(urlparse(socket.request.path).query)
        cursor, sent, given = int(query["cursor"][0]), 0, 0
        self.cursors.append(cursor)
        while socket.close_code is None:
            while sent < len(self.events):
                event = self.events[sent]
                sent += 1
                if event["time_us"] < cursor:
                    continue
                await socket.send(json.dumps(event))
                given += 1
                if self.hang_up_after is not None and given >= self.hang_up_after:
                    await socket.close(1011)
                    return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def jetstream() -> AsyncIterator[FakeJetstream]:
    """A running one."""
    fake = FakeJetstream()
    async with serve(fake._serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        fake.url = f"ws://{host}:{port}/subscribe"
        yield fake


@dataclass
class FakeRss:
    """``items`` as (guid, title, RFC 822 date); ``status`` other than 200 is a fault."""

    items: list[tuple[str, str, str]] = field(default_factory=list)
    status: int = 200
    asked: int = 0
    url: str = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        items = "".join(
            f"<item><guid>{g}</guid><title>{t}</title><pubDate>{d}</pubDate></item>" for g, t, d in self.items
        )
        body = f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{items}</channel></rss>'
        return web.Response(text=body, status=self.status, content_type="application/rss+xml")


@asynccontextmanager
async def rss() -> AsyncIterator[FakeRss]:
    """A running one."""
    fake = FakeRss()
    app = web.Application()
    app.router.add_get("/feed.xml", fake._answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}/feed.xml"
    try:
        yield fake
    finally:
        await runner.cleanup()


@dataclass
class FakeChannel:
    """A public channel's pages as t.me shows them: ``posts`` by number, ``page`` of them a page, the newest page first."""

    name: str = "chan"
    posts: dict[int, str] = field(default_factory=dict)
    page: int = 20
    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        before = int(request.query.get("before", 1 << 60))
        numbers = sorted(n for n in self.posts if n < before)[-self.page :]
        older = bool(numbers) and min(self.posts) < numbers[0]
        link = f'<a class="tme_messages_more" data-before="{numbers[0]}" href="/s/{self.name}?before={numbers[0]}"></a>'
        body = (link if older else "") + "".join(self._post(n) for n in numbers)
        return web.Response(text=f"<html><body>{body}</body></html>", status=self.status, content_type="text/html")

    def _post(self, number: int) -> str:
        return (
            f'<div class="tgme_widget_message" data-post="{self.name}/{number}">'
            f'<div class="tgme_widget_message_text">{self.posts[number]}</div>'
            f'<div class="tgme_widget_message_footer"><a class="tgme_widget_message_date" '
            f'href="https://t.me/{self.name}/{number}"><time datetime="2026-03-01T11:00:00+00:00">11:00</time></a></div></div>'
        )


@asynccontextmanager
async def channel() -> AsyncIterator[FakeChannel]:
    """A running one."""
    fake = FakeChannel()
    app = web.Application()
    app.router.add_get("/s/{name}", fake._answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()


@dataclass
class FakeMastodon:
    """A profile's pages as Mastodon before version 4 shows them; ``toots`` by number, ``page`` of them a page.

    ``scripted``: the page of later versions, an empty shell for scripts.
    """

    toots: dict[int, str] = field(default_factory=dict)
    boosts: set[int] = field(default_factory=set)
    page: int = 20
    scripted: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.scripted:
            return web.Response(text='<html><body><div id="mastodon"></div></body></html>', content_type="text/html")
        newest = int(request.query.get("max_id", 1 << 60))
        numbers = sorted((n for n in self.toots if n < newest), reverse=True)[: self.page]
        older = bool(numbers) and min(self.toots) < numbers[-1]
        more = f'<a class="load-more" href="{request.path}?max_id={numbers[-1]}"></a>' if older else ""
        entries = "".join(map(self._toot, numbers))
        body = f'<div class="activity-stream">{entries}<div class="entry">{more}</div></div>'
        return web.Response(text=f"<html><body>{body}</body></html>", content_type="text/html")

    def _toot(self, number: int) -> str:
        boosted = (
            '<div class="status__prepend"><i class="fa-retweet"></i><a class="status__display-name" href="/@ann">'
            "<strong>Ann</strong></a></div>"
        )
        return (
            f'<div class="entry">{boosted if number in self.boosts else ""}<div class="status__info">'
            f'<a class="status__relative-time" href="/@ann/{number}"></a>'
            '<data class="dt-published" value="2026-03-01T11:00:00+00:00"></data>'
            '<a class="status__display-name" href="/@ann"><img class="u-photo" src="/a.png"><span class="display-name">'
            "<strong>Ann</strong><span>@ann@toots.example</span></span></a></div>"
            f'<div class="status__content"><p>{self.toots[number]}</p></div></div>'
        )


@asynccontextmanager
async def mastodon() -> AsyncIterator[FakeMastodon]:
    """A running one."""
    fake = FakeMastodon()
    app = web.Application()
    app.router.add_get("/{name}/with_replies", fake._answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()
