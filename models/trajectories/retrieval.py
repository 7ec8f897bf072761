"""Trajectories by retrieval: posts with near words, what the price did after them, and a calibrated band.

The words choose the matches; the width of the band comes from volatility: a small regression on what was seen before the
post gives the expected 1-minute volatility, the square root of time carries it on, and conformal quantiles of
past residuals set the width so that the stated coverage holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.answer import Coverage, Trajectories
from domain.candles import FLOOR, volatility_before
from domain.errors import WeightsError
from domain.library import LibraryRows, to_micros
from domain.reasons import Reason
from domain.types import STEPS, Floats, MarketContext, Post
from models import checkpoint
from models.manifest import ARTIFACTS
from models.parts import Matched
from models.trajectories.index import Hit, SeriesIndex

FOLDER = "trajectories"
K = 10
COVERAGE = 0.8
RECENT = 50
"""Ended windows of a symbol whose median volatility is its usual one."""
ROOT = np.sqrt(np.arange(STEPS, dtype=np.float64))

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What training fits.

    ``volatility``: float64[10], weights of :func:`features`; ``shrink``: share of the matches' mean in the band's centre;
    ``quantiles``: (knots, levels) of (change - centre) / (volatility · √step) at the ``steps`` knots.
    """

    volatility: Doubles
    shrink: float
    steps: NDArray[np.int64]
    levels: Doubles
    quantiles: Doubles


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is known of one query before any fitted number is applied. ``mean``: float64[256], of the matches.

    ``control``: float32[256], of as many random ended windows of the symbol; None where it has none.
    """

    hits: tuple[Hit, ...]
    mean: Doubles
    baseline: Floats
    control: Floats | None
    features: Doubles
    seen: float
    warnings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """The predictive distribution behind an answer: quantile q of step s is ``centre + scale · table[s, q]``.

    ``volatility`` is the expected one after the post, ``seen`` the one before it (or the usual one), percent per minute.
    """

    matches: Trajectories
    warnings: tuple[Reason, ...]
    centre: Doubles
    scale: Doubles
    volatility: float
    seen: float


class RetrievedTrajectories:
    """Implements :class:`models.parts.TrajectoryModel` over an in-process library that grows by :meth:`add`."""

    def __init__(self, parameters: Parameters, rows: LibraryRows | None = None, device: str = "cpu") -> None:
        self.parameters = parameters
        self.index = SeriesIndex(rows, device)
        self._edges = self.levels_at(np.array([(1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2]))

    def levels_at(self, levels: Doubles) -> Doubles:
        """(256, levels): the fitted quantiles of (change - centre) / scale at every step, between knots in log step."""
        p = self.parameters
        wanted = np.stack([np.interp(levels, p.levels, row) for row in p.quantiles])
        at, knots = np.log(np.maximum(np.arange(STEPS), 1)), np.log(np.maximum(p.steps, 1))
        return np.stack([np.interp(at, knots, column) for column in wanted.T], axis=1)

    def add(self, rows: LibraryRows) -> int:
        """Take completed windows into the library; returns how many were new."""
        return self.index.add(rows)

    def match(
        self,
        posts: Sequence[Post],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[Matched | None]:
        """Matched trajectories and their band; None while no window of any symbol had ended before the post."""
        outlooks = self.outlooks(posts, symbols, embeddings, contexts)
        return [Matched(o.matches, o.warnings) if o else None for o in outlooks]

    def outlooks(
        self,
        posts: Sequence[Post],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[Outlook | None]:
        """As :meth:`match`, with the whole predictive distribution."""
        views = self.views([p.posted_at for p in posts], [p.id for p in posts], symbols, embeddings, contexts)
        return [None if view is None else self._outlook(view, s) for view, s in zip(views, symbols, strict=True)]

    def views(
        self,
        moments: Sequence[datetime],
        ids: Sequence[str],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[View | None]:
        """What retrieval and the market say, before fitted numbers; used to fit them."""
        known = [self._known(s, m) for s, m in zip(symbols, moments, strict=True)]
        asked = [s if n else None for s, n in zip(symbols, known, strict=True)]
        found = self.index.search(embeddings, asked, moments, ids, K)
        views = [
            self._view(ids[i], symbols[i], moments[i], known[i], tuple(found[i]), contexts[i]) if found[i] else None
            for i in range(len(ids))
        ]
        wordless = np.abs(embeddings).sum(axis=1) == 0
        return [_without_words(view) if view and wordless[i] else view for i, view in enumerate(views)]

    def _known(self, symbol: str, moment: datetime) -> int:
        shelf = self.index.shelf(symbol)
        return shelf.known(to_micros(moment)) if shelf else 0

    def _usual(self, symbol: str, moment: datetime) -> float:
        """Median realised volatility of the last ended windows of a symbol, or of every symbol where it has none."""
        own = self.index.shelf(symbol)
        shelves = [own] if own and own.known(to_micros(moment)) else map(self.index.shelf, self.index.symbols)
        recent = [s.after[max(0, n - RECENT) : n] for s in shelves if s and (n := s.known(to_micros(moment)))]
        return max(float(np.median(np.concatenate(recent))), FLOOR)

    def _view(
        self,
        post_id: str,
        symbol: str,
        moment: datetime,
        known: int,
        hits: tuple[Hit, ...],
        context: MarketContext | None,
    ) -> View:
        warnings = []
        seen = volatility_before(context.mid) if context is not None else None
        usual = self._usual(symbol, moment) if known or seen is None else seen
        if seen is None:
            warnings.append(Reason("width_of_symbol" if known else "width_of_all", {"symbol": symbol}))
        shelves = [self.index.shelf(h.symbol) for h in hits]
        rows = [(s, h.row) for s, h in zip(shelves, hits, strict=True) if s is not None]
        changes = np.stack([s.change[i] for s, i in rows]).astype(np.float64)
        before = np.maximum([float(s.before[i]) for s, i in rows], FLOOR)
        after = np.maximum([float(s.after[i]) for s, i in rows], FLOOR)
        if not known:
            warnings.append(Reason("no_window", {"symbol": symbol}))
            changes *= np.clip((seen or usual) / before, 0.1, 10.0)[:, None]
        own = self.index.shelf(symbol)
        baseline = own.mean_change(known) if own and known else np.zeros(STEPS, np.float32)
        control = own.control(known, len(hits), post_id) if own and known else None
        stirred = float(np.mean(np.log(after / before)))
        lately = volatility_before(context.mid[-65:]) if context is not None and seen else None
        now = features(seen or usual, usual, stirred, np.log(lately / seen) if lately and seen else 0.0, moment)
        return View(hits, changes.mean(axis=0), baseline, control, now, seen or usual, tuple(warnings))

    def _outlook(self, view: View, symbol: str) -> Outlook:
        p = self.parameters
        volatility = float(np.exp(view.features @ p.volatility))
        centre, scale = p.shrink * view.mean, volatility * ROOT
        low, median, high = ((centre + scale * edge).astype(np.float32) for edge in self._edges.T)
        matches = Trajectories(
            symbol=symbol,
            median=median,
            low=low,
            high=high,
            coverage=Coverage(COVERAGE),
            baseline_mean=view.baseline,
            signal=False,
            reason=Reason("signal_untested"),
            independent_windows=len(view.hits),
            matches=tuple(self.index.match(h) for h in view.hits),
            matches_mean=view.mean.astype(np.float32),
            control_mean=view.control,
        )
        return Outlook(matches, view.warnings, centre, scale, volatility, view.seen)


def _without_words(view: View) -> View:
    return replace(view, warnings=(*view.warnings, Reason("newest_windows")))


def features(seen: float, usual: float, stirred: float, lately: float, moment: datetime) -> Doubles:
    """float64[10], what the volatility regression sees.

    1, log volatility before the post, log usual volatility, log of what the matched windows did to theirs, log share of the
    last hour's volatility, two harmonics of the hour of day, and whether it is a weekend (all UTC).
    """
    angle = 2 * np.pi * (moment.hour + moment.minute / 60) / 24
    clock = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), float(moment.weekday() >= 5)]
    return np.array([1.0, np.log(seen), np.log(usual), stirred, lately, *clock])


def save_parameters(folder: Path, parameters: Parameters, config: dict[str, Any], card: str) -> None:
    """Write a checkpoint: numbers as weights, the shrinkage and what the caller adds as config."""
    arrays = {name: getattr(parameters, name) for name in ("volatility", "steps", "levels", "quantiles")}
    checkpoint.save(folder, {"shrink": parameters.shrink, **config}, arrays, card)


def load_trajectories(
    rows: LibraryRows | None = None, artifacts: Path = ARTIFACTS, device: str = "cpu"
) -> RetrievedTrajectories:
    """The shipped model over a library (later grown by ``add``).

    Raises:
        WeightsError: its files are missing, altered or unreadable, or of another version of moodtape.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        parameters = Parameters(shrink=float(config["shrink"]), **arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"The trajectory model does not fit this program ({error}); install moodtape again."
        ) from None
    return RetrievedTrajectories(parameters, rows, device)
