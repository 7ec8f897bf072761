"""Recorded candles and posts, played through the broker as if live, at any speed; every row is sent once and stored once."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from domain.candles import CandleColumns, MarketKey
from domain.clock import Clock
from domain.errors import InputError
from streaming.feed import Waiter
from streaming.files.candles import Asked
from streaming.files.formats import Loaded, Options, files_of, load
from streaming.files.tables import Cut, PostTable
from streaming.messages import BLOCK, Message, PostMessage, candle_messages

log = structlog.get_logger()

TICK = 0.05
"""Seconds of real time that one batch of a paced replay covers."""
MOST_CHARACTERS = 1_000_000
"""Characters of a post that are sent on: a message of more does not fit the topic, and the sink refuses far shorter ones."""
_LAST = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
SHARE = 2_000
"""Messages given at a time when there is no pace."""


class Replay:
    """Candles and posts of files. ``speed``: times real time; 0 for as fast as the database stores.

    ``replayed``: what its posts are answered with counts as if live, on their own clock: predictions, closings, scores.

    Example:
        >>> Replay([Path("candles.parquet")], SystemClock(), speed=60)  # doctest: +SKIP
    """

    name = "replay"
    live = False

    def __init__(
        self,
        paths: Sequence[Path],
        clock: Clock,
        *,
        speed: float = 1.0,
        cut: Cut | None = None,
        score: bool = True,
        asked: Asked | None = None,
        replayed: bool = False,
    ) -> None:
        self._replayed = replayed
        self._clock = clock
        self._speed = speed
        self._score = score
        self._candles: dict[str, CandleColumns] = {}
        self._posts: dict[str, PostTable] = {}
        self.left_out: Counter[str] = Counter()
        """Rows of the files that are not played, by reason."""
        options = Options(asked or Asked(exchange="replay"), cut or Cut())
        for path in files_of(paths)[0]:
            try:
                self._add(load(path, options), options.cut)
            except InputError as error:
                if path in paths:
                    raise
                log.warning("a file is left out of the replay", file=path.name, reason=error.message)
        if not self._candles and not self._posts:
            raise InputError("No candles and no posts are left to replay; widen --since, --until or --symbols.")

    @property
    def rows(self) -> tuple[int, int]:
        """Numbers of candles and posts in the files."""
        return sum(map(len, self._candles.values())), sum(len(t.at) for t in self._posts.values())

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """The first candle's opening time and the last one's end; None without candles."""
        moments = np.concatenate([t.at[t.at >= 0] for t in self._candles.values()] or [np.zeros(0, np.int64)])
        if not len(moments):
            return None
        first, last = (int(end(moments)) for end in (np.min, np.max))
        return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(min(last, _LAST) + 60, UTC)

    def streams(self) -> Mapping[str, int]:
        return dict.fromkeys([*self._candles, *self._posts], 0)

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        if self._speed > 0:
            async for messages in self._paced(dict(cursors), wait):
                yield messages
            return
        for stream, table in self._candles.items():
            for messages in _shares(self._candle_rows(stream, cursors[stream], len(table)), SHARE // BLOCK + 1):
                yield messages
        await wait.stored(
            {stream: len(table) for stream, table in self._candles.items()}
        )  # posts are scored against them
        for stream, posts in self._posts.items():
            for first in range(cursors[stream], len(posts.at), SHARE):
                yield [self._post(stream, posts, row) for row in range(first, min(first + SHARE, len(posts.at)))]

    def _add(self, loaded: Loaded, cut: Cut) -> None:
        with loaded.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        identity = hashlib.sha256(f"{loaded.path.name}|{digest}|{cut}".encode()).hexdigest()[:12]
        if without := loaded.refused + loaded.left_out:
            self.left_out += without
            log.warning("rows are left out of the replay", file=loaded.path.name, rows=dict(without))
        for table in loaded.candles:
            self._candles[_stream_name(identity, table.key)] = table
        for posts in loaded.posts:
            self._posts[f"replay/{identity}/{posts.source}"] = posts

    async def _paced(self, at: dict[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        """A candle when it closes, a post when it was posted; pauses in the files last as long as they lasted."""
        due = {stream: (t.at + 60).astype(np.float64) for stream, t in self._candles.items()}
        due |= {stream: t.at for stream, t in self._posts.items()}
        left = [float(moments[at[stream]]) for stream, moments in due.items() if at[stream] < len(moments)]
        if not left:
            return
        origin, started = min(left), self._clock.monotonic()
        while any(at[stream] < len(moments) for stream, moments in due.items()):
            now = origin + (self._clock.monotonic() - started) * self._speed
            messages: list[tuple[float, Message]] = []
            for stream, moments in due.items():
                upto = int(np.searchsorted(moments, now, side="right"))
                messages += self._due(stream, at[stream], upto, moments)
                at[stream] = max(at[stream], upto)
            if messages:
                messages.sort(key=lambda pair: pair[0])
                yield [message for _, message in messages]
            await wait.sleep(TICK)

    def _due(self, stream: str, start: int, stop: int, due: NDArray[np.float64]) -> list[tuple[float, Message]]:
        """Rows ``start`` to before ``stop``, each a message with the time at which it is due."""
        if stream in self._candles:
            rows: list[Message] = self._candle_rows(stream, start, stop, most=1)
        else:
            rows = [self._post(stream, self._posts[stream], row) for row in range(start, stop)]
        return list(zip(due[start:stop].tolist(), rows, strict=True))

    def _candle_rows(self, stream: str, start: int, stop: int, most: int = BLOCK) -> list[Message]:
        candles = self._candles[stream].take(slice(start, stop))
        return candle_messages(candles, stream, start, np.arange(start + 1, stop + 1), most)

    def _post(self, stream: str, table: PostTable, row: int) -> PostMessage:
        return post_of(table, row, replayed=self._replayed, score=self._score, stream=stream)


def post_of(table: PostTable, row: int, *, score: bool, replayed: bool = False, stream: str = "") -> PostMessage:
    """A row of a file's posts as a message; with a ``stream`` it covers one step of it."""
    columns = {name: values[row] for name, values in table.columns.items()}
    named = columns.get("symbols") or ""
    named = " ".join(map(str, named)) if isinstance(named, list) else str(named)
    return PostMessage(
        id=table.ids[row],
        source=table.source,
        text=table.text[row][:MOST_CHARACTERS],
        at=float(table.at[row]),
        symbols=tuple(s for s in re.split(r"[^A-Za-z0-9/:]+", named) if s),
        author_hash=columns.get("author_hash"),
        likes=columns.get("likes"),
        retweets=columns.get("retweets"),
        replies=columns.get("replies"),
        replayed=replayed,
        score=score,
        stream=stream,
        after=row if stream else 0,
        upto=row + 1 if stream else 0,
    )


def _stream_name(identity: str, key: MarketKey) -> str:
    """The stream of a market; one whose names are no such names has a stream that can be stored all the same."""
    name = "/".join(key)
    plain = len(name) < 200 and name.isascii() and name.isprintable()
    return f"replay/{identity}/{name if plain else hashlib.sha256(name.encode(errors='replace')).hexdigest()[:16]}"


def _shares(messages: Sequence[Message], size: int) -> list[Sequence[Message]]:
    return [messages[i : i + size] for i in range(0, len(messages), size)]
