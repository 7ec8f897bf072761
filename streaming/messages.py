"""What travels on the topics: typed JSON, one object per message.

A message of a source names its *stream* (one market, one list of posts) and the span of the stream that it covers,
``after`` exclusive to ``upto`` inclusive. The sink moves the stream's cursor only over spans that join; see
:func:`db.queries.streams.move_streams`. Messages from elsewhere may leave the stream empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.candles import CandleColumns, MarketKey
from domain.types import Post

CANDLES = "candles"
POSTS = "posts"
DEAD_LETTERS = "dead-letters"

TOPICS: dict[str, int] = {CANDLES: 4, POSTS: 4, DEAD_LETTERS: 1}
"""Topics and their partitions."""

READ: tuple[str, ...] = (CANDLES, POSTS)
"""Topics that the sink reads."""

FORMER = {"candle-blocks": CANDLES}
"""Topics of earlier versions, with those that took their place: old dead letters name them."""

BLOCK = 256
"""Most candles that sources put into one message."""

MAX_BYTES = 512 * 1024
"""Longest message that is decoded."""


Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""A number that fits the database's bigint."""


Column = float | list[float]


class CandleMessage(msgspec.Struct, frozen=True, gc=False):
    """Candles of one market as columns of equal length; ``at`` are opening times in epoch seconds.

    A single candle is written with plain numbers instead of lists: it is read in half the time.
    """

    exchange: str
    symbol: str
    at: Whole | list[Whole]
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column
    market: str = "spot"
    timeframe: str = "1m"
    final: bool = True
    stream: str = ""
    after: Whole = 0
    upto: Whole = 0


class PostMessage(msgspec.Struct, frozen=True, gc=False):
    """One post; ``at`` in epoch seconds. ``score`` is False for history that nobody waits for.

    ``replayed``: it comes from a replay, whose clock is the post's own time.
    """

    id: str
    source: str
    text: str
    at: float
    symbols: tuple[str, ...] = ()
    author_hash: str | None = None
    likes: int | None = None
    retweets: int | None = None
    replies: int | None = None
    score: bool = True
    stream: str = ""
    after: Whole = 0
    upto: Whole = 0
    replayed: bool = False


Message = CandleMessage | PostMessage

_ENCODER = msgspec.json.Encoder()
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_DECODERS: dict[str, msgspec.json.Decoder[Message]] = {
    CANDLES: msgspec.json.Decoder(CandleMessage),
    POSTS: msgspec.json.Decoder(PostMessage),
}


UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL cannot keep in a text: NUL and half a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to the broker, with what the feed must remember of it."""

    topic: str
    key: bytes
    value: bytes
    stream: str
    upto: int
    rows: int = 1


def decode(topic: str, payload: bytes) -> Message:
    """The message of a topic.

    Raises:
        ValueError: not JSON, a field missing or of another type, too long; the message says which.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"the message has {len(payload):,} bytes; at most {MAX_BYTES:,} are taken")
    try:
        return _DECODERS[topic].decode(payload)
    except msgspec.DecodeError as error:
        half = " or it holds half a surrogate pair" if "truncated" in str(error) and _HALF.search(payload) else ""
        raise ValueError(f"{_sentence(str(error))}{half} ({error})") from None
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None


_TYPES = {"float": "a number", "int": "a whole number", "str": "a text", "array": "a list", "bool": "true or false"}
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>\w+)`(?: - at `\$\.?(?P<where>\w+)?)?")
_MISSING = re.compile(r"missing required field `(?P<where>\w+)`")


def _sentence(technical: str) -> str:
    """What is wrong with a message, for people: “open is empty”, “symbol is missing”, “close is not a number”."""
    if found := _MISSING.search(technical):
        return f"{found['where']} is missing"
    if found := _EXPECTED.search(technical):
        where, wanted = found["where"] or "the message", _TYPES.get(found["wanted"].split(" ")[0], "of its kind")
        return f"{where} is empty" if found["got"] == "null" else f"{where} is not {wanted}"
    if "malformed" in technical or "truncated" in technical:
        return "the message is no whole JSON"
    return "the message cannot be read"


def span_of(payload: bytes) -> tuple[str, int, int] | None:
    """Stream, after and upto of a refused message, so that its stream goes on; None where even they cannot be stored."""
    try:
        message = json.loads(payload)  # more lenient than msgspec: what is wrong elsewhere does not matter here
        stream, after, upto = str(message["stream"]), int(message["after"]), int(message["upto"])
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None
    fits = max(abs(after), abs(upto)) <= 2**62 and not UNSTORABLE.search(stream)
    return (stream, after, upto) if stream and fits else None


def encode(message: Message) -> bytes:
    """The bytes of a message; half a surrogate pair travels as JSON writes it, to be refused by the sink with its bytes."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(message)).encode()


def outgoing(message: Message) -> Outgoing:
    """The message addressed to its topic; the key keeps a market, or a source, in one partition and so in order."""
    if isinstance(message, PostMessage):
        key = message.stream or message.source
        return Outgoing(POSTS, key.encode(), encode(message), message.stream, message.upto)
    key = message.stream or "/".join((message.exchange, message.market, message.symbol, message.timeframe))
    rows = len(message.at) if isinstance(message.at, list) else 1
    return Outgoing(CANDLES, key.encode(), encode(message), message.stream, message.upto, rows)


def candle_message(
    key: MarketKey, at: Sequence[int], bars: NDArray[np.float64], stream: str = "", after: int = 0, upto: int = 0
) -> CandleMessage:
    """Final candles of one market, oldest first, as one message; ``bars`` is float64[n, 5] OHLCV."""
    exchange, kind, symbol, timeframe = key
    times: int | list[int] = at[0] if len(at) == 1 else list(at)
    opened, high, low, close, volume = bars[0].tolist() if len(at) == 1 else bars.T.tolist()
    return CandleMessage(
        exchange, symbol, times, opened, high, low, close, volume, kind, timeframe, True, stream, after, upto
    )  # fmt: skip


def candle_messages(
    candles: CandleColumns, stream: str = "", after: int = 0, marks: NDArray[np.int64] | None = None, most: int = BLOCK
) -> list[Message]:
    """Final candles of one market, oldest first, as messages of at most ``most``.

    ``marks``: int64[n], the stream's cursor after each candle; without them it is the opening time. A candle with a value
    that is no number, or without a time, gets a message of its own, and so is refused alone.
    """
    if not len(candles):
        return []
    at = candles.at
    marks = at if marks is None else marks
    cuts = {0, len(at), *range(0, len(at), most)}
    for row in np.flatnonzero(~np.isfinite(candles.bars).all(axis=1) | (at < 0)).tolist():
        cuts |= {row, row + 1}
    out: list[Message] = []
    times, cursors = at.tolist(), marks.tolist()
    for start, stop in pairwise(sorted(cuts)):
        bars, upto = candles.bars[start:stop], cursors[stop - 1] if stream else 0
        out.append(candle_message(candles.key, times[start:stop], bars, stream, after, upto))
        after = upto
    return out


def post_message(post: Post, *, score: bool = True, stream: str = "", after: int = 0, upto: int = 0) -> PostMessage:
    """A post as a message."""
    return PostMessage(
        post.id, post.source, post.text, post.posted_at.timestamp(), post.symbols, post.author_hash,
        post.likes, post.retweets, post.replies, score, stream, after, upto,
    )  # fmt: skip
