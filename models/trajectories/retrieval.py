"""Trajectories by retrieval: posts with near words and what the price did after them, beside a band that the words do not bend.

The words choose the matches, which are evidence to look at; the band comes from the size of recent moves alone
(:mod:`models.trajectories.band`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.answer import Coverage, Trajectories
from domain.candles import FLOOR, volatility_before
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import STEPS, Floats, LibraryRows, MarketContext, Post, to_micros
from models import checkpoint
from models.manifest import ARTIFACTS
from models.parts import Matched
from models.trajectories.band import KNOTS, LEVELS, BandForecast, BandParameters, forecast
from models.trajectories.index import Control, Hit, SeriesIndex, Shelf
from models.trajectories.measures import NAMES

FOLDER = "trajectories"
K = 10
COVERAGE = 0.8
RECENT = 50
"""Ended windows of a symbol whose median volatility is its usual one."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What retrieval finds for one query. ``mean``: float64[256], of the matches; ``usual``: the pair's usual volatility.

    ``control``: float32[256], of random ended windows of the symbol, one of each match's hour and volatility; None where
    it has no others.
    """

    hits: tuple[Hit, ...]
    mean: Doubles
    baseline: Floats
    control: Floats | None
    usual: float
    warnings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """An answer with the predictive distribution behind it.

    ``seen``: volatility before the post, percent per minute. ``vectors``: (k, d), of the matched posts' words.
    """

    matches: Trajectories
    warnings: tuple[Reason, ...]
    band: BandForecast
    seen: float
    vectors: Floats


class RetrievedTrajectories:
    """Implements :class:`models.parts.TrajectoryModel` over an in-process library that grows by :meth:`add`."""

    def __init__(
        self,
        parameters: BandParameters,
        rows: LibraryRows | None = None,
        device: str = "cpu",
        control: Control | None = None,
    ) -> None:
        self.parameters = parameters
        self._control = control or Control()
        self.index = SeriesIndex(rows, device)

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
        return [Matched(o.matches, o.warnings, o.vectors) if o else None for o in outlooks]

    def outlooks(
        self,
        posts: Sequence[Post],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[Outlook | None]:
        """As :meth:`match`, with the whole predictive distribution."""
        views = self.views([p.posted_at for p in posts], [p.id for p in posts], symbols, embeddings, contexts)
        asked = zip(views, symbols, contexts, strict=True)
        return [None if view is None else self._outlook(view, symbol, context) for view, symbol, context in asked]

    def views(
        self,
        moments: Sequence[datetime],
        ids: Sequence[str],
        symbols: Sequence[str],
        embeddings: Floats,
        contexts: Sequence[MarketContext | None],
    ) -> list[View | None]:
        """What retrieval finds, before the band."""
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
        shelves = [self.index.shelf(h.symbol) for h in hits]
        rows = [(s, h.row) for s, h in zip(shelves, hits, strict=True) if s is not None]
        changes = np.stack([s.change[i] for s, i in rows]).astype(np.float64)
        before = np.maximum([float(s.before[i]) for s, i in rows], FLOOR)
        if not known:
            warnings.append(Reason("no_window", {"symbol": symbol}))
            changes *= np.clip((seen or usual) / before, 0.1, 10.0)[:, None]
        own = self.index.shelf(symbol)
        baseline = own.mean_change(known) if own and known else np.zeros(STEPS, np.float32)
        control = _beside(own, known, hits, post_id, self._control) if own and known else None
        return View(hits, changes.mean(axis=0), baseline, control, seen or usual, tuple(warnings))

    def _outlook(self, view: View, symbol: str, context: MarketContext | None) -> Outlook:
        band = forecast(self.parameters, context, view.usual)
        standing = context.standing if context else None
        low, high = band.edges(standing.miss) if standing else band.edges()
        known = self.index.shelf(symbol) is not None
        matches = Trajectories(
            symbol=symbol,
            median=band.median.astype(np.float32),
            low=low.astype(np.float32),
            high=high.astype(np.float32),
            coverage=Coverage(COVERAGE, standing.inside, standing.n) if standing else Coverage(COVERAGE),
            baseline_mean=view.baseline,
            signal=False,
            reason=Reason("signal_untested"),
            independent_windows=len(view.hits),
            matches=tuple(self.index.match(h) for h in view.hits),
            matches_mean=view.mean.astype(np.float32),
            control_mean=view.control,
        )
        warnings = (*view.warnings, *_width(symbol, band.widened, known))
        return Outlook(matches, warnings, band, view.usual, self.index.vectors(view.hits))


def _beside(own: Shelf, known: int, hits: Sequence[Hit], post_id: str, like: Control) -> Floats | None:
    """Mean trajectory of the matches' controls, float32[256]."""
    rows = own.control(known, [hit.row for hit in hits], post_id, like)
    return np.asarray(own.change[rows].astype(np.float64).mean(axis=0), dtype=np.float32) if len(rows) else None


def _width(symbol: str, widened: str, known: bool) -> list[Reason]:
    """Why a band is wider than the market's past alone would have it."""
    code = {"blind": "width_of_symbol" if known else "width_of_all", "stale": "stale_tape", "gapped": "gapped_tape"}
    return [Reason(code[widened], {"symbol": symbol})] if widened else []


def _without_words(view: View) -> View:
    return replace(view, warnings=(*view.warnings, Reason("newest_windows")))


def save_parameters(folder: Path, parameters: BandParameters, config: dict[str, Any], card: str) -> None:
    """Write a checkpoint: numbers as weights, the prior's weight and what the caller adds as config."""
    arrays = {name: np.ascontiguousarray(getattr(parameters, name)) for name in ("weights", "prior")}
    checkpoint.save(
        folder, {"prior_weight": parameters.prior_weight, "control": asdict(Control()), **config}, arrays, card
    )


def load_trajectories(
    rows: LibraryRows | None = None, artifacts: Path = ARTIFACTS, device: str = "cpu"
) -> RetrievedTrajectories:
    """The shipped model over a library (later grown by ``add``).

    Raises:
        WeightsError: its files are missing, altered or unreadable, or of another version of moodtape.
    """
    config, arrays = checkpoint.load_arrays(artifacts / FOLDER)
    try:
        parameters = BandParameters(arrays["weights"], arrays["prior"], float(config["prior_weight"]))
        control = Control(**config.get("control", {}))
        if parameters.weights.shape != (3, len(NAMES)) or parameters.prior.shape != (len(KNOTS), len(LEVELS)):
            raise ValueError("numbers of another shape")
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"The trajectory model does not fit this program ({error}); install moodtape again."
        ) from None
    return RetrievedTrajectories(parameters, rows, device, control)
