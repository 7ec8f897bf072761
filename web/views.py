"""Rows of the database as the JSON that the web door lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from db.queries.verdicts import MarketInfo
from domain.answer import Json, stamp
from domain.candles import CandleColumns

SYNTHETIC = "synthetic"


def listed(row: dict[str, Any]) -> Json:
    """A verdict in a list: the post, the mood, the hype and where the band ends."""
    emotions, hype = row["emotions"], row["hype"]
    label = emotions["label"]
    return {
        "post_id": row["id"],
        "source": row["source"],
        "text": row["text"],
        "posted_at": stamp(row["posted_at"]),
        "scored_at": stamp(row["scored_at"]),
        "symbols": list(row["symbols"]),
        "has_image": row["has_image"],
        "label": label,
        "certainty": emotions["probabilities"][label] if label else None,
        "abstained": emotions["abstained"],
        "hype": hype["probability"],
        "base_rate": hype["base_rate"],
        "symbol": row["symbol"],
        "end": row["end"],
        "low": row["low"],
        "high": row["high"],
    }


def market(info: MarketInfo) -> Json:
    """A market and its newest minute."""
    return {
        "symbol": info.symbol,
        "exchange": info.exchange,
        "market": info.market,
        "newest": stamp(info.newest) if info.newest else None,
    }


def bars(candles: CandleColumns) -> list[Json]:
    """Candles of one market, one object each."""
    names = ("open", "high", "low", "close", "volume")
    return [
        {"opened_at": stamp(datetime.fromtimestamp(at, UTC)), **dict(zip(names, bar, strict=True)), "final": final}
        for at, bar, final in zip(candles.at.tolist(), candles.bars.tolist(), candles.final.tolist(), strict=True)
    ]
