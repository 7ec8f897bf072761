"""The live feed: from NOTIFY to pages, bounded, and healed when PostgreSQL comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.listen import VerdictListener
from db.queries.posts import insert_posts
from db.queries.verdicts import upsert_verdicts
from domain.errors import Busy
from domain.types import Post
from tests.fakes.answers import verdict
from tests.web.conftest import NOON
from web.live import ROOM, Hub, stream

SOON = 10.0


def publish(engine: Engine, *ids: str) -> None:
    with transaction(engine) as connection:
        insert_posts(connection, [Post(i, i.partition(":")[0], "words", "en", NOON) for i in ids])
        upsert_verdicts(connection, [verdict(i, matches=1) for i in ids])


async def verdicts_from(lines: AsyncIterator[str], count: int) -> list[str]:
    """Post ids of the next verdicts."""
    found: list[str] = []
    while len(found) < count:
        line = await asyncio.wait_for(anext(lines), SOON)
        if line.startswith("event: verdict"):
            found.append(json.loads(line.partition("data: ")[2])["post_id"])
    return found


@pytest.fixture
def listener(engine: Engine) -> Iterator[VerdictListener]:
    listener = VerdictListener(engine)
    yield listener
    listener.close()


@pytest.fixture
async def hub(engine: Engine, listener: VerdictListener) -> AsyncIterator[Hub]:
    hub = Hub(engine, listener, max_listeners=2)
    hub.start()
    assert await asyncio.to_thread(listener.connected.wait, SOON)
    yield hub
    await hub.stop()


async def test_news_reach_every_page_but_private_ones(engine: Engine, hub: Hub) -> None:
    """Two pages see the same public verdicts; a Telegram user's is not among them."""
    pages = [stream(hub), stream(hub)]
    for page in pages:
        assert "hello" in await anext(page)
    await asyncio.to_thread(publish, engine, "telegram:1", "x:2")
    for page in pages:
        assert await verdicts_from(page, 1) == ["x:2"]
        await page.aclose()
    assert hub.listeners == 0


async def test_a_slow_page_loses_the_oldest_and_is_told(hub: Hub) -> None:
    """The queue is bounded; the count of what was missed comes before the next event."""
    page = stream(hub)
    await anext(page)
    hub.publish([{"post_id": f"x:{k}"} for k in range(ROOM + 5)])
    assert await anext(page) == "event: missed\ndata: 5\n\n"
    assert await verdicts_from(page, 1) == ["x:5"]
    await page.aclose()


async def test_the_number_of_pages_is_bounded(hub: Hub) -> None:
    """One page too many is refused, and let in when another has gone."""
    pages = [stream(hub), stream(hub)]
    for page in pages:
        await anext(page)
    with pytest.raises(Busy, match="Too many pages"):
        hub.refuse_if_full()
    await pages[0].aclose()
    hub.refuse_if_full()
    await pages[1].aclose()


async def test_it_listens_again_after_a_lost_connection(engine: Engine, hub: Hub, listener: VerdictListener) -> None:
    """PostgreSQL ends the connection, as a restart does; news flow again by themselves."""
    page = stream(hub)
    await anext(page)
    listener.connected.clear()
    with transaction(engine) as connection:
        connection.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%' and pid <> pg_backend_pid()"
            )
        )
    assert await asyncio.to_thread(listener.connected.wait, SOON)
    await asyncio.to_thread(publish, engine, "x:9")
    assert await verdicts_from(page, 1) == ["x:9"]
    await page.aclose()


async def test_streams_end_when_asked(hub: Hub) -> None:
    """A stop does not wait for pages that stay open."""
    page = stream(hub)
    await anext(page)
    hub.end_streams_soon()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(page), SOON)
