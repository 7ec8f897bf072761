"""One post from a person to its answer: the use-case behind the command line, HTTP, the page and the bot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Protocol

from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.queries.candles import best_markets, known_symbols
from db.queries.posts import insert_posts, store_image
from domain.answer import Json, stamp
from domain.clock import Clock
from domain.errors import EmptyPost, NoCandles, UnknownSymbol
from domain.reasons import Reason
from domain.symbols import DEFAULT_SYMBOL, mentioned, normalize
from domain.text import clean
from domain.types import STEPS, ImageRef, Post
from models.language import language
from workers.client.images import clean_picture
from workers.client.queue import Priority

DOOR = "door"
"""Source of posts that come by the command line, HTTP or the page: one name, so that one input has one answer."""

DEADLINE = 30.0
"""Seconds that a person waits for a verdict."""

SKEW = timedelta(minutes=2)
"""How far a caller's clock may run ahead of ours."""

LOOKED_AT = 3
"""Markets named in a post that are looked up; a text may name hundreds."""

FIRST_MARKET = datetime(2010, 7, 17, tzinfo=UTC)
"""Bitcoin's first exchange opened; no candle is older."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody sent. ``at`` None means now; ``author_hash`` and ``requester`` are keyed hashes, never names."""

    text: str = ""
    image: bytes | None = None
    symbol: str | None = None
    at: datetime | None = None
    source: str = DOOR
    author_hash: str | None = None
    requester: str | None = None


class Queue(Protocol):
    """What :func:`analyze` needs of :class:`workers.client.queue.ScoringClient`."""

    def submit(self, post_ids: list[str], *, priority: Priority, requester: str | None = None) -> object:
        """Store the jobs and ring."""
        ...

    def wait(self, post_id: str, deadline: float) -> Json:
        """The answer, once it is there."""
        ...


def analyze(engine: Engine, client: Queue, request: Request, *, clock: Clock, deadline: float = DEADLINE) -> Json:
    """The answer to a post (docs/architecture.md, “The answer”).

    Raises:
        InputError: a subclass says what cannot be used.
        Busy: the queue is too long now.
        Unavailable: no verdict within ``deadline`` seconds; the job stays queued and the same call finds it later.
    """
    post = prepare(engine, request, clock.now())
    client.submit([post.id], priority=Priority.PEOPLE, requester=request.requester)
    return client.wait(post.id, deadline)


def prepare(engine: Engine, request: Request, now: datetime) -> Post:
    """Check and clean a request that came ``now``, and store it as a post; within a minute the same one is the same post.

    Raises:
        InputError: EmptyPost, TooLarge, UnreadableImage, UnknownSymbol, NoCandles, or a time that cannot be.
    """
    words = clean(request.text)
    ref, picture = clean_picture(request.image) if request.image is not None else (None, None)
    if not words and ref is None:
        raise EmptyPost(Reason("empty_post"))
    moment = (request.at or now).replace(second=0, microsecond=0)
    if request.at is not None:
        _check_time(request.at, now)
    symbols = (normalize(request.symbol),) if request.symbol else mentioned(words)
    post = Post(
        id=f"{request.source}:{_digest(words, ref, symbols, moment, request.author_hash)}",
        source=request.source,
        text=words,
        language=language(words),
        posted_at=moment,
        symbols=symbols,
        image=ref,
        author_hash=request.author_hash,
    )
    with transaction(engine) as connection:
        if request.symbol:
            _check_symbol(connection, symbols[0])
        if request.at is not None:
            _check_candles(connection, symbols, moment)
        if ref is not None and picture is not None:
            store_image(connection, ref, picture)
        insert_posts(connection, [post])
    return post


def _digest(
    words: str, ref: ImageRef | None, symbols: tuple[str, ...], moment: datetime, author_hash: str | None
) -> str:
    parts = [words, ref.sha256 if ref else None, symbols, stamp(moment), author_hash]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _check_time(at: datetime, now: datetime) -> None:
    if at > now + SKEW:
        raise NoCandles(Reason("time_in_future", {"at": stamp(at)}))
    if at < FIRST_MARKET:
        raise NoCandles(Reason("time_too_early", {"at": stamp(at)}))


def _check_symbol(connection: Connection, symbol: str) -> None:
    known = known_symbols(connection)
    if symbol in known:
        return
    near = get_close_matches(symbol, known, n=3, cutoff=0.5)
    some = list(dict.fromkeys(near + known))[:5]
    if some:
        raise UnknownSymbol(Reason("market_unknown", {"symbol": clean(symbol[:40]), "known": ", ".join(some)}))
    raise UnknownSymbol(Reason("no_market_known", {"symbol": clean(symbol[:40])}))


def _check_candles(connection: Connection, symbols: tuple[str, ...], moment: datetime) -> None:
    asked = (symbols or (DEFAULT_SYMBOL,))[:LOOKED_AT]
    if any(market is not None for market in best_markets(connection, [(symbol, moment) for symbol in asked])):
        return
    raise NoCandles(Reason("no_candles_then", {"symbol": asked[0], "minutes": STEPS, "at": stamp(moment)}))
