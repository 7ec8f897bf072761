"""Matched trajectories: a sound band, honest fallbacks, and nothing from after the post."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from domain.candles import volatility_before
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import LibraryRows, MarketContext, Minutes, Post, to_micros
from models.parts import Matched
from models.trajectories.index import Control, SeriesIndex
from models.trajectories.retrieval import RetrievedTrajectories, load_trajectories, save_parameters
from tests.models.trajectories.test_band import parameters

START = datetime(2024, 1, 1, tzinfo=UTC)
LATE = START + timedelta(days=40)


def library(count: int = 60, symbol: str = "BTC/USDT", volatility: float = 0.1, seed: int = 0) -> LibraryRows:
    """Random walks, one every twelve hours."""
    rng = np.random.default_rng(seed)
    posted = np.array([to_micros(START + timedelta(hours=12 * i)) for i in range(count)], dtype=np.int64)
    steps = rng.normal(0, volatility, (count, 256))
    steps[:, 0] = 0
    vectors = rng.normal(size=(count, 16))
    return LibraryRows(
        post_ids=tuple(f"{symbol}:{i}" for i in range(count)),
        sources=("test",) * count,
        symbols=(symbol,) * count,
        posted_at=posted,
        starts_at=posted,
        embedding=vectors.astype(np.float16),
        change=np.cumsum(steps, axis=1).astype(np.float16),
        volatility=np.full(count, volatility, dtype=np.float32),
    )


def context(symbol: str, volatility: float, as_of: datetime = LATE) -> MarketContext:
    """A walk of two days with this volatility."""
    mid = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, volatility / 100, 2880)))
    minutes = Minutes(symbol, int(as_of.timestamp()) // 60 - 2880, mid, np.ones(2880))
    return MarketContext(symbol, as_of, mid[-256:], np.ones(256), minutes)


def ask(model: RetrievedTrajectories, symbol: str, known: MarketContext | None, at: datetime = LATE) -> Matched | None:
    """One question with a fixed vector."""
    return model.match([Post("q", "t", "", "en", at)], [symbol], np.ones((1, 16), np.float32), [known])[0]


def width_of(answer: Matched) -> np.ndarray:
    """Of the band at every step."""
    return answer.trajectories.high - answer.trajectories.low


def test_the_answer_is_sound() -> None:
    """Finite float32[256] arrays, low ≤ median ≤ high everywhere, ten windows of the symbol, none unexplained."""
    answer = ask(RetrievedTrajectories(parameters(), library()), "BTC/USDT", context("BTC/USDT", 0.1))
    assert answer is not None
    assert answer.warnings == ()
    found = answer.trajectories
    assert found.control_mean is not None
    for values in (found.median, found.low, found.high, found.baseline_mean, found.matches_mean, found.control_mean):
        assert values.dtype == np.float32
        assert values.shape == (256,)
        assert np.isfinite(values).all()
    assert (found.low <= found.median).all()
    assert (found.median <= found.high).all()
    assert found.low[0] == found.high[0] == 0
    assert found.independent_windows == len(found.matches) == 10
    assert found.matches_mean == pytest.approx(np.mean([m.change for m in found.matches], axis=0), abs=1e-4)
    assert found.baseline_mean == pytest.approx(library().change.astype(np.float32).mean(axis=0), abs=1e-4)
    assert not found.signal
    assert found.reason == Reason("signal_untested")


def test_the_matches_never_bend_the_band() -> None:
    """Matches that all fell far below the band leave low, median and high where calm matches leave them."""
    rows = library()
    fallen = replace(rows, change=np.minimum(rows.change, np.linspace(0, -500, 256).astype(np.float16)))
    calm, wild = (
        ask(RetrievedTrajectories(parameters(), part), "BTC/USDT", context("BTC/USDT", 0.1)) for part in (rows, fallen)
    )
    assert calm is not None
    assert wild is not None
    assert wild.trajectories.matches_mean[-1] < wild.trajectories.low[-1] - 100
    for name in ("low", "median", "high"):
        assert (getattr(calm.trajectories, name) == getattr(wild.trajectories, name)).all()


def test_controls_are_random_windows_of_the_matches_hours_and_volatility() -> None:
    """One for each match, none of them a match or met by one, within an hour and a quarter; the post's id decides which."""
    rows = library(400)
    hours = np.random.default_rng(3).integers(0, 12, 400)
    posted = rows.posted_at + hours * 3_600_000_000
    wild = np.where(np.arange(400) % 3 == 0, 0.4, 0.1).astype(np.float32)
    shelf = SeriesIndex(replace(rows, posted_at=posted, starts_at=posted, volatility=wild)).shelf("BTC/USDT")
    assert shelf is not None
    matched = [3, 50, 111, 200]
    first, again, other = (shelf.control(390, matched, post, Control()) for post in ("a", "a", "b"))
    assert (first == again).all()
    assert (first != other).any()
    assert len(set(first.tolist()) | set(matched)) == 8
    assert first.max() < 390
    start = shelf.posted_at // 3_600_000_000 % 24
    apart = np.abs(start[first] - start[matched])
    assert np.minimum(apart, 24 - apart).max() <= 1
    assert (shelf.before[first] == shelf.before[matched]).all()


def test_where_no_window_is_alike_any_other_will_do_and_where_there_is_no_other_none_does() -> None:
    """A match of an hour and size of its own gets a control all the same; a library of matches alone has none left."""
    rows = library(30)
    shelf = SeriesIndex(replace(rows, volatility=np.where(np.arange(30) == 5, 9.0, 0.1).astype(np.float32))).shelf(
        "BTC/USDT"
    )
    assert shelf is not None
    assert len(shelf.control(30, [5], "a", Control())) == 1
    assert len(shelf.control(7, list(range(7)), "a", Control())) == 0
    model = RetrievedTrajectories(parameters(), library())
    few = ask(RetrievedTrajectories(parameters(), library(8)), "BTC/USDT", context("BTC/USDT", 0.1))
    assert few is not None
    assert few.trajectories.control_mean is None
    new = ask(model, "NEW/USDT", context("NEW/USDT", 0.3))
    assert new is not None
    assert new.trajectories.control_mean is None


def test_the_band_widens_with_time_and_volatility() -> None:
    """Twice the volatility before the post gives twice the width; four times the minutes, too."""
    model = RetrievedTrajectories(parameters(), library())
    calm, wild = (ask(model, "BTC/USDT", context("BTC/USDT", v)) for v in (0.2, 0.4))
    assert calm is not None
    assert wild is not None
    width = width_of(wild)[200] / width_of(calm)[200]
    assert width == pytest.approx(2, rel=0.1)
    assert width_of(wild)[160] / width_of(wild)[40] == pytest.approx(2, rel=0.1)


def test_without_candles_the_library_gives_the_width_and_says_so() -> None:
    """A missing context is answered with the symbol's usual volatility, a wider band and a warning."""
    model = RetrievedTrajectories(parameters(), library())
    found, known = ask(model, "BTC/USDT", None), ask(model, "BTC/USDT", context("BTC/USDT", 0.1))
    assert found is not None
    assert known is not None
    assert found.warnings == (Reason("width_of_symbol", {"symbol": "BTC/USDT"}),)
    ratio = width_of(found)[200] / width_of(known)[200]
    assert ratio == pytest.approx(1.25, rel=0.15)


def test_a_symbol_without_rows_borrows_all_symbols_scaled() -> None:
    """A new token three times as wild gets moves three times as large, and the answer says where they come from."""
    model = RetrievedTrajectories(parameters(), library())
    answer = ask(model, "NEW/USDT", context("NEW/USDT", 0.3))
    assert answer is not None
    assert answer.warnings == (Reason("no_window", {"symbol": "NEW/USDT"}),)
    found = answer.trajectories
    assert {m.symbol for m in found.matches} == {"BTC/USDT"}
    assert not found.baseline_mean.any()
    plain = np.mean([m.change for m in found.matches], axis=0)
    scale = float(found.matches_mean @ plain / (plain @ plain))
    assert scale == pytest.approx(3, rel=0.15)


def test_nothing_known_yet_means_no_answer() -> None:
    """Before the first library window has ended there is nothing to match."""
    model = RetrievedTrajectories(parameters(), library())
    assert ask(model, "BTC/USDT", context("BTC/USDT", 0.1), START + timedelta(minutes=200)) is None


def test_a_post_without_words_is_told() -> None:
    """A zero vector still gets an answer, with the warning that nothing was compared."""
    model = RetrievedTrajectories(parameters(), library())
    found = model.match([Post("q", "t", "", "en", LATE)], ["BTC/USDT"], np.zeros((1, 16), np.float32), [None])[0]
    assert found is not None
    assert Reason("newest_windows") in found.warnings


def test_poisoned_future_changes_nothing() -> None:
    """Rows whose windows end after the post, absurd as they may be, move neither matches nor band nor baseline."""
    clean = library()
    moment = START + timedelta(days=15)
    future = clean.posted_at + 256 * 60_000_000 > to_micros(moment)
    poisoned = replace(
        clean,
        change=np.where(future[:, None], np.float16(9000), clean.change),
        volatility=np.where(future, np.float32(99), clean.volatility),
        embedding=np.where(future[:, None], np.float16(1), clean.embedding),
    )
    for symbol in ("BTC/USDT", "NEW/USDT"):
        for known in (None, context(symbol, 0.1, moment)):
            before = ask(RetrievedTrajectories(parameters(), clean), symbol, known, moment)
            after = ask(RetrievedTrajectories(parameters(), poisoned), symbol, known, moment)
            assert before is not None
            assert after is not None
            earlier, later = before.trajectories, after.trajectories
            for name in ("median", "low", "high", "baseline_mean", "matches_mean", "control_mean"):
                assert np.array_equal(getattr(earlier, name), getattr(later, name))
            assert [m.post_id for m in earlier.matches] == [m.post_id for m in later.matches]


def test_completed_windows_join_the_library() -> None:
    """A row added while running is matched by later posts of its symbol."""
    model = RetrievedTrajectories(parameters(), library())
    assert model.add(library(3, "ETH/USDT", seed=5)) == 3
    found = ask(model, "ETH/USDT", context("ETH/USDT", 0.1))
    assert found is not None
    assert {m.symbol for m in found.trajectories.matches} == {"ETH/USDT"}


def test_volatility_of_gaps_and_short_tapes() -> None:
    """Missing minutes are passed over, never filled; too few changes give None; a flat tape gets the floor."""
    mid = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.001, 256)))
    holes = mid.copy()
    holes[::7] = np.nan
    assert volatility_before(holes) == pytest.approx(0.1, rel=0.2)
    assert volatility_before(mid[:60]) is None
    assert volatility_before(np.full(256, np.nan)) is None
    assert volatility_before(np.full(256, 5.0)) == pytest.approx(1e-4)


def test_parameters_survive_saving(tmp_path: Path) -> None:
    """Saved and loaded, the model answers as before; a truncated file is refused by name of the part."""
    save_parameters(tmp_path / "trajectories", parameters(2.0), {"held_out": {}}, "# card")
    loaded = load_trajectories(library(), tmp_path)
    a = ask(loaded, "BTC/USDT", None)
    b = ask(RetrievedTrajectories(parameters(2.0), library()), "BTC/USDT", None)
    assert a is not None
    assert b is not None
    assert (a.trajectories.low == b.trajectories.low).all()
    weights = tmp_path / "trajectories" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(WeightsError, match=r"trajectories/model\.safetensors is truncated"):
        load_trajectories(None, tmp_path)
