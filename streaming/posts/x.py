"""X by its API v2 (recent search) through tweepy, an optional extra: ``x`` or ``x=query``; needs MOODTAPE_X_TOKEN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from domain.clock import Clock
from domain.errors import ConfigError, InputError, Unavailable
from streaming.feed import Waiter
from streaming.imports import author_hash
from streaming.messages import Message, PostMessage
from streaming.settings import StreamingSettings

EVERY = 60.0
QUERY = "(#bitcoin OR #ethereum OR #solana OR #dogecoin) -is:retweet"


class X:
    """Posts of a search, oldest first; its cursor is the newest post's number."""

    name = "x"
    live = True

    def __init__(self, client: Any, query: str, key: str, every: float = EVERY) -> None:
        self._client = client
        self._query = query
        self._key = key
        self._every = every

    def lanes(self) -> Mapping[str, int]:
        return {"x": 0}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = cursors["x"]
        while True:
            tweets = await asyncio.to_thread(self._search, at)
            out: list[Message] = []
            for tweet in sorted(tweets, key=lambda t: int(t.id)):
                out.append(self._message(tweet, at))
                at = int(tweet.id)
            if out:
                yield out
            await wait.sleep(self._every)

    def _search(self, at: int) -> list[Any]:
        import tweepy

        fields = ["created_at", "lang", "public_metrics", "author_id"]
        try:
            answer = self._client.search_recent_tweets(
                self._query, since_id=at or None, max_results=100, tweet_fields=fields
            )
        except (tweepy.Unauthorized, tweepy.Forbidden):
            raise ConfigError("X refuses the token; check MOODTAPE_X_TOKEN.") from None
        except (tweepy.TweepyException, OSError) as error:
            raise Unavailable(f"X does not answer ({type(error).__name__}).") from None
        return list(answer.data or [])

    def _message(self, tweet: Any, at: int) -> PostMessage:
        counts = tweet.public_metrics or {}
        return PostMessage(
            id=f"x:{tweet.id}",
            source="x",
            text=tweet.text,
            at=tweet.created_at.timestamp(),
            author_hash=author_hash(tweet.author_id, self._key),
            likes=counts.get("like_count"),
            retweets=counts.get("retweet_count"),
            replies=counts.get("reply_count"),
            lane="x",
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
    return X(tweepy.Client(token), argument or QUERY, settings.author_key.get_secret_value())
