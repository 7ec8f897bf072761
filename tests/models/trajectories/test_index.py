"""The index must agree with a search written the slow and obvious way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.types import HORIZON, LibraryRows, from_micros, to_micros
from models.trajectories.index import NEAR_DUPLICATE, SeriesIndex, realised

START = datetime(2024, 1, 1, tzinfo=UTC)


def make_rows(seed: int, count: int, symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT"), size: int = 8) -> LibraryRows:
    """Random rows over ten days, on whole minutes, some of them with repeated words."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, size))
    for i in range(1, count):
        if rng.random() < 0.2:
            vectors[i] = vectors[rng.integers(i)]
    posted = [START + timedelta(minutes=int(m)) for m in rng.integers(0, 14_400, count)]
    micros = np.array([to_micros(p) for p in posted], dtype=np.int64)
    return LibraryRows(
        post_ids=tuple(f"test:{seed}-{i}" for i in range(count)),
        sources=("test",) * count,
        symbols=tuple(symbols[i] for i in rng.integers(len(symbols), size=count)),
        posted_at=micros,
        starts_at=micros,
        embedding=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16),
        change=np.cumsum(rng.normal(0, 0.1, (count, 256)), axis=1).astype(np.float16),
        volatility=rng.uniform(0.05, 0.2, count).astype(np.float32),
    )


def brute(rows: LibraryRows, query: np.ndarray, symbol: str | None, moment: datetime, own: str, k: int) -> list[str]:
    """Sort everything, walk down, refuse what overlaps or repeats."""
    vectors = rows.embedding.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32).astype(np.float64)
    score = np.round(vectors @ query.astype(np.float64), 6)
    order = sorted(range(len(rows)), key=lambda i: (-score[i], -rows.posted_at[i], rows.symbols[i], rows.post_ids[i]))
    chosen: list[int] = []
    for i in order:
        at = from_micros(int(rows.posted_at[i]))
        if (symbol and rows.symbols[i] != symbol) or at + HORIZON > moment or rows.post_ids[i] == own:
            continue
        if any(abs(from_micros(int(rows.posted_at[j])) - at) < HORIZON for j in chosen):
            continue
        if any(vectors[i] @ vectors[j] >= NEAR_DUPLICATE for j in chosen):
            continue
        chosen.append(i)
    return [rows.post_ids[i] for i in chosen[:k]]


@pytest.mark.parametrize("known", [1, 63, 64, 65, 200])
def test_the_mean_change_is_that_of_the_known_rows(known: int) -> None:
    """Sums kept per stride and the rows after them give the plain mean of a prefix."""
    shelf = SeriesIndex(make_rows(3, 200, ("BTC/USDT",))).shelf("BTC/USDT")
    assert shelf is not None
    plain = shelf.change[:known].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(shelf.mean_change(known), plain, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 150), k=st.integers(1, 12), minute=st.integers(0, 16_000))
def test_search_equals_brute_force(seed: int, count: int, k: int, minute: int) -> None:
    """Whatever the library, the symbol and the moment, the hits and their order are those of the slow search."""
    rows = make_rows(seed, count)
    index = SeriesIndex(rows)
    rng = np.random.default_rng(seed + 1)
    queries = rng.normal(size=(3, 8))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    symbols = ["BTC/USDT", None, "XRP/USDT"]
    moments = [START + timedelta(minutes=minute + i) for i in range(3)]
    own = [rows.post_ids[0], rows.post_ids[count // 2], ""]
    found = index.search(queries, symbols, moments, own, k)
    for i, hits in enumerate(found):
        expected = brute(rows, queries[i], symbols[i], moments[i], own[i], k)
        assert [index.match(h).post_id for h in hits] == expected


def test_growing_equals_building_at_once() -> None:
    """Rows added in pieces, some of them twice, give the same answers as rows given at once."""
    rows = make_rows(3, 120)
    whole, grown = SeriesIndex(rows), SeriesIndex()
    added = [grown.add(rows.take(np.arange(a, b))) for a, b in ((60, 120), (0, 70))]
    assert added == [60, 60]
    assert len(grown) == len(whole) == 120
    query = np.ones((1, 8), dtype=np.float32)
    late = [START + timedelta(days=30)]
    a, b = (i.search(query, ["BTC/USDT"], late) for i in (whole, grown))
    assert [whole.match(h).post_id for h in a[0]] == [grown.match(h).post_id for h in b[0]]


def test_a_match_must_have_ended_before_the_query() -> None:
    """A window that ends at the query's minute is known; one minute earlier it is not."""
    rows = make_rows(5, 1)
    index = SeriesIndex(rows)
    posted = from_micros(int(rows.posted_at[0]))
    query = rows.embedding.astype(np.float32)
    symbol = rows.symbols[0]
    assert len(index.search(query, [symbol], [posted + HORIZON])[0]) == 1
    assert index.search(query, [symbol], [posted + HORIZON - timedelta(minutes=1)]) == [[]]


def test_future_rows_change_nothing() -> None:
    """Poisoned rows whose windows end after the query do not move its matches."""
    rows = make_rows(7, 150)
    moment = START + timedelta(days=6)
    past = rows.take(rows.posted_at + 256 * 60_000_000 <= to_micros(moment))
    query = np.ones((1, 8), dtype=np.float32)
    found = []
    for library in (past, rows):
        index = SeriesIndex(library)
        found.append([index.match(h).post_id for h in index.search(query, [None], [moment])[0]])
    assert found[0] == found[1]
    assert len(found[0]) > 3


def test_a_broken_row_is_refused_by_name() -> None:
    """A row with NaN or an empty vector never enters the library."""
    rows = make_rows(9, 3)
    rows.change[1, 5] = np.nan
    with pytest.raises(ValueError, match="test:9-1"):
        SeriesIndex(rows)
    other = make_rows(10, 2)
    other.embedding[0] = 0
    with pytest.raises(ValueError, match="test:10-0"):
        SeriesIndex(other)


def test_realised_volatility_of_a_known_walk() -> None:
    """Alternating steps of one percent have a 1-minute standard deviation of one percent (in logarithms)."""
    levels = np.exp(np.cumsum(np.tile([0.01, -0.01], 128)))
    change = 100 * (levels / levels[0] - 1)
    assert realised(change[None])[0] == pytest.approx(1.0, rel=1e-3)
