"""The trajectory library of a scoring process: seeded and read at start, then grown by what PostgreSQL gains."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import structlog
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.trajectories import load_library_rows, seed
from domain.library import LibraryRows
from models import library
from models.manifest import ARTIFACTS

log = structlog.get_logger()

OVERLAP = 1_000
"""Ids looked at again at each refresh, because transactions may commit in another order than their ids."""


@runtime_checkable
class Growing(Protocol):
    """A trajectory model whose library grows."""

    def add(self, rows: LibraryRows) -> int:
        """Take in rows; returns how many were new."""
        ...


class LibraryFeed:
    """Rows of one text encoder, by the revision of its weights."""

    def __init__(self, engine: Engine, artifacts: Path = ARTIFACTS) -> None:
        self._engine = engine
        self._artifacts = artifacts
        self._revision = library.encoder_revision(artifacts)
        self._last = 0
        self._seen: set[int] = set()

    def seed(self) -> int:
        """Store the starter library unless it is there.

        Raises:
            WeightsError: it is missing, altered, or of another encoder.
        """
        with transaction(self._engine) as connection:
            return seed(connection, library, self._artifacts)

    def rows(self) -> LibraryRows:
        """All rows now stored."""
        with transaction(self._engine) as connection:
            rows, ids = load_library_rows(connection, self._revision)
        self._note(ids)
        return rows

    def refresh(self, model: Growing) -> int:
        """Add the rows stored since; returns how many."""
        with transaction(self._engine) as connection:
            rows, ids = load_library_rows(connection, self._revision, self._last - OVERLAP, self._seen)
        self._note(ids)
        new = model.add(rows) if ids else 0
        if new:
            log.info("the library has grown", rows=new)
        return new

    def _note(self, ids: list[int]) -> None:
        self._last = max([self._last, *ids[-1:]])
        self._seen = {i for i in (*self._seen, *ids) if i > self._last - OVERLAP}
