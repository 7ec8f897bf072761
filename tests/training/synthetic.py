"""Small parquet files of the published columns, with a known law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FIRST = 28_400_000
"""Epoch minute of the first candle (in 2023)."""


def write_candles(path: Path, days: int = 30, symbol: str = "NEW/USDT", seed: int = 0) -> Path:
    """A market whose volume follows a slow wave, so that hot windows are followed by hot ones."""
    rng = np.random.default_rng(seed)
    count = days * 1440
    minutes = FIRST + np.arange(count)
    wave = np.exp(1.2 * np.sin(np.arange(count) / 2500) + 0.3 * rng.normal(size=count))
    mid = 50 * np.exp(np.cumsum(rng.normal(0, 0.001, count)))
    table = {
        "exchange": ["somewhere"] * count,
        "symbol": [symbol] * count,
        "t": minutes * 60,
        **{name: mid.astype(np.float32) for name in ("open", "high", "low", "close")},
        "volume": wave.astype(np.float32),
    }
    pq.write_table(pa.table(table), path)
    return path


def write_pairs(path: Path, count: int = 120, symbol: str = "NEW/USDT", seed: int = 0) -> Path:
    """Posts six hours apart with random words, each followed by a random walk."""
    rng = np.random.default_rng(seed)
    t = (FIRST + 400 + 360 * np.arange(count)) * 60 + 7
    steps = rng.normal(0, 0.1, (count, 256))
    steps[:, 0] = 0
    words = ["moon", "crash", "hold", "sell", "buy", "pump", "dump", "whale", "fear", "hope"]
    texts = [
        " ".join(rng.choice(words, 6)) + f" {symbol} {'abcdefghij'[i % 10]}x{chr(97 + i // 10)}" for i in range(count)
    ]
    table = {
        "source": ["test"] * count,
        "symbol": [symbol] * count,
        "t": t,
        "text": texts,
        "pct256": pa.array(list(np.cumsum(steps, axis=1).astype(np.float16)), pa.list_(pa.float16())),
        "start_minute": t // 60 * 60 + 60,
        "exchange": ["somewhere"] * count,
        "named": [True] * count,
    }
    pq.write_table(pa.table(table), path)
    return path


WORDS = {
    "sadness": "sad",
    "joy": "happy",
    "fear": "scared",
    "anger": "angry",
    "surprise": "wow",
    "neutral": "price",
    "disgust": "yuck",
}


def emotion_sets(root: Path) -> Path:
    """A folder with the columns of the real emotion sets and an obvious word per emotion."""
    (root / "text_emotion").mkdir()
    rows = [
        {
            "text": f"i am so {word} {'today' if n % 2 else 'again'}",
            "label": label,
            "labels7": label,
            "labels28": label,
            "split": split,
        }
        for split, count in (("train", 6), ("val", 3), ("test", 2))
        for label, word in WORDS.items()
        for n in range(count)
    ]
    frame = pd.DataFrame(rows)
    several = {"label": None, "labels7": "joy|surprise", "labels28": "joy|surprise"}
    frame.loc[len(frame)] = {"text": "happy wow", "split": "train"} | several
    frame.to_parquet(root / "text_emotion" / "goemotions.parquet")
    love = pd.DataFrame([{"text": "i love it", "label": "love", "split": s} for s in ("train", "val", "test")])
    dair = frame[frame["label"].isin(["joy", "sadness", "fear", "anger", "surprise"])][["text", "label", "split"]]
    pd.concat([dair, love]).to_parquet(root / "text_emotion" / "dair_emotion.parquet")
    return root
