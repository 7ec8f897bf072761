"""What a market's last 256 minutes are about, in words: the text-side image of the chart, and real posts beside it.

The image is the mean of the vectors of past posts that such a path followed (near shape, as ``moodtape match`` finds them).
Words are decoded from it and shown only when they pass the gate, the chart itself saying which direction is true.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.market_history import market_contexts
from db.queries.trajectories import near_shape, vectors_of
from db.queries.verdicts import public_texts, typical_post
from domain.answer import Explanation, Json, stamp
from domain.errors import NoCandles
from domain.reasons import Reason
from domain.symbols import normalize
from domain.types import STEPS, Floats
from models.scorer import Scorer
from workers.client.match import MOST, path_of

BESIDE = timedelta(hours=1)
"""Posts of so long before the moment may stand beside the words."""

SHOWN = 3
MOVED = 1.0
"""A chart has a direction when its end lies so many standard deviations (of 255 one-minute steps) from its start."""


def explain_chart(engine: Engine, scorer: Scorer, symbol: str, at: datetime) -> Json:
    """Words for the 256 minutes of a market before ``at``, or the reason why there are none.

    Raises:
        UnknownSymbol: it is no market's name. NoCandles: those minutes are not all there.
    """
    symbol = normalize(symbol)
    with transaction(engine) as connection:
        context = market_contexts(connection, [(symbol, at)])[0]
        if context is None or len(context.mid) < STEPS or not np.isfinite(context.mid).all():
            raise NoCandles(Reason("window_incomplete", {"symbol": symbol, "minutes": STEPS, "at": stamp(at)}))
        change = path_of(context.mid.tolist())
        near = near_shape(connection, change, at, None, MOST)
        keys = [(match.post_id, match.symbol) for match in near]
        vectors, quoted = vectors_of(connection, keys), typical_post(connection, keys)
        posts = public_texts(connection, at - BESIDE, at)
    way = direction(np.asarray(context.mid, dtype=np.float64))
    found = _words(scorer, vectors, symbol, way)
    if isinstance(found, Reason):
        found = quoted or Reason("explanation_no_text" if scorer.parts.explanation is None else found.code)
    return {
        "symbol": symbol,
        "at": stamp(at),
        "direction": way,
        "matches": len(near),
        "explanation": msgspec.to_builtins(found) if isinstance(found, Explanation) else None,
        "explanation_reason": found.json() if isinstance(found, Reason) else None,
        "posts": _beside(scorer, vectors, posts),
    }


def direction(mid: Any) -> str | None:
    """``up`` or ``down`` where the path's end lies clearly above or below its start; None where it does not."""
    steps = np.diff(np.log(mid))
    spread = float(steps.std()) * len(steps) ** 0.5
    moved = float(steps.sum())
    if spread == 0 or abs(moved) < MOVED * spread:
        return None
    return "up" if moved > 0 else "down"


def _words(scorer: Scorer, vectors: Floats, symbol: str, way: str | None) -> Explanation | Reason:
    model = scorer.parts.explanation
    return model.of_posts(vectors, [], symbol, scorer.embed, way) if model else Reason("no_explanation")


def _beside(scorer: Scorer, vectors: Floats, posts: list[Json]) -> list[Json]:
    """The posts nearest to the image, best first."""
    if not posts or len(vectors) == 0:
        return []
    image = vectors.mean(axis=0)
    near = scorer.embed([post["text"] for post in posts]) @ (image / max(float(np.linalg.norm(image)), 1e-9))
    best = np.argsort(-near)[:SHOWN]
    return [{**posts[i], "similarity": round(float(near[i]), 5)} for i in best]
