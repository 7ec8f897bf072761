"""Pairs from posts and candles: the formula, contiguous minutes, reasons, clusters, the cap, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from domain.errors import InputError
from training.trajectories.build import LazyPairs, Posts, join, load_posts, thinned, write
from training.trajectories.cli import app
from training.trajectories.pairs import BIN, load_pairs
from training.trajectories.tape import Tape, make_tape

FIRST = 28_400_000
MINUTES = 1200


def tape(hole: int | None = None, symbol: str = "BTC/USDT", minutes: int = MINUTES) -> Tape:
    """A made market; ``hole``: a minute that is missing."""
    random = np.random.default_rng(0)
    at = np.arange(minutes)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, minutes)))
    keep = at != hole if hole is not None else np.ones(minutes, bool)
    open_ = np.roll(close, 1)
    return make_tape(symbol, ((FIRST + at) * 60)[keep], open_[keep], close[keep], np.ones(keep.sum()))


def posts(seconds: list[int], texts: list[str] | None = None, symbols: list[str] | None = None) -> Posts:
    """Posts so many seconds after the tape's start."""
    count = len(seconds)
    return Posts(
        source=np.array(["here"] * count, dtype=object),
        time=FIRST * 60 + np.array(seconds, dtype=np.int64),
        text=np.array(texts or [f"word {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(count)], dtype=object),
        symbol=np.array([s.split(",")[0] for s in symbols or ["BTC/USDT"] * count], dtype=object),
        coins=np.array([len([c for c in s.split(",") if c]) for s in symbols or ["BTC/USDT"] * count], dtype=np.int64),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, (MINUTES - 256) * 60), min_size=1, max_size=30))
def test_the_formula_is_exact(seconds: list[int]) -> None:
    """Every pair equals a plain loop over the candles: first minute at or after the post, y = 100 (p / p0 - 1), y0 = 0."""
    market, given_posts = tape(), posts(seconds)
    found = join(given_posts, {("x", "BTC/USDT"): market})
    change = found.change()
    assert len(found) == len(seconds)
    for row, pair in zip(found.post, change, strict=True):
        start = -(-int(given_posts.time[row]) // 60) - FIRST
        p = market.mid[start : start + 256]
        assert np.allclose(pair, 100 * (p / p[0] - 1), atol=2e-4)
        assert pair[0] == 0


def test_each_refusal_has_its_reason() -> None:
    """No words, no coin, several coins, an unknown coin, too early or late, a hole: one post each."""
    texts = ["", "a", "b", "c", "d", "e", "f"]
    symbols = ["BTC/USDT", "", "BTC/USDT,ETH/USDT", "XMR/USDT", "BTC/USDT", "BTC/USDT", "BTC/USDT"]
    seconds = [0, 0, 0, 0, -120, MINUTES * 60 - 600, 60]
    found = join(posts(seconds, texts, symbols), {("x", "BTC/USDT"): tape(hole=100)})
    assert len(found) == 0
    assert [found.refused[r] for r in list(found.refused)[:6]] == [1, 1, 1, 1, 2, 1]
    kept = join(posts([0], ["b"], ["BTC/USDT,ETH/USDT"]), {("x", "BTC/USDT"): tape()}, several=True)
    assert len(kept) == 1


def test_another_venue_helps_out() -> None:
    """Where the longest tape has a hole, the next one with the whole window is taken, and named."""
    tapes = {("long", "BTC/USDT"): tape(hole=100), ("short", "BTC/USDT"): tape(minutes=900)}
    found = join(posts([60, 60 * 200]), tapes)
    assert found.venue.tolist() == ["short", "long"]


def test_same_words_and_full_bins_are_thinned() -> None:
    """A later post of the same words goes (digits and links aside), and a bin gives at most its cap."""
    texts = ["BTC to 50k https://a.b", "btc to 60K", *[f"word {chr(97 + i)}" for i in range(6)]]
    given_posts = posts([60 * i for i in range(8)], texts)
    joined = join(given_posts, {("x", "BTC/USDT"): tape()})
    kept = thinned(joined, given_posts, per_bin=3)
    bins = given_posts.time[kept.post] // BIN
    assert max(np.unique(bins, return_counts=True)[1]) <= 3
    assert kept.refused["same words again"] == 1
    assert kept.refused["bin full"] == 7 - len(kept)
    assert thinned(joined, given_posts, 50, repeats=True).refused["same words again"] == 0


def test_the_lazy_form_is_small() -> None:
    """Prices once and four bytes a pair, beside a kilobyte for each window."""
    found = join(posts(list(range(0, 50_000, 25))), {("x", "BTC/USDT"): tape()})
    assert isinstance(found, LazyPairs)
    assert found.first.dtype == np.int32
    assert found.prices.nbytes + found.first.nbytes < found.change().nbytes / 50


def test_written_pairs_are_read_again(tmp_path: Path) -> None:
    """write then load_pairs gives times, words, coins and changes back, over several batches."""
    given_posts = posts([60 * i for i in range(7)])
    found = join(given_posts, {("x", "BTC/USDT"): tape()})
    write(tmp_path / "pairs.parquet", found, given_posts, batch=3)
    held = load_pairs([tmp_path / "pairs.parquet"])
    assert held.time.tolist() == given_posts.time.tolist()
    assert held.text.tolist() == given_posts.text.tolist()
    assert np.allclose(held.change, found.change(), atol=0.02)
    assert held.exchange.tolist() == ["x"] * 7


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Parquet files of posts and candles as people have them."""
    market = tape()
    t = (FIRST + np.arange(MINUTES)) * 60
    bars = {"t": t, "open": market.mid, "close": market.mid, "volume": np.ones(MINUTES)}
    candles = {"exchange": ["x"] * MINUTES, "symbol": ["BTCUSDT"] * MINUTES, **bars}
    pq.write_table(pa.table(candles), tmp_path / "candles.parquet")
    words = ["up", "down", "", "up!", "both"]
    names = {"t": FIRST * 60 + np.arange(5) * 3000, "text": words, "symbols": ["BTC"] * 4 + ["BTC,ETH"]}
    pq.write_table(pa.table(names), tmp_path / "posts.parquet")
    return tmp_path / "posts.parquet", tmp_path / "candles.parquet"


def test_the_commands_speak_json(files: tuple[Path, Path], tmp_path: Path) -> None:
    """build then stats: nothing but JSON on standard output, with pairs, reasons and independent windows."""
    out = tmp_path / "pairs.parquet"
    given_files = ["--posts", str(files[0]), "--candles", str(files[1])]
    built = CliRunner().invoke(app, ["pairs", "build", *given_files, "--out", str(out), "--json"])
    assert built.exit_code == 0, built.output
    told = json.loads(built.stdout)
    assert told["pairs"] == 2
    assert told["refused"] == {"no words": 1, "several coins named": 1, "same words again": 1}
    counted = json.loads(CliRunner().invoke(app, ["pairs", "stats", str(out), "--json"]).stdout)
    assert counted["pairs"] == 2
    assert counted["symbols"]["BTC/USDT"]["independent_windows"] == counted["independent_windows"]


def test_wrong_files_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A missing file and a file without the columns."""
    missing = CliRunner().invoke(app, ["pairs", "stats", str(tmp_path / "no.parquet")])
    assert isinstance(missing.exception, InputError)
    with pytest.raises(InputError, match="text"):
        load_posts([files[1]])
