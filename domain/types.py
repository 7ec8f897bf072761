"""The central types. Frozen, with slots, no behaviour beyond their own invariants.

Times are timezone-aware UTC datetimes. Prices are in the quote currency, volumes in the base currency, changes in
percent. A ``symbol`` is always a ccxt unified pair such as ``BTC/USDT`` (see :mod:`domain.symbols`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.series import PastWindows

Floats = NDArray[np.float32]

EMOTIONS: tuple[str, ...] = ("sadness", "joy", "fear", "anger", "surprise", "neutral", "disgust")
"""The seven classes of report 002, in the order of every probability vector."""

STEPS = 256
"""Length of a trajectory, in one-minute steps; also the forecast horizon in minutes."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A stored picture by the sha256 (hex) of its cleaned bytes; never the bytes."""

    sha256: str
    mime: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Post:
    """Something somebody published. ``id`` is ``<source>:<native id or content hash>``; ``symbols`` are markets.

    ``replayed``: it came from a replay, whose clock is the post's own time.
    """

    id: str
    source: str
    text: str
    language: str
    posted_at: datetime
    symbols: tuple[str, ...] = ()
    image: ImageRef | None = None
    author_hash: str | None = None
    likes: int | None = None
    retweets: int | None = None
    replies: int | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Minutes:
    """One market's closed one-minute candles on a dense grid: index 0 is the epoch minute ``first``, NaN where one is missing.

    ``mid``: float64[m], (open + close) / 2; ``volume``: float64[m].
    """

    symbol: str
    first: int
    mid: NDArray[np.float64]
    volume: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BandHistory:
    """What a market's windows of the 45 days before a UTC midnight say of the band (:mod:`models.trajectories.band`).

    ``quantiles``: float64[knots, levels], of moves in units of what was expected; ``windows``: how many they come from.
    ``climatology``: float64[knots, levels], of the trailing week's moves in percent; ``big_move``: the 90th percentile of
    absolute end moves; ``bias``: of the day before's log volatility as a forecast; each None where too little is known.
    """

    quantiles: NDArray[np.float64]
    windows: int
    climatology: NDArray[np.float64] | None
    big_move: float | None
    bias: float | None


@dataclass(frozen=True, slots=True)
class BandStanding:
    """How a market's bands have held: ``miss``: the miss rate to make the next for, per horizon; ``inside`` of ``n`` held.

    ``scored_by``: the moment by which those had been scored.
    """

    miss: tuple[float, float, float]
    inside: float | None
    n: int
    scored_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class MarketContext:
    """What was known about one market at ``as_of``, and nothing later.

    ``mid``, ``volume``: float64[≤ 256], mid prices and traded volume of the last minutes whose candles had closed by
    ``as_of``, oldest first, NaN where a minute is missing. ``minutes``: the last WINDOWS × 256 minutes; ``history`` and
    ``standing``: what the market's past says of the band, where it is known. ``market``: its row in the database, 0 where
    it has none. ``windows``: the week of closed windows before the moment.
    """

    symbol: str
    as_of: datetime
    mid: NDArray[np.float64]
    volume: NDArray[np.float64]
    minutes: Minutes | None = None
    history: BandHistory | None = None
    standing: BandStanding | None = None
    market: int = 0
    windows: PastWindows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AuthorHistory:
    """The last :data:`AUTHOR_POSTS` posts of an author, or of a channel where no author is known, oldest first.

    ``whose``: ``author`` or ``channel``; float64[k] each: ``posted_at``: epoch seconds; ``likes``: as seen a day or more
    after the post, NaN where they were not; ``lengths``: characters of the text. ``texts``: None where there is none.
    """

    whose: str
    posted_at: NDArray[np.float64]
    likes: NDArray[np.float64]
    lengths: NDArray[np.float64]
    texts: Sequence[str | None] = ()


AUTHOR_POSTS = 200
"""Earlier posts of an author that a forecast looks at."""

WINDOWS = 32
"""Past windows of 256 minutes whose minutes a :class:`MarketContext` holds (about 5.7 days)."""

MINUTE = timedelta(minutes=1)
HORIZON = STEPS * MINUTE


def first_minute(posted_at: datetime) -> datetime:
    """The opening time of the first candle at or after the post."""
    floor = posted_at.replace(second=0, microsecond=0)
    return floor if floor == posted_at else floor + MINUTE


def complete_at(posted_at: datetime) -> datetime:
    """When the last candle of the post's window has closed."""
    return first_minute(posted_at) + HORIZON


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, eq=False)
class LibraryRows:
    """``n`` past posts with what followed them, numbers only.

    ``posted_at`` and ``starts_at``: int64[n], microseconds since the epoch, UTC. ``embedding``: float16[n, 384], norm 1,
    of the words. ``change``: float16[n, 256], percent since the first step. ``volatility``: float32[n], standard
    deviation of the 1-minute percent changes in the 256 minutes before the post.
    """

    post_ids: tuple[str, ...]
    sources: tuple[str, ...]
    symbols: tuple[str, ...]
    posted_at: NDArray[np.int64]
    starts_at: NDArray[np.int64]
    embedding: NDArray[np.float16]
    change: NDArray[np.float16]
    volatility: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Every column has one entry per row.

        Raises:
            ValueError: lengths differ, or a trajectory has not 256 steps.
        """
        sizes = {len(getattr(self, name)) for name in self.__slots__}
        if len(sizes) != 1 or self.change.shape[1:] != (STEPS,) or self.embedding.ndim != 2:
            raise ValueError(f"the columns of the library rows do not fit one another: lengths {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.post_ids)

    def take(self, index: NDArray[Any]) -> LibraryRows:
        """The rows at these positions (or under this mask), in that order."""
        positions = np.arange(len(self))[index]
        return LibraryRows(
            post_ids=tuple(self.post_ids[i] for i in positions),
            sources=tuple(self.sources[i] for i in positions),
            symbols=tuple(self.symbols[i] for i in positions),
            posted_at=self.posted_at[positions],
            starts_at=self.starts_at[positions],
            embedding=self.embedding[positions],
            change=self.change[positions],
            volatility=self.volatility[positions],
        )


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware time, exactly."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """The UTC time of that many microseconds since the epoch."""
    return EPOCH + int(micros) * MICROSECOND
