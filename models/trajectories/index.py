"""Exact search in an in-process library of trajectories by the words that came before them, as of a moment.

One shelf per symbol, kept in the order in which its windows ended, so that what was known at a moment is a prefix.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from domain.answer import Match
from domain.candles import FLOOR
from domain.types import HORIZON, MICROSECOND, Floats, LibraryRows, from_micros, to_micros
from models.device import Scan, floor_of

MICROS_PER_WINDOW = HORIZON // MICROSECOND
MICROS_PER_DAY = 86_400_000_000

STRIDE = 64

WIDER = 3
"""How often a search for controls doubles its bounds before it takes any window."""

NEAR_DUPLICATE = 0.98
"""Cosine from which two posts count as the same words."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A found row: its shelf, its place there, and the cosine with the query."""

    symbol: str
    row: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Control:
    """How alike a random window must be to the match it stands beside: hours of the day apart, and times as volatile before.

    ``least``: windows to draw from; where there are fewer, the bounds are doubled.
    """

    hours: float = 1.0
    volatility: float = 1.25
    least: int = 5


@dataclass(slots=True, eq=False)
class Shelf:
    """The rows of one symbol, ordered by ``ends``: int64[n], when the last candle of a row's window had closed."""

    ids: list[str]
    sources: list[str]
    posted_at: NDArray[np.int64]
    ends: NDArray[np.int64]
    vectors: Floats
    change: NDArray[np.float16]
    before: Floats
    after: Floats
    device: str = "cpu"
    scan: Scan = field(init=False)
    _sums: NDArray[np.float64] = field(init=False)
    _hours: Floats = field(init=False)
    _sizes: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the vectors to be scanned, sums of changes over every :data:`STRIDE` rows, and what controls go by."""
        self._hours = ((self.ends - MICROS_PER_WINDOW) % MICROS_PER_DAY / (MICROS_PER_DAY / 24)).astype(np.float32)
        self._sizes = np.log(np.maximum(self.before, FLOOR)).astype(np.float32)
        self.scan = Scan(self.vectors, self.device)
        blocks = len(self.change) // STRIDE
        each = (
            self.change[: blocks * STRIDE].reshape(blocks, STRIDE, self.change.shape[1]).sum(axis=1, dtype=np.float64)
        )
        self._sums = np.concatenate([np.zeros((1, self.change.shape[1])), each.cumsum(axis=0)])

    def mean_change(self, known: int) -> Floats:
        """Mean trajectory of the first ``known`` (> 0) rows, float32[256]; the same cost however many they are."""
        block = known // STRIDE
        rest = self.change[block * STRIDE : known].sum(axis=0, dtype=np.float64)
        return np.asarray((self._sums[block] + rest) / known, dtype=np.float32)

    def control(self, known: int, matched: Sequence[int], post_id: str, like: Control) -> NDArray[np.int64]:
        """For each matched row a random other one of its hour and volatility among the first ``known``; the id decides which.

        None of them meets a matched window, and none is taken twice; where no other windows are, there are fewer.
        """
        random = np.random.default_rng(zlib.crc32(post_id.encode()))
        free = np.ones(known, dtype=np.bool_)
        for row in matched:
            free &= np.abs(self.posted_at[:known] - self.posted_at[row]) >= MICROS_PER_WINDOW
        chosen: list[int] = []
        for row in matched:
            beside = self._alike(row, free, like)
            if len(beside):
                chosen.append(int(beside[random.integers(len(beside))]))
                free[chosen[-1]] = False
        return np.array(chosen, dtype=np.int64)

    def _alike(self, row: int, free: NDArray[np.bool_], like: Control) -> NDArray[np.int64]:
        """Free rows of about the hour and volatility of a row; all free ones where too few are like it."""
        apart = np.abs(self._hours[: len(free)] - self._hours[row])
        apart = np.minimum(apart, 24 - apart)
        larger = np.abs(self._sizes[: len(free)] - self._sizes[row])
        for wider in 2 ** np.arange(WIDER):
            rows = np.flatnonzero(free & (apart <= wider * like.hours) & (larger <= wider * np.log(like.volatility)))
            if len(rows) >= like.least:
                return rows
        return np.flatnonzero(free)

    def known(self, moment: int) -> int:
        """How many rows, from the first on, had ended at a moment (microseconds)."""
        return int(np.searchsorted(self.ends, moment, side="right"))

    def known_at(self, moment: datetime) -> int:
        """:meth:`known` for an aware time."""
        return self.known(to_micros(moment))


def realised(change: NDArray[np.floating]) -> Floats:
    """Standard deviation of the 1-minute percent changes of trajectories (n, 256) given in percent: float32[n]."""
    levels = np.log1p(np.maximum(np.asarray(change, dtype=np.float64), -99.9) / 100.0)
    return np.asarray(100.0 * np.diff(levels, axis=-1).std(axis=-1), dtype=np.float32)


class SeriesIndex:
    """All shelves; grows by :meth:`add`, answers by :meth:`search`. Large shelves are scanned on ``device``."""

    def __init__(self, rows: LibraryRows | None = None, device: str = "cpu") -> None:
        self._device = device
        self._shelves: dict[str, Shelf] = {}
        self._present: set[tuple[str, str]] = set()
        if rows is not None:
            self.add(rows)

    def __len__(self) -> int:
        return len(self._present)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that have rows."""
        return tuple(self._shelves)

    def shelf(self, symbol: str) -> Shelf | None:
        """The rows of a symbol, or None."""
        return self._shelves.get(symbol)

    def add(self, rows: LibraryRows) -> int:
        """Take in new rows; those already here, by (post id, symbol), are passed over. Returns how many were new.

        Raises:
            ValueError: a new row holds a number that is not finite, or a vector of length zero.
        """
        keys = list(zip(rows.post_ids, rows.symbols, strict=True))
        fresh = np.array([key not in self._present for key in keys], dtype=bool)
        new = rows.take(fresh)
        _refuse_broken(new)
        for symbol in dict.fromkeys(new.symbols):
            part = new.take(np.array([s == symbol for s in new.symbols], dtype=bool))
            self._shelves[symbol] = _merged(self._shelves.get(symbol), part, self._device)
        self._present.update(zip(new.post_ids, new.symbols, strict=True))
        return len(new)

    def search(
        self,
        vectors: Floats,
        symbols: Sequence[str | None],
        moments: Sequence[datetime],
        exclude: Sequence[str] = (),
        k: int = 10,
    ) -> list[list[Hit]]:
        """The nearest ``k`` rows per query, best first, of windows that had ended at its moment and do not overlap.

        ``vectors``: (n, d), any length > 0; ``symbols``: None searches every shelf; ``exclude``: the queries' own post
        ids. Among the hits of a query no two windows overlap in time and no two posts are near-duplicates.
        """
        queries = _unit(np.asarray(vectors, dtype=np.float32))
        found: list[list[Hit]] = [[] for _ in symbols]
        for names, members in _groups(symbols):
            shelves = {
                s: self._shelves[s] for s in (self._shelves if names is None else (names,)) if s in self._shelves
            }
            for block in range(0, len(members), 64):
                part = members[block : block + 64]
                scores = {s: shelf.scan.products(queries[part]) for s, shelf in shelves.items()}
                for at, i in enumerate(part):
                    query = _Query(queries[i], to_micros(moments[i]), exclude[i] if exclude else "", k)
                    found[i] = _nearest(shelves, {s: scores[s][at] for s in shelves}, query)
        return found

    def vectors(self, hits: Sequence[Hit]) -> Floats:
        """The unit vectors of the words of these rows, float32 (hits, d)."""
        return np.stack([self._shelves[hit.symbol].vectors[hit.row] for hit in hits])

    def match(self, hit: Hit) -> Match:
        """The row of a hit as the answer shows it."""
        shelf = self._shelves[hit.symbol]
        return Match(
            post_id=shelf.ids[hit.row],
            source=shelf.sources[hit.row],
            posted_at=from_micros(int(shelf.posted_at[hit.row])),
            symbol=hit.symbol,
            similarity=hit.similarity,
            change=shelf.change[hit.row].astype(np.float32),
        )


def _refuse_broken(rows: LibraryRows) -> None:
    sound = (
        np.isfinite(rows.embedding).all(axis=1)
        & (np.abs(rows.embedding).max(axis=1, initial=0) > 0)
        & np.isfinite(rows.change).all(axis=1)
        & np.isfinite(rows.volatility)
    )
    if not sound.all():
        broken = rows.post_ids[int(np.flatnonzero(~sound)[0])]
        raise ValueError(f"the library row {broken} holds numbers that are not finite, or an empty vector")


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def _merged(old: Shelf | None, rows: LibraryRows, device: str) -> Shelf:
    ends = np.maximum(rows.posted_at, rows.starts_at) + MICROS_PER_WINDOW
    new = Shelf(
        ids=list(rows.post_ids),
        sources=list(rows.sources),
        posted_at=rows.posted_at,
        ends=ends,
        vectors=_unit(rows.embedding.astype(np.float32)),
        change=rows.change,
        before=rows.volatility,
        after=realised(rows.change),
    )
    parts = [new] if old is None else [old, new]
    order = np.argsort(np.concatenate([p.ends for p in parts]), kind="stable")
    ids = [i for p in parts for i in p.ids]
    sources = [s for p in parts for s in p.sources]
    return Shelf(
        ids=[ids[i] for i in order],
        sources=[sources[i] for i in order],
        posted_at=np.concatenate([p.posted_at for p in parts])[order],
        ends=np.concatenate([p.ends for p in parts])[order],
        vectors=np.concatenate([p.vectors for p in parts])[order],
        change=np.concatenate([p.change for p in parts])[order],
        before=np.concatenate([p.before for p in parts])[order],
        after=np.concatenate([p.after for p in parts])[order],
        device=device,
    )


def _groups(symbols: Sequence[str | None]) -> Iterator[tuple[str | None, list[int]]]:
    for name in dict.fromkeys(symbols):
        yield name, [i for i, s in enumerate(symbols) if s == name]


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    vector: Floats
    moment: int
    own: str
    k: int


def _nearest(shelves: dict[str, Shelf], scores: dict[str, Floats], query: _Query) -> list[Hit]:
    """Greedy choice in exact order, over a candidate set that is widened until ``k`` are chosen or nothing is left.

    Outside the candidates no exact score exceeds ``floor - slack``, so everything above it comes in its true order.
    """
    slack = max((shelf.scan.slack for shelf in shelves.values()), default=0.0)
    known = {s: shelf.known(query.moment) for s, shelf in shelves.items()}
    flat = np.concatenate([scores[s][:n] for s, n in known.items()] or [np.zeros(0, dtype=np.float32)])
    starts = np.cumsum([0, *known.values()])
    depth = 2 * query.k
    while True:
        whole = depth >= len(flat)
        floor = -np.inf if whole else floor_of(flat, depth)
        near = np.flatnonzero(flat >= floor - 2 * slack)
        rows = {s: near[(near >= a) & (near < b)] - a for s, a, b in zip(known, starts[:-1], starts[1:], strict=True)}
        chosen = _choose(shelves, rows, query, floor - slack)
        if whole or len(chosen) == query.k:
            return chosen
        depth *= 4


def _choose(shelves: dict[str, Shelf], rows: dict[str, NDArray[np.int64]], query: _Query, floor: float) -> list[Hit]:
    """Walk the candidates from the nearest on; equal similarities are taken newest first, then by symbol and id."""
    places = [(s, int(i)) for s, part in rows.items() for i in part]
    if not places:
        return []
    vectors = np.concatenate([shelves[s].vectors[part] for s, part in rows.items()])
    times = np.concatenate([shelves[s].posted_at[part] for s, part in rows.items()])
    exact = np.round(vectors.astype(np.float64) @ query.vector.astype(np.float64), 6)
    ids = [shelves[s].ids[i] for s, i in places]
    order = sorted(np.flatnonzero(exact >= floor), key=lambda n: (-exact[n], -times[n], places[n][0], ids[n]))
    chosen: list[int] = []
    for n in order:
        if ids[n] == query.own or (np.abs(times[chosen] - times[n]) < MICROS_PER_WINDOW).any():
            continue
        if chosen and float((vectors[chosen] @ vectors[n]).max()) >= NEAR_DUPLICATE:
            continue
        chosen.append(int(n))
        if len(chosen) == query.k:
            break
    return [Hit(*places[n], similarity=float(exact[n])) for n in chosen]
