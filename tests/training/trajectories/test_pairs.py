"""Pairs and candles are read as published, thinned as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.errors import ConfigError, InputError
from tests.training.synthetic import FIRST, write_candles, write_pairs
from training.trajectories.pairs import capped, load_pairs, load_tapes, parquet_files, without_repeats, words_key


def test_symbols_become_ccxt_pairs(tmp_path: Path) -> None:
    """BTCUSDT and a bare lower-case token are both written as pairs with USDT; rows come in time order."""
    files = [write_pairs(tmp_path / f"{s}.parquet", 5, s) for s in ("BTCUSDT", "gork")]
    pairs = load_pairs(files)
    assert set(pairs.symbol) == {"BTC/USDT", "GORK/USDT"}
    assert (np.diff(pairs.time) >= 0).all()
    assert pairs.change.shape == (10, 256)


def test_rewordings_by_links_and_digits_are_repeats(tmp_path: Path) -> None:
    """Texts equal up to links, digits, mentions and signs have one key, and only the first of them is kept."""
    assert words_key("Buy NOW!! 100x https://a.b/c @me") == words_key("buy now 250x")
    assert words_key("buy now") != words_key("sell now")
    pairs = load_pairs([write_pairs(tmp_path / "a.parquet", 6), write_pairs(tmp_path / "b.parquet", 6)])
    assert len(without_repeats(pairs)) == 6


def test_caps_hold_and_prefer_named_posts(tmp_path: Path) -> None:
    """No bin gives more than its share, named posts come first, and a limit takes every bin's first choice first."""
    pairs = load_pairs([write_pairs(tmp_path / "a.parquet", 200)])
    crowded = pairs.take(np.repeat(np.arange(200), 3))
    crowded.named[:] = np.arange(600) % 3 == 1
    few = capped(crowded, 2, seed=0)
    _, counts = np.unique(few.bins, return_counts=True)
    assert counts.max() <= 2
    assert capped(crowded, 1, seed=0).named.all()
    limited = capped(crowded, 2, seed=0, limit=50)
    assert len(limited) == len(set(limited.bins)) == 50


def test_a_broken_row_is_dropped_and_a_missing_column_told(tmp_path: Path) -> None:
    """NaN steps and empty words do not enter; a file without trajectories is refused with the column's name."""
    path = write_pairs(tmp_path / "a.parquet", 4)
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    texts[1] = "  "
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", pa.array(texts)), path)
    assert len(load_pairs([path])) == 3
    pq.write_table(table.drop_columns(["pct256"]), path)
    with pytest.raises(InputError, match="pct256"):
        load_pairs([path])
    path.write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"a\.parquet"):
        load_pairs([path])


def test_candles_of_any_venue_become_tapes(tmp_path: Path) -> None:
    """Files with exchange and symbol, and files with only an asset, stand side by side."""
    listed = write_candles(tmp_path / "candles_a.parquet", 2, "BTCUSDT")
    table = pq.read_table(write_candles(tmp_path / "candles_b.parquet", 2, "gork")).drop_columns(["exchange"])
    pq.write_table(table.rename_columns(["asset", *table.column_names[1:]]), tmp_path / "candles_b.parquet")
    tapes = load_tapes([listed, tmp_path / "candles_b.parquet"])
    assert set(tapes) == {("somewhere", "BTC/USDT"), ("", "GORK/USDT")}
    assert tapes["", "GORK/USDT"].first == FIRST
    assert parquet_files(tmp_path, "candles") == [listed, tmp_path / "candles_b.parquet"]
    with pytest.raises(InputError, match=r"pairs\*"):
        parquet_files(tmp_path, "pairs")
