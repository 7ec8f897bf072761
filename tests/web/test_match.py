"""POST /v1/match: a path to posts, and refusals in the one shape."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.trajectories import insert_library
from domain.types import LibraryRows
from tests.web.conftest import NOON
from tests.web.test_api import refused


@pytest.fixture
def one_window(engine: Engine) -> None:
    """A rise that ended the day before."""
    at = np.array([int(NOON.timestamp() - 86_400) * 1_000_000], dtype=np.int64)
    change = np.linspace(0, 1, 256, dtype=np.float16)[None]
    rows = LibraryRows(
        ("p:1",), ("here",), ("BTC/USDT",), at, at, np.ones((1, 384), np.float16), change, np.ones(1, np.float32)
    )
    with transaction(engine) as connection:
        insert_library(connection, rows, "e1")


@pytest.mark.usefixtures("one_window")
def test_a_path_is_matched(door: TestClient) -> None:
    """Twenty prices are enough; the answer says by which rule, and that nothing stored tests it yet."""
    told = door.post("/v1/match", json={"prices": np.linspace(100, 105, 20).tolist()}).json()
    assert [m["post_id"] for m in told["matches"]] == ["p:1"]
    assert told["matcher"] == "near shape"
    assert (told["beats_placebo"], told["tested"]) == (None, None)
    assert len(told["mean"]) == 256


def test_wrong_questions_are_refused(door: TestClient) -> None:
    """Nothing asked, three prices, an unknown field, a wrong time."""
    for body in ({}, {"prices": [1, 2, 3]}, {"prices": [], "colour": 1}, {"prices": [1] * 20, "at": "soon"}):
        answer = door.post("/v1/match", json=body)
        assert answer.status_code in (400, 422), body
        assert set(answer.json()) == {"error"}
    refused(door.post("/v1/match", json={"prices": [1, 2, 3]}), 422, "bad_input")
