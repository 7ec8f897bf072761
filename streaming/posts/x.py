"""X by its API v2 (recent search) through tweepy, an optional extra: ``x`` or ``x=query``; needs MOODTAPE_X_TOKEN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from domain.clock import Clock, SystemClock
from domain.errors import ConfigError, InputError, Unavailable
from streaming import steps
from streaming.feed import Waiter
from streaming.files.posts import author_hash
from streaming.messages import Message, PostMessage
from streaming.settings import StreamingSettings

log = structlog.get_logger()

EVERY = 60.0
WEEK = 7 * 86_400 - 600
"""Seconds back to which X searches, and takes a number to begin after; an older one is refused with 400."""
FIRST_NUMBER, FIRST_MILLISECOND = 1 << 50, 1_288_834_974_657
"""Numbers below are older than their times; X's numbers hold milliseconds since the second one in their upper bits."""
MOST_PAGES = 500
"""Pages of 100 that one search goes back; X itself hands out 60 in a quarter of an hour."""
QUERY = "(#bitcoin OR #ethereum OR #solana OR #dogecoin) -is:retweet"


class X:
    """Posts of a search, oldest first; its cursor is the newest post's number.

    X gives the newest first, so posts are sent only when every page back to the cursor is there. Pages read before X
    refused to go on are kept, and the next search goes on behind them.
    """

    name = "x"
    live = True

    def __init__(self, client: Any, query: str, key: str, every: float = EVERY, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._client = client
        self._query = query
        self._key = key
        self._every = every
        self._after = 0
        self._token: str | None = None
        """The page to go on with, of the search after ``_after``."""
        self._found: dict[int, Any] = {}
        self._told = 0

    def streams(self) -> Mapping[str, int]:
        return {"x": 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = cursors["x"]
        while True:
            out: list[Message] = []
            for number, tweet in sorted((await self._search(at)).items()):
                out.append(self._message(tweet, at))
                at = number
            if out:
                yield out
            await wait.sleep(self._every)

    async def _search(self, at: int) -> dict[int, Any]:
        """All posts after the cursor by number; without a cursor the newest page.

        Where there are more than can be held, the newest of them, and it is said from when on some are missing.

        Raises:
            Unavailable: X does not answer.
        """
        if self._after != at:
            self._forget(at)
        for _ in range(MOST_PAGES):
            answer = await asyncio.to_thread(self._page, at)
            self._found |= {int(tweet.id): tweet for tweet in answer.data or []}
            self._token = (answer.meta or {}).get("next_token") if at else None
            if self._token is None:
                found = self._found
                self._forget(at)
                return found
        found = self._found
        self._forget(at)
        oldest = min(found.values(), key=lambda tweet: int(tweet.id)).created_at.isoformat() if found else None
        log.error("X has more posts than can be held; older ones are missing: ask for fewer with x=query", source="x",
                  most=100 * MOST_PAGES, missing_before=oldest)  # fmt: skip
        steps.SKIPPED.labels("x").inc()
        return found

    def _forget(self, at: int) -> None:
        self._after, self._token, self._found = at, None, {}

    def _page(self, at: int) -> Any:
        import tweepy

        fields = ["created_at", "public_metrics", "author_id", "note_tweet"]
        asked = {"since_id": None if self._too_old(at) else at or None, "next_token": self._token}
        try:
            return self._client.search_recent_tweets(self._query, max_results=100, tweet_fields=fields, **asked)
        except (tweepy.Unauthorized, tweepy.Forbidden):
            raise ConfigError("X refuses the token; check MOODTAPE_X_TOKEN.") from None
        except tweepy.BadRequest:
            self._forget(at)  # a page's token does not last for ever
            raise Unavailable("X does not understand the search.") from None
        except (tweepy.TweepyException, OSError) as error:
            raise Unavailable(f"X does not answer ({type(error).__name__}).") from None

    def _too_old(self, at: int) -> bool:
        """Whether X takes this number no more; what lies between it and the last week is lost, and that is said once."""
        moment = ((at >> 22) + FIRST_MILLISECOND) / 1000
        old = at >= FIRST_NUMBER and moment < self._clock.now().timestamp() - WEEK
        if old and at != self._told:
            self._told = at
            since = datetime.fromtimestamp(moment, UTC).isoformat()
            log.error("X searches seven days back; older posts are missing", source="x", missing_since=since)
        return old

    def _message(self, tweet: Any, at: int) -> PostMessage:
        counts = tweet.public_metrics or {}
        whole = (getattr(tweet, "data", None) or {}).get("note_tweet") or {}
        return PostMessage(
            id=f"x:{tweet.id}",
            source="x",
            text=whole.get("text") or tweet.text,
            at=tweet.created_at.timestamp(),
            author_hash=author_hash(tweet.author_id, self._key),
            likes=counts.get("like_count"),
            retweets=counts.get("retweet_count"),
            replies=counts.get("reply_count"),
            stream="x",
            after=at,
            upto=int(tweet.id),
        )


def source(argument: str, settings: StreamingSettings, clock: Clock) -> X:
    """The search.

    Raises:
        InputError: tweepy is missing.
        ConfigError: there is no token.
    """
    try:
        import tweepy
    except ModuleNotFoundError:
        raise InputError("The post source x needs tweepy: pip install moodtape[x]") from None
    token = settings.x_token.get_secret_value()
    if not token:
        raise ConfigError("The post source x needs a token: set MOODTAPE_X_TOKEN.")
    return X(tweepy.Client(token), argument or QUERY, settings.author_key.get_secret_value(), clock=clock)
