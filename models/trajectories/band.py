"""The band: how far the price may be from the post's at each minute after it, from the size of recent moves.

Ridge regressions on realised measures give the expected volatility of the next 15, 60 and 256 minutes; quantiles of what
the market's own windows of the last 45 days did in units of that expectation give the band (so that it is as skewed as they
were). Where few windows are known, the quantiles that training found over all markets count beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.candles import FLOOR, MIN_CHANGES
from domain.types import STEPS, BandHistory, MarketContext, Minutes
from models.trajectories.measures import DAY, LONG, Doubles, Ints, Sums, measures

HORIZONS = (15, 60, STEPS)
KNOTS: Ints = np.array([1, 2, 4, 8, 15, 32, 60, 96, 128, 192, STEPS - 1], dtype=np.int64)
LEVELS: Doubles = np.array([0.005, 0.01, 0.025, *np.arange(0.05, 0.951, 0.05).round(2), 0.975, 0.99, 0.995])
AT: Ints = np.array([int(np.searchsorted(KNOTS, min(h, STEPS - 1))) for h in HORIZONS], dtype=np.int64)
"""Places of the horizons among the knots."""
STRIDE = 64
"""Minutes between the starts of the windows whose standardised moves give the quantiles."""
POOL = 45 * DAY
WEEK = 7 * DAY
WEEK_STRIDE = 16
LATE = 60
"""The hour before midnight stays out of the day's history, so that candles that arrive late change nothing."""
SPAN = POOL + LONG + 1
"""Minutes before midnight that a history reads."""
LOG_STEPS = np.log(np.maximum(np.arange(STEPS), 1))
_ENDS = np.log(np.array([15.0, 60.0, STEPS - 1]))
FEWEST = 20
"""Windows from which on the market's own quantiles count."""
MISS = 0.2
"""Nominal share of outcomes outside the band."""
STALE = ((1440, 1.10), (60, 1.05))
"""Minutes since the newest candle, and how much wider the band is then; measured: 1.03 to 1.05 keep the coverage."""
GAPPED = 1.05
"""The same where a fifth of the day's minutes are missing."""
BLIND = 1.25
"""The same where the width comes from past windows alone."""


@dataclass(frozen=True, slots=True, eq=False)
class BandParameters:
    """What training fits: ``weights`` float64[3, measures], ``prior`` float64[knots, levels], standardised quantiles.

    ``prior_weight``: how many windows of its own the prior counts as.
    """

    weights: Doubles
    prior: Doubles
    prior_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class BandForecast:
    """The predictive distribution after a post. ``quantiles``: float64[256, levels], percent since the post, first row 0.

    ``expected``: float64[3], log volatility (percent per minute) over the horizons; ``widened``: why the band is wider than
    the market's past alone would have it, ``blind``, ``stale`` or ``gapped``; empty where it is not.
    """

    quantiles: Doubles
    expected: Doubles
    widened: str

    @property
    def median(self) -> Doubles:
        """float64[256], percent."""
        return self.quantiles[:, len(LEVELS) // 2]

    def edges(self, miss: Sequence[float] = (MISS, MISS, MISS)) -> tuple[Doubles, Doubles]:
        """(low, high), each float64[256]: the band that misses a share ``miss`` per horizon, between them in log step."""
        rates = horizon_rates(miss)
        return at_levels(self.quantiles, rates / 2), at_levels(self.quantiles, 1 - rates / 2)


def forecast(parameters: BandParameters, context: MarketContext | None, usual: float) -> BandForecast:
    """What is expected after a moment; ``usual``: volatility (percent per minute) where too few minutes are known."""
    expected, widened, factor = np.full(3, np.log(max(usual, FLOOR))), "blind", BLIND
    if context is not None and context.minutes is not None:
        sums = Sums.of(context.minutes)
        found = log_volatility(parameters, sums, np.array([len(context.minutes.mid)]))[0]
        if sums.count[-1] >= MIN_CHANGES and np.isfinite(found).all():
            expected, (widened, factor) = found, _widening(context.minutes)
    table = parameters.prior if context is None or context.history is None else context.history.quantiles
    size = np.concatenate([[0.0], scale(expected[None], np.arange(1, STEPS))[0]])
    return BandForecast(factor * size[:, None] * at_every_step(table), expected, widened)


def _widening(minutes: Minutes) -> tuple[str, float]:
    known = np.flatnonzero(np.isfinite(minutes.mid))
    age = len(minutes.mid) - 1 - int(known[-1]) if len(known) else len(minutes.mid)
    for limit, factor in STALE:
        if age > limit:
            return "stale", factor
    gapped = np.isfinite(minutes.mid[-DAY:]).mean() < 0.8
    return ("gapped", GAPPED) if gapped else ("", 1.0)


def horizon_rates(miss: Sequence[float]) -> Doubles:
    """float64[256]: miss rates of every step from those of the three horizons, between them in log step."""
    return np.asarray(np.interp(LOG_STEPS, _ENDS, miss), dtype=np.float64)


def quantile_loss(truth: Doubles, quantiles: Doubles) -> Doubles:
    """float64[n]: twice the mean quantile loss at :data:`LEVELS` of tables (n, levels), which tends to the CRPS."""
    gap = truth[:, None] - quantiles
    return np.asarray(2 * np.maximum(LEVELS * gap, (LEVELS - 1) * gap).mean(axis=1), dtype=np.float64)


def exceeds(threshold: float, quantiles: Doubles) -> float:
    """Probability that a move is larger than a threshold in size, from its quantiles at :data:`LEVELS`."""
    below, above = np.interp([-threshold, threshold], quantiles, LEVELS)
    return float(below + 1 - above)


def at_levels(quantiles: Doubles, wanted: Doubles) -> Doubles:
    """Row by row the quantile of its own level, between :data:`LEVELS`."""
    right = np.clip(np.searchsorted(LEVELS, wanted), 1, len(LEVELS) - 1)
    share = np.clip((wanted - LEVELS[right - 1]) / (LEVELS[right] - LEVELS[right - 1]), 0.0, 1.0)
    rows = np.arange(len(quantiles))
    return np.asarray(quantiles[rows, right - 1] * (1 - share) + quantiles[rows, right] * share, dtype=np.float64)


def log_volatility(parameters: BandParameters, sums: Sums, at: Ints) -> Doubles:
    """float64[n, 3]: expected log volatility (percent per minute) over the horizons after tape indices ``at``; NaN unknown."""
    return np.asarray(np.einsum("nhf,hf->nh", measures(sums, at, HORIZONS), parameters.weights), dtype=np.float64)


def scale(log_volatilities: Doubles, steps: Ints) -> Doubles:
    """float64[n, len(steps)]: expected size of the move after each step (≥ 1), percent; between horizons in log step."""
    place = np.interp(np.log(steps), _ENDS, np.arange(3.0))
    low = np.minimum(place.astype(np.int64), 1)
    mixed = log_volatilities[:, low] * (1 - (place - low)) + log_volatilities[:, low + 1] * (place - low)
    return np.asarray(np.exp(mixed) * np.sqrt(steps), dtype=np.float64)


def changes(tape: Minutes, starts: Ints, steps: Ints) -> Doubles:
    """float64[n, len(steps)]: percent change of the mid price from tape index ``starts`` to each step; NaN where unknown."""
    mid = np.where(tape.mid > 0, tape.mid, np.nan)
    return np.asarray(100.0 * (mid[starts[:, None] + steps] / mid[starts][:, None] - 1.0), dtype=np.float64)


def persistence(context: MarketContext | None) -> float | None:
    """The baseline of volatility: the log of the last 24 hours' with its mean error taken off; None where not known."""
    if context is None or context.minutes is None or context.history is None or context.history.bias is None:
        return None
    end = np.array([len(context.minutes.mid)])
    day = float(Sums.of(context.minutes).log_volatility(end - DAY, end)[0])
    return day + context.history.bias if np.isfinite(day) else None


def history(parameters: BandParameters, tape: Minutes, midnight: int) -> BandHistory:
    """What the 45 days before an epoch minute (a UTC midnight) say; only minutes of the tape before it are read."""
    tape = clip(tape, midnight - SPAN, midnight - LATE)
    if len(tape.mid) <= STEPS:
        return BandHistory(parameters.prior, 0, None, None, None)
    sums, end = Sums.of(tape), len(tape.mid) - STEPS
    first = max(midnight - POOL - tape.first, 0)
    starts = np.arange(first + (-(tape.first + first)) % STRIDE, end, STRIDE, dtype=np.int64)
    moves = changes(tape, starts, KNOTS)
    expected = log_volatility(parameters, sums, starts)
    known = np.isfinite(moves).all(axis=1) & np.isfinite(expected).all(axis=1)
    moves, expected, starts = moves[known], expected[known], starts[known]
    count = len(moves)
    table = blend(parameters, moves / scale(expected, KNOTS))
    big = float(np.quantile(np.abs(moves[:, -1]), 0.9)) if count >= FEWEST else None
    return BandHistory(table, count, _climatology(tape, midnight), big, _bias(sums, starts))


def blend(parameters: BandParameters, standardised: Doubles) -> Doubles:
    """float64[knots, levels]: quantiles of the market's own standardised moves (n, knots), with the prior beside them."""
    count = len(standardised)
    if count < FEWEST:
        return parameters.prior
    own = np.quantile(standardised, LEVELS, axis=0).T
    share = count / (count + parameters.prior_weight)
    return np.asarray(share * own + (1 - share) * parameters.prior, dtype=np.float64)


def clip(tape: Minutes, low: int, high: int) -> Minutes:
    """The minutes of a tape in [low, high), epoch minutes; empty where they do not meet."""
    a, b = max(low - tape.first, 0), max(min(high - tape.first, len(tape.mid)), 0)
    return Minutes(tape.symbol, tape.first + a, tape.mid[a:b], tape.volume[a:b])


def at_every_step(table: Doubles) -> Doubles:
    """float64[256, columns] from float64[knots, columns], between knots in log step; step 0 has the first knot's."""
    return np.stack([np.interp(LOG_STEPS, np.log(KNOTS), column) for column in table.T], axis=1)


def _climatology(tape: Minutes, midnight: int) -> Doubles | None:
    """Quantiles of the moves of the trailing week, as they were: the baseline of CRPS."""
    first = max(midnight - WEEK - tape.first, 0)
    moves = changes(tape, np.arange(first, len(tape.mid) - STEPS, WEEK_STRIDE, dtype=np.int64), KNOTS)
    moves = moves[np.isfinite(moves).all(axis=1)]
    return np.quantile(moves, LEVELS, axis=0).T if len(moves) >= FEWEST else None


def _bias(sums: Sums, starts: Ints) -> float | None:
    """How much the log volatility of 256 minutes lay above that of the day before them, on average."""
    gap = sums.log_volatility(starts + 1, starts + STEPS) - sums.log_volatility(starts - DAY, starts)
    gap = gap[np.isfinite(gap)]
    return float(gap.mean()) if len(gap) >= FEWEST else None
