"""The packaged broker, which forgets nothing, starts anew when it has grown; no row is lost or doubled by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Engine

from benchmarks.broker_life import play
from benchmarks.streams import Servers
from moodtape.commands import stack_table
from moodtape.servers import Broker, Postgres
from moodtape.state import State
from moodtape.supervisor import Embedded, Supervisor
from runtime.supervised import Health, Service, Spec

pytestmark = pytest.mark.stack
MB = 1 << 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own."""
    server = Broker(tmp_path, tied=True)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("held", "unread", "goes"),
    [(90, 0, False), (110, 0, True), (110, 5, False), (110, None, False), (210, 5, True), (210, None, True)],
)
def test_it_goes_when_grown_and_at_rest_or_twice_as_large(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, held: int, unread: float | None, goes: bool
) -> None:
    """Bound 100 MB: below it stays; above it waits for a moment with nothing unread, up to twice the bound."""
    monkeypatch.setattr(Broker, "memory", held * MB)
    broker._empty = 0
    assert broker.recycle(100 * MB, unread) is goes
    assert broker.running() is not goes
    assert broker.recycled == goes


def test_the_supervisor_starts_it_anew_at_its_address(broker: Broker, tmp_path: Path) -> None:
    """A bound below what it holds: another process at the same port within one look; status counts it."""
    state = State(tmp_path)
    state.prepare()
    service = Service(Spec("streaming", ("true",), {}, lambda _at: Health.READY), tmp_path / "s.log")
    service.detail = {"feed": "live", "unread": 0}
    supervisor = Supervisor(
        state, [Embedded(broker, "KAFKA_BOOTSTRAP")], lambda _addresses: [service], broker_memory=MB
    )
    supervisor.start_servers()
    supervisor.services = [service]
    broker._empty = 0
    before, port = broker.pid, broker.port
    supervisor._watch(supervisor.servers[0], now=1.0)
    assert broker.running()
    assert (broker.pid != before, broker.port) == (True, port)
    (row,) = supervisor.describe()["servers"]
    assert row["detail"]["recycled"] == 1
    assert row["detail"]["memory_mb"] > 0
    told = [str(cell) for column in stack_table(supervisor.describe()).columns for cell in column.cells]
    assert any("recycled 1" in cell for cell in told)
    assert any("feed live · unread 0" in cell for cell in told)


def test_a_feed_through_a_broker_that_starts_anew_loses_and_doubles_nothing(
    broker: Broker, tmp_path: Path, database_url: str, engine: Engine
) -> None:
    """A day of four markets and posts in six seconds, the broker ended every few megabytes."""
    database = cast("Postgres", SimpleNamespace(url=database_url))
    stack = Servers(tmp_path, database, broker, broker.url, engine)
    found = play(stack, days=1, seconds=6, bound=4)
    assert (found["candles"], found["posts"]) == (5_760, 144)
    assert (found["lost"], found["doubled"], found["dead_letters"], found["restarts"]) == (0, 0, 0, 0)
    assert found["recycled"] >= 1
