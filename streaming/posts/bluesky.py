"""Bluesky through its Jetstream: JSON over a websocket that can be read again from any microsecond of the last day."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from domain.clock import Clock
from domain.errors import Unavailable
from streaming import steps
from streaming.feed import Waiter
from streaming.files.posts import author_hash
from streaming.messages import Message
from streaming.posts import message, relevant
from streaming.settings import StreamingSettings

URL = "wss://jetstream2.us-east.bsky.network/subscribe"
SILENCE = 60.0
MOST_BYTES = 16 << 20
"""Longest event that is read: one that is refused here ends the connection, and would be met again after it."""


class _Record(msgspec.Struct):
    text: str = ""
    createdAt: str = ""  # noqa: N815 - the protocol's name


class _Commit(msgspec.Struct):
    operation: str = ""
    rkey: str = ""
    record: _Record | None = None


class _Event(msgspec.Struct):
    did: str
    time_us: int
    commit: _Commit | None = None


_DECODER = msgspec.json.Decoder(_Event)


class Bluesky:
    """New posts that name a market, in the order Jetstream gives them; its cursor is ``time_us``."""

    name = "bluesky"
    live = True

    def __init__(self, clock: Clock, key: str, url: str = URL, silence: float = SILENCE) -> None:
        self._clock = clock
        self._key = key
        self._url = url
        self._silence = silence

    def streams(self) -> Mapping[str, int]:
        return {"bluesky": int(self._clock.now().timestamp() * 1e6)}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        after = cursors["bluesky"]
        query = urlencode({"wantedCollections": "app.bsky.feed.post", "cursor": after + 1})
        try:
            async with connect(f"{self._url}?{query}", max_size=MOST_BYTES, open_timeout=10) as socket:
                while True:
                    raw = await asyncio.wait_for(socket.recv(), self._silence)
                    if (post := self._post(raw, after)) is not None:
                        after = post.upto
                        yield [post]
        except TimeoutError:
            raise Unavailable("Jetstream has been silent for a minute; it is opened anew.") from None
        except (WebSocketException, OSError) as error:
            raise Unavailable(f"Jetstream does not answer ({type(error).__name__}).") from None

    def _post(self, raw: str | bytes, after: int) -> Message | None:
        try:
            event = _DECODER.decode(raw)
        except msgspec.DecodeError:
            steps.UNREADABLE.labels(self.name).inc()  # there is no telling what it was, nor whose
            return None
        commit = event.commit
        if commit is None or commit.operation != "create" or commit.record is None or event.time_us <= after:
            return None
        if not relevant(commit.record.text):
            return None
        who = author_hash(event.did, self._key)
        at = min(_moment(commit.record.createdAt) or event.time_us / 1e6, event.time_us / 1e6)
        native = self._native(event.did, commit.rkey)
        return message("bluesky", native, commit.record.text, at, who, "bluesky", after, event.time_us)

    def _native(self, did: str, rkey: str) -> str:
        """A post's number, keyed as its author is: in plain text it would name them."""
        return hmac.new(self._key.encode(), f"{did}/{rkey}".encode(), hashlib.sha256).hexdigest()[:24]


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def source(argument: str, settings: StreamingSettings, clock: Clock) -> Bluesky:
    """``bluesky`` or ``bluesky=wss://another.jetstream/subscribe``."""
    return Bluesky(clock, settings.author_key.get_secret_value(), argument or URL)
