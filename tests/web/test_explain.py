"""GET /v1/explain: a chart in words by way of a worker, and refusals in the one shape."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from domain.errors import NoCandles
from domain.reasons import Reason
from tests.web.conftest import NOON
from tests.web.test_api import refused
from workers.client.queue import ScoringClient


def test_a_chart_is_explained(door: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The market is written in its one form, and without a time it is now."""
    asked: list[tuple[str, datetime]] = []

    def explain(self: ScoringClient, symbol: str, at: datetime, deadline: float) -> dict[str, Any]:
        asked.append((symbol, at))
        return {"symbol": symbol, "explanation": None}

    monkeypatch.setattr(ScoringClient, "explain", explain)
    assert door.get("/v1/explain", params={"symbol": "btc"}).json() == {"symbol": "BTC/USDT", "explanation": None}
    assert door.get("/v1/explain", params={"symbol": "BTCUSDT", "at": "2024-05-01T00:00:00Z"}).status_code == 200
    assert asked[0] == ("BTC/USDT", NOON)
    assert asked[1][1].isoformat() == "2024-05-01T00:00:00+00:00"


def test_wrong_questions_are_refused(door: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No market, a wrong time, and what the worker refuses."""

    def explain(*_: Any) -> dict[str, Any]:
        raise NoCandles(Reason("no_past"))

    monkeypatch.setattr(ScoringClient, "explain", explain)
    assert door.get("/v1/explain").status_code == 422
    assert door.get("/v1/explain", params={"symbol": "BTC", "at": "soon"}).status_code == 422
    refused(door.get("/v1/explain", params={"symbol": "BTC"}), 404, "no_candles")
