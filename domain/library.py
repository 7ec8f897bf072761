"""Rows of the trajectory library as arrays: what the starter file holds, Postgres stores and the series index searches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import STEPS

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
