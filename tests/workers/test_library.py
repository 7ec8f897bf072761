"""The library in PostgreSQL: seeded once, read back exactly, refreshed by what is new."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.trajectories import insert_library, load_library_rows, seed
from domain.types import LibraryRows
from workers import inputs
from workers.inputs import LibraryFeed

E = "encoder1"


def rows(count: int, prefix: str = "starter") -> LibraryRows:
    random = np.random.default_rng(len(prefix))
    return LibraryRows(
        post_ids=tuple(f"{prefix}:{n}" for n in range(count)),
        sources=("test",) * count,
        symbols=("BTC/USDT",) * count,
        posted_at=np.arange(count) * 60_000_000 + 1_600_000_000_123_456,
        starts_at=np.arange(count) * 60_000_000 + 1_600_000_020_000_000,
        embedding=random.normal(size=(count, 384)).astype(np.float16),
        change=random.normal(size=(count, 256)).astype(np.float16),
        volatility=np.full(count, 0.1, np.float32),
    )


@dataclass
class Starter:
    rows: LibraryRows
    encoder: str = E


class StarterModule:
    """A starter of seven rows in the place of the shipped one."""

    def load_library(self, artifacts: Path = Path()) -> Starter:
        return Starter(rows(7))

    def encoder_revision(self, artifacts: Path = Path()) -> str:
        return E


def test_rows_come_back_as_they_were_stored(engine: Engine) -> None:
    """Every number survives the way through PostgreSQL, times to the microsecond."""
    stored = rows(5)
    with transaction(engine) as connection:
        assert insert_library(connection, stored, E) == 5
        assert insert_library(connection, stored, E) == 0
        insert_library(connection, rows(2), "other encoder")
        found, ids = load_library_rows(connection, E)
    assert found.post_ids == stored.post_ids
    for name in ("posted_at", "starts_at", "embedding", "change", "volatility"):
        assert np.array_equal(getattr(found, name), getattr(stored, name)), name
    assert ids == sorted(ids)
    assert len(ids) == 5


def test_no_class_is_made_by_looking_again(engine: Engine) -> None:
    """A worker looks every few seconds, over connections that come and go; classes made each time would never leave."""

    def look() -> int:
        for n in range(3):
            engine.dispose()
            with transaction(engine) as connection:
                insert_library(connection, rows(1), E)
                assert len(load_library_rows(connection, E)[0]) == 1, n
        gc.collect()
        return sum(issubclass(type(item), type) for item in gc.get_objects())

    look()
    assert look() == look()


def test_the_starter_is_seeded_once(engine: Engine) -> None:
    """A second start finds the rows and stores none."""
    with transaction(engine) as connection:
        assert seed(connection, StarterModule()) == 7
    with transaction(engine) as connection:
        assert seed(connection, StarterModule()) == 7
        assert len(load_library_rows(connection, E)[0]) == 7


def test_a_worker_takes_in_what_is_new(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that complete after the start reach the model; nothing new costs nothing."""
    monkeypatch.setattr(inputs, "library", StarterModule())
    feed = LibraryFeed(engine)
    assert feed.seed() == 7
    assert len(feed.rows()) == 7
    known: set[str] = set(feed.rows().post_ids)

    class Model:
        def add(self, new: Any) -> int:
            fresh = set(new.post_ids) - known
            known.update(fresh)
            return len(fresh)

    assert feed.refresh(Model()) == 0
    with transaction(engine) as connection:
        insert_library(connection, rows(3, "later"), E)
    assert feed.refresh(Model()) == 3
    assert feed.refresh(Model()) == 0
