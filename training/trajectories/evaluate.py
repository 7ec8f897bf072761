"""The band and the matches on post–trajectory pairs, each figure with what it must beat; without pairs, the band on candles.

Rows are scored in time order against a library that holds only windows that had ended; rows before ``since`` are only
history. Repeated wordings are dropped and each 256-minute bin gives at most ``PER_BIN`` posts.

- ``r_at_10``: per symbol, one post per bin; share of posts whose own trajectory is among the ten whose density
  the answer raises most over the mean of all answers. ``placebo``: the same with the words of the posts exchanged (the
  market before the post stays), so model minus placebo is what the words add. ``chance``: ten out of the pool.
- ``coverage``: share of steps (the first excepted) inside the band, its miss rate adapted as live by what had closed.
- ``crps_skill``: 1 - CRPS / CRPS of the moves of the week before the day (without candles: of the symbol's past windows).
- ``volatility_skill``: 1 - squared error of log volatility / that of the last 24 hours' with its mean error taken off.
- ``words_skill``: 1 - CRPS of the band moved by a fifth of the matches' mean / the same with the words exchanged: what words
  say of direction. The answer's band is not moved.
- ``big_move_auc``: ranking of moves beyond the trailing 90th percentile of absolute end moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.candles import FLOOR
from domain.errors import InputError
from domain.types import STEPS, BandHistory, Floats, LibraryRows, MarketContext, Post
from models.manifest import ARTIFACTS
from models.trajectories.band import AT, KNOTS, LEVELS, BandParameters, exceeds, history, persistence, quantile_loss
from models.trajectories.index import realised
from models.trajectories.library import load_library
from models.trajectories.measures import DAY
from models.trajectories.retrieval import Outlook, RetrievedTrajectories, load_trajectories
from training.metrics import auc, interval
from training.registry import EvaluateOptions
from training.trajectories.band_figures import band_study
from training.trajectories.library import to_rows
from training.trajectories.pairs import (
    Pairs,
    before_posts,
    capped,
    find_tape,
    load_pairs,
    load_tapes,
    shipped_embed,
    without_repeats,
)
from training.trajectories.tape import Tape, moment
from training.trajectories.walk_forward import miss_rates, places

PER_BIN = 2
LIMIT, HISTORY = 4000, 2000
"""Most posts scored and most of history, to stay within minutes on one core; thinned by lot per bin."""
LEAN = 0.2
"""Share of the matches' mean by which ``words_skill`` moves the band, for the comparison only."""
ENOUGH = 30
"""Past windows that a percentile of past moves needs."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Posts to answer, what was known of their markets, and the truth: float64[n, 256] percent."""

    pairs: Pairs
    embeddings: Floats
    contexts: list[MarketContext | None]
    truth: Doubles

    def take(self, index: NDArray[Any]) -> Questions:
        """The questions at these positions, or under this mask."""
        positions = np.arange(len(self.pairs))[index]
        contexts = [self.contexts[i] for i in positions]
        return Questions(self.pairs.take(positions), self.embeddings[positions], contexts, self.truth[positions])

    def posts(self) -> list[Post]:
        """The posts as the model is given them, without their words."""
        p = self.pairs
        return [Post(f"asked:{i}", p.source[i], "", "", moment(p.time[i]), (p.symbol[i],)) for i in range(len(p))]


def ask(
    pairs: Pairs, embeddings: Floats, tapes: Mapping[tuple[str, str], Tape], parameters: BandParameters
) -> Questions:
    """Questions with the market context of each post as of its time, and what the days before it say of the band."""
    found = [find_tape(tapes, e, s) for e, s in zip(pairs.exchange, pairs.symbol, strict=True)]
    contexts: list[MarketContext | None] = []
    kept: dict[tuple[int, int], BandHistory] = {}
    for tape, at in zip(found, pairs.time.tolist(), strict=True):
        if tape is None:
            contexts.append(None)
            continue
        key = (id(tape), at // (60 * DAY))
        if key not in kept:
            kept[key] = history(parameters, tape.minutes, key[1] * DAY)
        contexts.append(replace(tape.context(moment(at)), history=kept[key]))
    return Questions(pairs, embeddings, contexts, pairs.change.astype(np.float64))


def run(options: EvaluateOptions) -> dict[str, Any]:
    """The figures of the shipped model on parquet files of the published columns.

    Raises:
        InputError: files are not given, or nothing is left to score.
    """
    files = options.pairs or options.data
    if not files and options.candles:
        return band_study(options.candles)
    if not files:
        raise InputError("Say which pairs to score: --pairs FILE, and --candles FILE for the minutes before them.")
    artifacts = options.artifacts or ARTIFACTS
    unique = without_repeats(load_pairs(files))
    start = options.since.timestamp() if options.since else -np.inf
    history = capped(unique.take(unique.time < start), PER_BIN, options.seed, HISTORY)
    scored = capped(unique.take(unique.time >= start), PER_BIN, options.seed, options.limit or LIMIT)
    if not len(scored):
        raise InputError("No pair is left to score; check the file and --since.")
    tapes = load_tapes(options.candles) if options.candles else {}
    model = load_trajectories(load_library(artifacts).rows, artifacts)
    embed = shipped_embed(artifacts)
    vectors = embed(list(scored.text))
    model.add(_rows(scored, vectors, tapes, "scored"))
    if len(history):
        model.add(_rows(history, embed(list(history.text)), tapes, "earlier"))
    return figures(model, ask(scored, vectors, tapes, model.parameters), options.seed)


def _rows(pairs: Pairs, vectors: Floats, tapes: Mapping[tuple[str, str], Tape], prefix: str) -> LibraryRows:
    volatility, _ = before_posts(pairs, tapes)
    filled = np.where(np.isfinite(volatility), volatility, np.maximum(realised(pairs.change), FLOOR))
    sound = np.abs(vectors).max(axis=1, initial=0) > 0
    return to_rows(pairs, vectors, filled, prefix).take(sound)


def figures(model: RetrievedTrajectories, questions: Questions, seed: int = 0) -> dict[str, Any]:
    """All figures of a model on questions, with 95 % intervals by days under ``intervals``."""
    answers = _answers(model, questions, questions.embeddings)
    answered = np.array([a is not None for a in answers], dtype=bool)
    if not answered.any():
        raise InputError("No post has a past window to match; give earlier pairs or an earlier --since.")
    asked, outlooks = questions.take(answered), [a for a in answers if a]
    times = asked.pairs.time
    parts = {
        "coverage": coverage(outlooks, asked),
        "crps_skill": _crps(model, outlooks, asked),
        "volatility_skill": _volatility(outlooks, asked),
    }
    hits, pool = _recall(outlooks, asked)
    shuffled = _answers(model, asked, asked.embeddings[_exchanged(asked.pairs.symbol, seed)])
    placebo, _ = _recall([s or o for s, o in zip(shuffled, outlooks, strict=True)], asked)
    parts["words_skill"] = _words(outlooks, [s or o for s, o in zip(shuffled, outlooks, strict=True)], asked)
    ranked = pool > 0
    intervals = {name: interval(top, bottom, times) for name, (top, bottom) in parts.items() if bottom.any()}
    if ranked.any():
        intervals["r_at_10"] = interval(hits[ranked], np.ones(int(ranked.sum())), times[ranked])
    value = {name: float(top.sum() / bottom.sum()) if bottom.any() else None for name, (top, bottom) in parts.items()}
    return {
        "n": int(answered.sum()),
        "independent_windows": len(set(asked.pairs.bins)),
        "r_at_10": {
            "model": _mean(hits[ranked]),
            "chance": _mean(np.minimum(10 / np.maximum(pool[ranked], 1), 1)),
            "placebo": _mean(placebo[ranked]),
        },
        "coverage": _rounded(value["coverage"]),
        "crps_skill": _rounded(value["crps_skill"], skill=True),
        "volatility_skill": _rounded(value["volatility_skill"], skill=True),
        "big_move_auc": _big_moves(model, outlooks, asked),
        "words_skill": _rounded(value["words_skill"], skill=True),
        "intervals": {
            name: [round(v, 5) for v in ((1 - b, 1 - a) if name.endswith("skill") else (a, b))]
            for name, (a, b) in intervals.items()
        },
    }


def _rounded(value: float | None, skill: bool = False) -> float | None:
    return None if value is None else round(1 - value if skill else value, 5)


def _mean(values: Doubles) -> float | None:
    return round(float(values.mean()), 5) if len(values) else None


def _answers(model: RetrievedTrajectories, asked: Questions, embeddings: Floats) -> list[Outlook | None]:
    return model.outlooks(asked.posts(), list(asked.pairs.symbol), embeddings, asked.contexts)


def _exchanged(symbols: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """A permutation that moves every post's words to another post of the same symbol, where there is one."""
    order = np.arange(len(symbols))
    for symbol in sorted(set(symbols)):
        members = np.random.default_rng(seed).permutation(np.flatnonzero(symbols == symbol))
        order[members] = np.roll(members, 1)
    return order


def coverage(outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """Share of steps inside each band, and ones; the bands are made anew for the miss rates that adapt as live."""
    _, market = np.unique(asked.pairs.symbol, return_inverse=True)
    tables = np.stack([o.band.quantiles[KNOTS[AT]] for o in outlooks])
    rates = miss_rates(market, asked.pairs.start // 60, places(asked.truth[:, KNOTS[AT]], tables))
    inside = []
    for outlook, rate, truth in zip(outlooks, rates, asked.truth, strict=True):
        low, high = outlook.band.edges(rate)
        inside.append(((truth >= low) & (truth <= high))[1:].mean())
    return np.array(inside), np.ones(len(outlooks))


def _volatility(outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    true = np.log(np.maximum(realised(asked.truth), FLOOR)).astype(np.float64)
    said = np.array([o.band.expected[2] for o in outlooks])
    carried = np.array([_persistence(o, c) for o, c in zip(outlooks, asked.contexts, strict=True)])
    return (said - true) ** 2, (carried - true) ** 2


def _persistence(outlook: Outlook, context: MarketContext | None) -> float:
    """Log volatility of the last 24 hours with its mean error taken off; where it is not known, of the last minutes."""
    found = persistence(context)
    return float(np.log(outlook.seen)) if found is None else found


def _words(outlooks: Sequence[Outlook], exchanged: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """CRPS of the band moved by a share of the matches' mean, and by that of exchanged words."""

    def moved(outlook: Outlook, words: Outlook, truth: Doubles) -> float:
        mean = LEAN * np.asarray(words.matches.matches_mean, dtype=np.float64)[KNOTS, None]
        return float(quantile_loss(truth[KNOTS], outlook.band.quantiles[KNOTS] + mean).mean())

    own = [moved(o, o, truth) for o, truth in zip(outlooks, asked.truth, strict=True)]
    other = [moved(o, e, truth) for o, e, truth in zip(outlooks, exchanged, asked.truth, strict=True)]
    return np.array(own), np.array(other)


def _past(model: RetrievedTrajectories, symbol: str, at: datetime) -> NDArray[np.float16] | None:
    """Moves of the symbol's windows that had ended, in steps of 30 windows so that answers can be reused."""
    shelf = model.index.shelf(symbol)
    known = shelf.known_at(at) // ENOUGH * ENOUGH if shelf else 0
    return shelf.change[:known] if shelf and known else None


def _crps(model: RetrievedTrajectories, outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """Our CRPS and the baseline's per post, over the posts whose symbol has enough past."""
    cache: dict[tuple[str, int], Doubles] = {}
    ours, theirs = np.zeros(len(outlooks)), np.zeros(len(outlooks))
    for i, (outlook, context) in enumerate(zip(outlooks, asked.contexts, strict=True)):
        base = context.history.climatology if context and context.history else None
        if base is None:
            past = _past(model, asked.pairs.symbol[i], moment(asked.pairs.time[i]))
            if past is None:
                continue
            key = (asked.pairs.symbol[i], len(past))
            if key not in cache:
                cache[key] = np.quantile(past[:, KNOTS].astype(np.float64), LEVELS, axis=0).T
            base = cache[key]
        ours[i] = quantile_loss(asked.truth[i, KNOTS], outlook.band.quantiles[KNOTS]).mean()
        theirs[i] = quantile_loss(asked.truth[i, KNOTS], base).mean()
    return ours, theirs


def _big_moves(model: RetrievedTrajectories, outlooks: Sequence[Outlook], asked: Questions) -> float | None:
    scores, labels = [], []
    for i, (outlook, context) in enumerate(zip(outlooks, asked.contexts, strict=True)):
        threshold = context.history.big_move if context and context.history else None
        if threshold is None:
            past = _past(model, asked.pairs.symbol[i], moment(asked.pairs.time[i]))
            if past is None:
                continue
            threshold = float(np.quantile(np.abs(past[:, -1].astype(np.float64)), 0.9))
        scores.append(exceeds(threshold, outlook.band.quantiles[-1]))
        labels.append(abs(asked.truth[i, -1]) > threshold)
    return auc(np.array(labels, dtype=bool), np.array(scores))


def _recall(outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """Hit (0 or 1) and pool size per post; pool 0 where a post is not ranked (not first of its bin, or pool ≤ 10)."""
    hits, pool = np.zeros(len(outlooks)), np.zeros(len(outlooks))
    knots = np.array([0, 4, 16, 64, 128, 192, STEPS - 1])
    _, first = np.unique(asked.pairs.bins, return_index=True)
    symbols = asked.pairs.symbol[first]
    for symbol in sorted(set(symbols)):
        rows = first[symbols == symbol]
        if len(rows) <= 10:
            continue
        true = np.diff(asked.truth[rows][:, knots], axis=1)
        likely = np.stack([_likelihood(outlooks[row], knots, true) for row in rows])
        lift = likely - np.logaddexp.reduce(likely, axis=0)
        own = np.diagonal(lift)[:, None]
        hits[rows], pool[rows] = (lift > own).sum(axis=1) < 10, len(rows)
    return hits, pool


def _likelihood(outlook: Outlook, knots: NDArray[np.int64], moves: Doubles) -> NDArray[np.float32]:
    """Log density of each trajectory's moves between knots (n, knots - 1) under one answer, as a Gaussian walk."""
    spread = np.maximum(np.exp(outlook.band.expected[2]) * np.sqrt(np.diff(knots)), FLOOR)
    surprise = ((moves - np.diff(outlook.band.median[knots])) / spread) ** 2
    return np.asarray(-0.5 * surprise.sum(axis=1) - np.log(spread).sum(), dtype=np.float32)
