"""A broker of the test's own: its log holds nothing of other tests, so that counts are exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moodtape.servers import Broker


@pytest.fixture
def fresh_kafka(servers_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """host:port of a new broker (Kafka protocol, in memory)."""
    server = Broker(servers_dir / f"broker-{abs(hash(request.node.nodeid))}", tied=True)
    try:
        yield server.start()
    finally:
        server.stop()
