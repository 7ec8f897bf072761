"""What Prometheus and a container's health check see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from domain.errors import ConfigError
from runtime.health import serving
from streaming import steps


def test_live_ready_and_metrics() -> None:
    """/live says the process runs, /ready that the stream moves, /metrics what it counted."""
    well = [False]
    with serving(_free(), lambda: well[0]) as server:
        assert server is not None
        base = f"http://127.0.0.1:{server.server_port}"
        assert httpx.get(base + "/live").status_code == 200
        assert httpx.get(base + "/ready").status_code == 503
        well[0] = True
        assert httpx.get(base + "/ready").text == "ready\n"
        steps.BROKER_UP.set(1)
        assert "moodtape_broker_up 1.0" in httpx.get(base + "/metrics").text
        assert httpx.get(base + "/other").status_code == 404
        with pytest.raises(ConfigError, match="taken"), serving(server.server_port, bool):
            pass
    with serving(0, bool) as none:
        assert none is None


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    """Every name in the Grafana dashboard is one that the streams export."""
    board = json.loads((Path(__file__).parents[2] / "docs/grafana/streams.json").read_text())
    asked = {
        name for panel in board["panels"] for t in panel["targets"] for name in re.findall(r"moodtape_\w+", t["expr"])
    }
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    known |= {family.name + end for family in REGISTRY.collect() for end in ("", "_total", "_bucket")}
    assert asked
    assert asked <= known


def _free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
