"""The trajectory library of a scoring process: seeded and read at start, then grown by windows that the candles close."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import structlog
from sqlalchemy import Connection, Engine, text

from db.engine import transaction
from db.queries.claims import Claim
from db.queries.market_history import market_contexts
from db.queries.outcomes import Closed, closed_windows, forget_windows, shelve
from db.queries.posts import author_histories, campaigns, load_images, load_posts
from db.queries.revisions import champion
from db.queries.trajectories import LOCK, insert_library, load_library_rows, seed
from domain.answer import Campaign
from domain.candles import volatility_before
from domain.clock import Clock, SystemClock
from domain.symbols import DEFAULT_SYMBOL
from domain.types import STEPS, LibraryRows, to_micros
from models.manifest import ARTIFACTS
from models.parts import TextReader
from models.scorer import ScoringInput
from models.trajectories import library
from workers.bands import Bands
from workers.client.queue import Priority

log = structlog.get_logger()

OVERLAP = 1_000
"""Ids looked at again at each refresh, because transactions may commit in another order than their ids."""

MOST = 65_000.0
"""Percent; half precision ends there."""

AT_ONCE = 32
"""Windows completed at a time: a person's post waits no longer for their words than for a small batch."""


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

    def complete(self, words: TextReader, revision: str, clock: Clock | None = None) -> int:
        """Join windows that the candles have closed, the oldest first; returns how many rows are new.

        Only the champion's process does it, so that the library grows in one encoder's space; two at once take turns.
        A window whose pair was followed for less than 64 minutes before the post does not join: its volatility would be
        a guess.
        """
        with transaction(self._engine) as connection:
            if champion(connection) not in (None, revision) or not _alone(connection):
                return 0
            closed = closed_windows(connection, (clock or SystemClock()).now(), AT_ONCE)
            rows = _rows(connection, closed, words)
            new = insert_library(connection, rows, self._revision, shelve(connection, rows, self._revision))
            forget_windows(connection, closed)
        return new

    @property
    def end(self) -> int:
        """The newest row's id that the library has; 0 before it was read."""
        return self._last

    def _note(self, ids: list[int]) -> None:
        self._last = max([self._last, *ids[-1:]])
        self._seen = {i for i in (*self._seen, *ids) if i > self._last - OVERLAP}


def _alone(connection: Connection) -> bool:
    """Whether no other process is joining windows; the lock ends with the transaction."""
    return bool(connection.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": LOCK}).scalar())


def _rows(connection: Connection, closed: Sequence[Closed], words: TextReader) -> LibraryRows:
    """Library rows of the closed windows whose market is known well enough before the post."""
    contexts = market_contexts(connection, [(w.symbol, w.posted_at) for w in closed])
    before = [None if c is None else volatility_before(c.mid) for c in contexts]
    windows = [w for w, v in zip(closed, before, strict=True) if v is not None]
    texts = list(dict.fromkeys(w.text for w in windows))
    known = {t: reading.embedding for t, reading in zip(texts, words.read(texts) if texts else [], strict=True)}
    rows = LibraryRows(
        post_ids=tuple(w.post_id for w in windows),
        sources=tuple(w.source for w in windows),
        symbols=tuple(w.symbol for w in windows),
        posted_at=np.array([to_micros(w.posted_at) for w in windows], dtype=np.int64),
        starts_at=np.array([to_micros(w.starts_at) for w in windows], dtype=np.int64),
        embedding=np.array([known[w.text] for w in windows], dtype=np.float16).reshape(
            len(windows), -1 if windows else 384
        ),
        change=np.clip([w.change for w in windows], -MOST, MOST).astype(np.float16).reshape(-1, STEPS),
        volatility=np.array([v for v in before if v is not None], dtype=np.float32),
    )
    return rows.take(np.asarray(np.isfinite(rows.embedding).all(axis=1) & rows.embedding.any(axis=1), dtype=np.bool_))


def _scored_by(bands: Bands, replayed: Sequence[datetime]) -> datetime:
    """The moment up to which scores count, after the cases due by a replay's clock are closed."""
    if replayed:
        bands.settle_replays(max(replayed))
    return bands.scored_by()


CONSIDERED = 3
"""Markets of a post that are looked up: the answer is about the first of them that has candles."""


def load_inputs(
    connection: Connection,
    claims: Sequence[Claim],
    bands: Bands | None = None,
    known_at: datetime | None = None,
    counted: bool = False,
    scored_by: datetime | None = None,
) -> list[ScoringInput]:
    """One input per claim whose post still exists, in order. People get told why.

    ``known_at`` and ``scored_by``: leave out posts stored and predictions scored later, to make a stored answer again.
    ``counted``: the model looks at how many posts were published.
    """
    posts = load_posts(connection, [claim.post_id for claim in claims])
    histories = author_histories(connection, posts.values(), known_at)
    present = [(claim, posts[claim.post_id]) for claim in claims if claim.post_id in posts]
    if bands and scored_by is None:
        scored_by = _scored_by(bands, [] if known_at else [post.posted_at for _, post in present if post.replayed])
    copies = campaigns(connection, list(posts), known_at)
    pictures = load_images(connection, sorted({post.image.sha256 for _, post in present if post.image}))
    asked = [(s, post.posted_at) for _, post in present for s in (post.symbols or (DEFAULT_SYMBOL,))[:CONSIDERED]]
    known = dict(zip(asked, market_contexts(connection, asked, known_at, counted), strict=True))
    inputs = []
    for claim, post in present:
        symbols = (post.symbols or (DEFAULT_SYMBOL,))[:CONSIDERED]
        symbol = next((s for s in symbols if known[s, post.posted_at] is not None), symbols[0])
        context = known[symbol, post.posted_at]
        inputs.append(
            ScoringInput(
                post=post,
                image=pictures.get(post.image.sha256) if post.image else None,
                context=bands.known(connection, context, post.replayed, scored_by) if bands and context else context,
                symbol=symbol,
                named=bool(post.symbols),
                why=claim.priority == Priority.PEOPLE,
                history=histories.get(post.id),
                campaign=Campaign(*copies[post.id]) if post.id in copies else None,
            )
        )
    return inputs
