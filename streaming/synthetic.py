"""The synthetic feed: markets and posts written by the project, the same for the same seed, computable at any minute.

A price is e to the power of layered value noise (Perlin's fractal sum over periods from 8 minutes to 20 days), so that
any minute can be told without the ones before it and a restart goes on where the cursor stands.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.candles import CandleColumns, MarketKey
from domain.clock import Clock
from domain.types import Post
from streaming.feed import Waiter
from streaming.messages import Message, PostMessage, candle_messages, post_message


class Coin(NamedTuple):
    """A coin's spoken name and its code."""

    name: str
    code: str


COINS: tuple[Coin, ...] = (
    Coin("bitcoin", "BTC"),
    Coin("ethereum", "ETH"),
    Coin("solana", "SOL"),
    Coin("dogecoin", "DOGE"),
)

TEMPLATES: tuple[str, ...] = (
    "Woke up to {coin} being green again, what a lovely morning ☀️",
    "${code} up {percent}% and I finally told my mum what a wallet is 😂",
    "So happy I kept my {tag} through the winter, patience pays!",
    "Paid for coffee with {coin} today. The future is here and it tastes great.",
    "To everyone who held ${code} with me: thank you, I love this community ❤️",
    "We did it! {percent}% on ${code} in one day, drinks are on me 🎉",
    "Sold my ${code} yesterday. It went up {percent}% since. I could cry.",
    "Lost half of my savings on {coin}, I feel empty and I miss the old days.",
    "Everybody left the {tag} group after the drop, it is quiet and sad in here.",
    "My {coin} bag is down {percent}% this week and so am I 😞",
    "I do not know how to tell my family about the ${code} loss.",
    "Is ${code} about to crash? I have not slept for two nights.",
    "Scared to open the app. {coin} dropped {percent}% while I was in the cinema 😨",
    "If {coin} breaks this support we are all in serious trouble, please be careful.",
    "Whales are moving ${code} to exchanges again, this makes me really nervous.",
    "They will freeze our {tag} accounts, I am terrified of what comes next.",
    "The exchange went down exactly when ${code} moved {percent}%. Absolute thieves!",
    "Sick of influencers dumping {coin} on their own followers. Shame on you.",
    "Who approved a fee of {percent}% to withdraw ${code}?! This is robbery 😡",
    "Stop lying about {tag}. You said audited, it was never audited!",
    "Wait, what? ${code} just moved {percent}% in a minute!",
    "I cannot believe it, a supermarket in my village takes {coin} now 😮",
    "Nobody saw this coming: {coin} passed {percent}% before breakfast.",
    "Did you see that candle on ${code}?? I nearly dropped my phone.",
    "Another {tag} giveaway scam in my inbox. Disgusting people.",
    "These fake {coin} doubling sites make me sick.",
    "The way that team treated ${code} holders is revolting.",
    "${code} volume is {percent}% above the weekly average.",
    "Weekly {coin} notes: range unchanged, funding neutral, open interest flat.",
    "Reading the {tag} white paper again. Section three is about the data model.",
    "{coin} node updated to the latest release, sync took four hours.",
    "The ${code} meetup starts at seven in the library, second floor.",
    "Chart of ${code} against its two hundred day average in the next post.",
    "Question: which wallet do you use for {coin} on a laptop?",
    "Moved my ${code} to cold storage, nothing else to report.",
    "{tag} difficulty adjustment in about {percent} days according to my estimate.",
    "A friend asked me to explain {coin}; we talked until midnight and it was great fun.",
    "I keep refreshing the ${code} price, my hands are shaking.",
    "No more leverage on {coin}. I learned it the hard way and I regret it.",
    "{percent}% of my pay goes into ${code} every month, as always.",
)


NAME = "synthetic"
BACK = timedelta(days=6, hours=6)
"""Length of the history at the first start; the hype model looks back 32 windows of 256 minutes (5.7 days)."""
POST_EVERY = 6
"""Seconds between posts, on average."""
LIVE_SECONDS = 120
"""Posts older than this when they are sent are history: nobody waits for their verdict."""

_PERIODS = 8 * 60 * 2.0 ** np.arange(12)
_WEIGHTS = 0.0011 * 1.42 ** np.arange(12)


@dataclass(frozen=True, slots=True)
class Market:
    """A made-up market: its price level and how wild it is."""

    symbol: str
    level: float
    wildness: float
    volume: float


MARKETS: tuple[Market, ...] = (
    Market("BTC/USDT", 64_000.0, 1.0, 12.0),
    Market("ETH/USDT", 3_100.0, 1.3, 160.0),
    Market("SOL/USDT", 145.0, 1.9, 2_400.0),
    Market("DOGE/USDT", 0.14, 2.4, 900_000.0),
)


def noise(seed: int, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Uniform numbers in [-1, 1), one per step, always the same for the same seed (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        x = steps.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return np.asarray((x >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0)


def _smooth(seed: int, at: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    place = at / period
    left = np.floor(place).astype(np.int64)
    t = place - left
    t = t * t * (3 - 2 * t)
    return np.asarray((1 - t) * noise(seed, left) + t * noise(seed, left + 1))


def price(market: Market, seed: int, at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Price at each epoch second."""
    own = zlib.crc32(market.symbol.encode()) ^ seed
    moments = at.astype(np.float64)
    layers = sum(w * _smooth(own + 7 * k, moments, p) for k, (p, w) in enumerate(zip(_PERIODS, _WEIGHTS, strict=True)))
    return np.asarray(market.level * np.exp(market.wildness * np.asarray(layers) + 0.0004 * noise(own + 1, at // 60)))


def candles(market: Market, seed: int, at: NDArray[np.int64]) -> NDArray[np.float64]:
    """OHLCV of the minutes that open at ``at``: float64[n, 5], rounded to six significant digits."""
    own = (zlib.crc32(market.symbol.encode()) ^ seed) + 1_000_003
    opened, closed = price(market, seed, at), price(market, seed, at + 60)
    wick = 0.0006 * market.wildness
    high = np.maximum(opened, closed) * (1 + wick * np.abs(noise(own, at)))
    low = np.minimum(opened, closed) * (1 - wick * np.abs(noise(own + 1, at)))
    tide = 1.3 + 0.5 * np.sin(2 * np.pi * at / 86_400) + _smooth(own + 2, at.astype(np.float64), 4 * 3600.0)
    moved = 1 + 400 * np.abs(closed / opened - 1)
    volume = market.volume * np.maximum(tide, 0.2) * moved * np.exp(0.6 * noise(own + 3, at))
    bars = np.stack([opened, high, low, closed, volume], axis=1)
    digits = 10.0 ** (5 - np.floor(np.log10(bars)))
    return np.asarray(np.round(bars * digits) / digits)


def posts(first: int, upto: int, seed: int) -> list[Post]:
    """Posts number ``first`` to before ``upto``; number n is posted about n × :data:`POST_EVERY` seconds after the epoch."""
    numbers = np.arange(first, upto)
    draws = (noise(seed + 17, (6 * numbers[:, None] + np.arange(6)).ravel()).reshape(-1, 6) + 1) / 2
    return [_post(number, row, seed) for number, row in zip(numbers.tolist(), draws.tolist(), strict=True)]


def _post(number: int, draws: Sequence[float], seed: int) -> Post:
    """``draws``: which coin, which template, percent, moment, author, fame; uniform in [0, 1)."""
    coin = COINS[int(draws[0] ** 2 * len(COINS))]
    template = TEMPLATES[int(draws[1] * len(TEMPLATES))]
    text = template.format(coin=coin.name, code=coin.code, tag=f"#{coin.name}", percent=round(1 + 14 * draws[2], 1))
    at = number * POST_EVERY + draws[3] * (POST_EVERY - 1)
    return Post(
        id=f"{NAME}:{seed}-{number}",
        source=NAME,
        text=text,
        language="en",
        posted_at=datetime.fromtimestamp(round(at, 3), UTC),
        symbols=(f"{coin.code}/USDT",),
        author_hash=f"{int(draws[4] * 2**32):08x}",
        likes=int(math.exp(6 * draws[5])),
        retweets=int(math.exp(3 * draws[5])),
        replies=int(math.exp(2 * draws[5])),
    )


class Synthetic:
    """History first, up to the present; then each minute's candles as they close, and a post every few seconds."""

    name = NAME
    live = True

    def __init__(self, seed: int, clock: Clock, markets: Sequence[Market] = MARKETS, back: timedelta = BACK) -> None:
        self._seed = seed
        self._clock = clock
        self._back = back
        self._markets = {f"{NAME}/spot/{m.symbol}/1m": m for m in markets}
        self._posts = f"{NAME}/posts"

    def streams(self) -> Mapping[str, int]:
        start = (self._clock.now() - self._back).replace(second=0, microsecond=0)
        at = int(start.timestamp())
        return {**dict.fromkeys(self._markets, at), self._posts: at // POST_EVERY}

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = dict(cursors)
        while True:
            now = self._clock.now().timestamp()
            minute = int(now) // 60 * 60 - 60
            if any(minute - at[stream] > 120 for stream in self._markets):
                for stream in self._markets:
                    yield self._candles(stream, at, minute)
                await wait.stored({stream: at[stream] for stream in self._markets})  # posts are scored against them
                continue
            closed = [message for stream in self._markets for message in self._candles(stream, at, minute)]
            if due := [*closed, *self._due_posts(at, now)]:
                yield due
            else:
                await wait.sleep((at[self._posts] + 2) * POST_EVERY - now)

    def _candles(self, stream: str, at: dict[str, int], last: int) -> list[Message]:
        """The market's candles after its cursor up to ``last``; moves the cursor."""
        market, after = self._markets[stream], at[stream]
        minutes = np.arange(after + 60, last + 1, 60)
        at[stream] = max(after, last)
        key = MarketKey(NAME, "spot", market.symbol)
        return candle_messages(CandleColumns.of(key, minutes, candles(market, self._seed, minutes)), stream, after)

    def _due_posts(self, at: dict[str, int], now: float) -> list[Message]:
        """At most 500 posts; those that lie further back are history and are not scored."""
        first = at[self._posts] + 1
        upto = min(int(now) // POST_EVERY - 1, first + 499)
        at[self._posts] = max(upto, first - 1)
        return [self._message(p, n, now) for n, p in enumerate(posts(first, upto + 1, self._seed), start=first)]

    def _message(self, made: Post, number: int, now: float) -> PostMessage:
        score = now - made.posted_at.timestamp() <= LIVE_SECONDS
        return post_message(made, score=score, stream=self._posts, after=number - 1, upto=number)
