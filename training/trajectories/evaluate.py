"""The band and the matches on post–trajectory pairs, each figure with what it must beat; without pairs, the band on candles.

Rows are scored in time order against a library that holds only windows that had ended; rows before ``since`` are only
history. Repeated wordings are dropped and each 256-minute bin gives at most ``PER_BIN`` posts.

- ``r_at_10``: per symbol, one post per bin; share of posts whose own trajectory is among the ten whose density
  the answer raises most over the mean of all answers. ``placebo``: the same with the words of the posts exchanged; since
  words do not bend the band it is the same figure. ``chance``: ten out of the pool.
- ``coverage``: share of steps (the first excepted) inside the band, its miss rate adapted as live by what had closed.
- ``crps_skill``: 1 - CRPS / CRPS of the moves of the week before the day (without candles: of the symbol's past windows).
- ``volatility_skill``: 1 - squared error of log volatility / that of the last 24 hours' with its mean error taken off.
- ``words_skill``: 1 - CRPS of the band moved by a fifth of the matches' mean / the same with the words exchanged: what words
  say of direction. The answer's band is not moved.
- ``return_skill``: 1 - absolute error of a fifth of the matches' mean end / that of no change; ``direction``: its sign.
- ``big_move_auc``: ranking of moves beyond the trailing 90th percentile of absolute end moves.
- ``recall``: the matchers themselves, both ways (:func:`training.trajectories.recall.of_matchers`).
- ``loss_over_ln_b``: contrastive loss of the answers over ln B; 1 where they no longer tell one window from another.
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
from domain.types import BandHistory, Floats, LibraryRows, MarketContext, Post
from models.manifest import ARTIFACTS
from models.trajectories.band import AT, KNOTS, LEVELS, BandParameters, exceeds, history, persistence, quantile_loss
from models.trajectories.index import realised
from models.trajectories.library import load_library
from models.trajectories.measures import DAY
from models.trajectories.retrieval import Outlook, RetrievedTrajectories, load_trajectories
from training.metrics import auc, interval
from training.registry import EvaluateOptions
from training.trajectories import recall
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
        return band_study(options.candles, challengers=options.challengers)
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
    shuffled = _answers(model, asked, asked.embeddings[_exchanged(asked.pairs.symbol, seed)])
    twin = [s or o for s, o in zip(shuffled, outlooks, strict=True)]
    parts = {
        "coverage": coverage(outlooks, asked),
        "crps_skill": _crps(model, outlooks, asked),
        "volatility_skill": _volatility(outlooks, asked),
        "words_skill": _words(outlooks, twin, asked),
        "return_skill": _returns(outlooks, asked),
    }
    intervals = {name: interval(*part, asked.pairs.time) for name, part in parts.items() if part[1].any()}
    value = {name: _ratio(name, *part) for name, part in parts.items()}
    found = {
        "n": int(answered.sum()),
        "independent_windows": len(set(asked.pairs.bins)),
        "r_at_10": _recall(outlooks, twin, asked, intervals),
        "big_move_auc": _big_moves(model, outlooks, asked),
        "coverage_by_quarter": _by_quarter(parts["coverage"][0], asked.pairs.time),
        "direction": _direction(outlooks, twin, asked),
        "recall": recall.of_matchers(model, outlooks, twin, asked, seed),
        "loss_over_ln_b": recall.contrast(outlooks, asked, seed),
    }
    ends = {name: (1 - b, 1 - a) if name.endswith("skill") else (a, b) for name, (a, b) in intervals.items()}
    return {**found, **value, "intervals": {name: [round(v, 5) for v in pair] for name, pair in ends.items()}}


def _ratio(name: str, top: Doubles, bottom: Doubles) -> float | None:
    """The figure itself, a skill as what it lacks of one; None where nothing could be compared."""
    if not bottom.any():
        return None
    ratio = float(top.sum() / bottom.sum())
    return round(1 - ratio if name.endswith("skill") else ratio, 5)


def _recall(
    outlooks: Sequence[Outlook], twin: Sequence[Outlook], asked: Questions, intervals: dict[str, tuple[float, float]]
) -> dict[str, float | None]:
    """R@10 of whole answers, whose band is the market's: so their twin's is the same."""
    (hits, pool), (placebo, _) = recall.of_answers(outlooks, asked), recall.of_answers(twin, asked)
    ranked = pool > 0
    if ranked.any():
        intervals["r_at_10"] = interval(hits[ranked], np.ones(int(ranked.sum())), asked.pairs.time[ranked])
    chances = np.minimum(10 / np.maximum(pool[ranked], 1), 1)
    return {"model": _mean(hits[ranked]), "chance": _mean(chances), "placebo": _mean(placebo[ranked])}


def _by_quarter(inside: Doubles, times: NDArray[np.int64]) -> dict[str, float]:
    """Mean coverage by quarter of a year."""
    quarter = times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) // 3
    return {f"{1970 + q // 4}-Q{q % 4 + 1}": round(float(inside[quarter == q].mean()), 5) for q in np.unique(quarter)}


def _returns(outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """Absolute error at the end of a share of the matches' mean, and of no change."""
    ends = recall.LEAN * np.array([o.matches.matches_mean[-1] for o in outlooks], dtype=np.float64)
    return np.abs(asked.truth[:, -1] - ends), np.abs(asked.truth[:, -1])


def _direction(outlooks: Sequence[Outlook], twin: Sequence[Outlook], asked: Questions) -> dict[str, Any]:
    """Share of ends whose sign the matches' mean had, beside that of exchanged words and of the commoner sign."""
    true = np.sign(asked.truth[:, -1])
    own, other = (
        (1 + true * np.sign([o.matches.matches_mean[-1] for o in some]).astype(np.float64)) / 2
        for some in (outlooks, twin)
    )
    low, high = interval(own - other, np.ones(len(own)), asked.pairs.time)
    majority = max(float(((1 + true) / 2).mean()), float(((1 - true) / 2).mean()))
    return {
        "model": _mean(own), "placebo": _mean(other), "majority": round(majority, 5),
        "gain": _mean(own - other), "interval": [round(low, 5), round(high, 5)],
    }  # fmt: skip


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
        mean = recall.LEAN * np.asarray(words.matches.matches_mean, dtype=np.float64)[KNOTS, None]
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
