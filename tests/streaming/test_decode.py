"""Bad input at the stream's door: each gives a dead letter with a reason a person can read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.clock import ManualClock
from streaming.broker import Chunk, MemoryRecord, Partition
from streaming.decode import Assigned, Decode, Limits
from streaming.messages import CANDLES, POSTS
from streaming.steps import Decoded, Full
from tests.streaming.kit import NOW, T0

PRICES = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0}
CANDLE = {"exchange": "binance", "symbol": "BTC/USDT", "at": T0, **PRICES}
BLOCK = {**CANDLE, "at": [T0], **{name: [value] for name, value in PRICES.items()}}
POST = {"id": "x:1", "source": "x", "text": "bitcoin", "at": T0}


class Keep:
    """A next step that keeps what it is given."""

    def __init__(self) -> None:
        self.items: list[Decoded] = []
        self.full = False

    def submit(self, item: Decoded) -> None:
        if self.full:
            raise Full
        self.items.append(item)

    def poll(self) -> None: ...
    def flush(self) -> bool:
        return True

    def drop(self, partitions: object = None) -> None: ...


def run(topic: str, *payloads: bytes) -> Decoded:
    keep = Keep()
    records = [MemoryRecord(n, b"k", p) for n, p in enumerate(payloads)]
    decode = Decode(keep, ManualClock(NOW), Limits(), lambda text: "en")
    decode.submit(Assigned(Chunk(Partition(topic, 0), records), "e", 0))
    return keep.items[0]


def with_(base: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({k: v for k, v in {**base, **changes}.items() if v is not ...}).encode()


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (CANDLES, b"{", "the message is no whole JSON (Input data was truncated"),
        (CANDLES, b"", "truncated"),
        (CANDLES, b"\xff\xfe", "malformed"),
        (CANDLES, b"[]", "object"),
        (CANDLES, with_(CANDLE, close=...), "close is missing (Object missing required field `close`"),
        (CANDLES, with_(CANDLE, open=None), "open is empty (Expected `float"),
        (POSTS, with_(POST, text=5), "text is not a text (Expected `str`"),
        (CANDLES, with_(CANDLE, close="1"), "close is not a number (Expected `float"),
        (CANDLES, with_(CANDLE, close=float("nan")), "malformed"),
        (CANDLES, with_(CANDLE, close=0), "zero or negative"),
        (CANDLES, with_(CANDLE, low=-1), "zero or negative"),
        (CANDLES, with_(CANDLE, volume=-1), "volume is negative"),
        (CANDLES, with_(CANDLE, high=1.2), "high is below"),
        (CANDLES, with_(CANDLE, low=1.2), "low is above"),
        (CANDLES, with_(CANDLE, at=T0 * 1000), "milliseconds"),
        (CANDLES, with_(CANDLE, at=T0 * 1_000_000), "microseconds"),
        (CANDLES, with_(CANDLE, at=2**70), ""),
        (CANDLES, with_(CANDLE, at=T0 + 30), "not on a minute"),
        (CANDLES, with_(CANDLE, at=T0 + 7200), "in the future"),
        (CANDLES, with_(CANDLE, at=60), "before 2009"),
        (CANDLES, with_(CANDLE, symbol="?"), "not a market name"),
        (CANDLES, with_(CANDLE, symbol="BTC/USDT:\0"), "not a market name"),
        (CANDLES, with_(CANDLE, symbol="BTC/USDT:" + "X" * 3000), "not a market name"),
        (CANDLES, with_(CANDLE, exchange="Binance\0"), "not an exchange"),
        (CANDLES, with_(CANDLE, exchange="binance\n"), "not an exchange"),
        (CANDLES, with_(CANDLE, market="option"), "not a market kind"),
        (CANDLES, with_(CANDLE, timeframe="1y"), "not a timeframe"),
        (CANDLES, b"[" * 100_000, ""),
        (CANDLES, with_(BLOCK, open=[1.0, 2.0]), "different lengths"),
        (CANDLES, with_(BLOCK, at=[], **{name: [] for name in PRICES}), "empty"),
        (CANDLES, with_(BLOCK, close=1.5), "different lengths"),
        (CANDLES, with_(BLOCK, close=[-1.0]), "zero or negative"),
        (POSTS, with_(POST, text="a\0b"), "NUL"),
        (POSTS, b'{"id": "x:1", "source": "x", "text": "\\ud800", "at": 1}', ""),
        (POSTS, with_(POST, text="   "), "no words"),
        (POSTS, with_(POST, text="x" * 30_000), "30,000 characters"),
        (POSTS, with_(POST, text="x" * 1_000_000), "1,000,0"),
        (POSTS, with_(POST, id=" "), "id is empty"),
        (POSTS, with_(POST, source="../x"), "not a source"),
        (POSTS, with_(POST, at=T0 + 7200), "in the future"),
        (POSTS, with_(POST, symbols=["!"]), "not a market name"),
        (POSTS, with_(POST, symbols=["BTC/USDT:\0"]), "not a market name"),
        (POSTS, with_(POST, symbols=[f"A{n}" for n in range(100, 200)]), "names 100 markets"),
        (POSTS, with_(POST, id="x" * 301), "id is longer than 300"),
        (POSTS, with_(POST, author_hash="a" * 65), "author is longer than 64"),
    ],
)
def test_bad_input_is_refused_and_the_next_row_stored(topic: str, payload: bytes, reason: str) -> None:
    """The reason says what is wrong, the original bytes are kept, and the good message after it passes."""
    good = {CANDLES: CANDLE, POSTS: POST}[topic]
    out = run(topic, payload, with_(good))
    assert [dead_letter.payload for dead_letter in out.dead_letters] == [payload]
    assert reason in out.dead_letters[0].reason
    assert out.dead_letters[0].reason
    assert len(out.candles.at) + len(out.posts) == 1
    assert (out.expected, out.next) == (0, 2)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (CANDLES, with_(CANDLE, close=-1, stream="m", after=0, upto=1)),
        (CANDLES, with_(CANDLE, close=None, stream="m", after=0, upto=1)),
        (CANDLES, with_(BLOCK, close=[], stream="m", after=0, upto=1)),
        (POSTS, with_(POST, text="a\0b", stream="m", after=0, upto=1)),
        (POSTS, with_(POST, text="a \ud83d", stream="m", after=0, upto=1)),
        (POSTS, with_(POST, text="x" * 1_000_000, stream="m", after=0, upto=1)),
    ],
)
def test_a_refused_message_still_moves_its_stream(topic: str, payload: bytes) -> None:
    """A stream goes on past what was refused, for whatever reason, else its source would send it for ever."""
    out = run(topic, payload)
    assert len(out.dead_letters) == 1
    assert out.spans == [("m", 0, 1)]


@pytest.mark.parametrize(
    "more", [{"stream": "a\0"}, {"stream": ""}, {"stream": "m", "upto": 2**70}, {"stream": "m", "upto": "x"}]
)
def test_a_stream_that_cannot_be_stored_is_not_moved(more: dict[str, Any]) -> None:
    """Nothing that a stranger writes into a refused message reaches the cursors unchecked."""
    assert run(POSTS, with_(POST, **{"text": "a\0b", "after": 0, "upto": 1, **more})).spans == []


def test_full_is_passed_on_without_losing_the_chunk() -> None:
    """When the next step is full the same chunk can be offered again, and is counted once."""
    keep = Keep()
    decode = Decode(keep, ManualClock(NOW), Limits(row=2), lambda text: "en")
    item = Assigned(Chunk(Partition(POSTS, 0), [MemoryRecord(0, b"k", b"bad")]), "e", 0)
    keep.full = True
    for _ in range(5):
        with pytest.raises(Full):
            decode.submit(item)
    keep.full = False
    decode.submit(item)
    assert len(keep.items) == 1
    assert decode.stopped is None


def test_a_share_of_refused_messages_stops_the_stream() -> None:
    """More than 5 % refused among enough messages is too many, one in a hundred is not."""
    for every, stops in ((100, False), (10, True)):
        keep = Keep()
        decode = Decode(keep, ManualClock(NOW), Limits(), lambda text: "en")
        records = [MemoryRecord(n, b"k", b"bad" if n % every == 0 else with_(POST)) for n in range(500)]
        decode.submit(Assigned(Chunk(Partition(POSTS, 0), records), "e", 0))
        assert (decode.stopped is not None) is stops
