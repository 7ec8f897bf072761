"""From claimed jobs to what a scorer needs: posts, pictures, and what was known of the market."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from db.queries.claims import Claim
from db.queries.contexts import market_contexts
from db.queries.posts import load_images, load_posts
from domain.symbols import DEFAULT_SYMBOL
from models.scorer import ScoringInput
from workers.client.queue import Priority

CONSIDERED = 3
"""Markets of a post that are looked up: the answer is about the first of them that has candles."""


def load_inputs(connection: Connection, claims: Sequence[Claim]) -> list[ScoringInput]:
    """One input per claim whose post still exists, in order. People get told why."""
    posts = load_posts(connection, [claim.post_id for claim in claims])
    present = [(claim, posts[claim.post_id]) for claim in claims if claim.post_id in posts]
    pictures = load_images(connection, sorted({post.image.sha256 for _, post in present if post.image}))
    asked = [(s, post.posted_at) for _, post in present for s in (post.symbols or (DEFAULT_SYMBOL,))[:CONSIDERED]]
    known = dict(zip(asked, market_contexts(connection, asked), strict=True))
    inputs = []
    for claim, post in present:
        symbols = (post.symbols or (DEFAULT_SYMBOL,))[:CONSIDERED]
        symbol = next((s for s in symbols if known[s, post.posted_at] is not None), symbols[0])
        inputs.append(
            ScoringInput(
                post=post,
                image=pictures.get(post.image.sha256) if post.image else None,
                context=known[symbol, post.posted_at],
                symbol=symbol,
                named=bool(post.symbols),
                why=claim.priority == Priority.PEOPLE,
            )
        )
    return inputs
