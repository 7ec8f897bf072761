"""A broker of the test's own, whose log holds nothing of other tests, so that counts are exact; and an exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from moodtape.servers import Broker
from tests.fakes.exchange import FakeExchange


@pytest.fixture
def fresh_kafka(servers_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """host:port of a new broker (Kafka protocol, in memory)."""
    server = Broker(servers_dir / f"broker-{abs(hash(request.node.nodeid))}", tied=True)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
async def exchange() -> AsyncIterator[FakeExchange]:
    """A loopback exchange."""
    async with FakeExchange() as fake:
        yield fake
