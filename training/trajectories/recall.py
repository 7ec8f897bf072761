"""Recall of the right partner both ways, beside chance and placebos, and the alarm that notices a collapse.

:func:`both_ways` is of trained arms, :func:`of_matchers` of the plain matchers that ship: near words and near shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.candles import FLOOR
from domain.errors import InputError
from domain.types import STEPS, Floats, to_micros
from models.trajectories.index import MICROS_PER_WINDOW, Shelf, realised
from models.trajectories.retrieval import K, Outlook, RetrievedTrajectories
from training.metrics import interval
from training.trajectories.tape import moment

if TYPE_CHECKING:
    from training.trajectories.evaluate import Questions

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

KS = (1, 5, 10)
BATCH = 32
"""Partners among which a contrastive loss looks for the right one: B of ln B."""
SCALES: Doubles = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
"""Inverse temperatures of that loss."""
LEAN = 0.2
"""Share of the matches' mean that counts as what they say of direction."""
NEAREST = 64
"""Nearest shapes among which as many as an answer has matches are taken, each of its own 256 minutes."""
PATH: NDArray[np.int64] = np.array([0, 4, 16, 64, 128, 192, STEPS - 1], dtype=np.int64)
"""Steps between which moves are compared."""


class Collapsed(InputError):
    """A training that has found a trivial solution; other settings are needed."""

    code = "collapsed"


def ranks(queries: Tensor, pool: Tensor) -> NDArray[np.int64]:
    """Place (from 1) of each query's own row of the pool by dot product; ties count half of those before and behind."""
    return placed((queries @ pool.T).numpy())


def placed(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Place (from 1) of each row's own column, the diagonal, among its scores (n, n); ties count half."""
    own = np.diagonal(scores)[:, None]
    above, level = (scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1
    return np.asarray(1 + above + level // 2, dtype=np.int64)


def figures(places: NDArray[np.int64]) -> dict[str, float]:
    """R@1, R@5, R@10, median rank and mean reciprocal rank."""
    found = {f"r_at_{k}": round(float((places <= k).mean()), 5) for k in KS}
    return found | {"median_rank": float(np.median(places)), "mrr": round(float((1 / places).mean()), 5)}


def chance(pool: int) -> dict[str, float]:
    """What guessing gives in a pool of that size."""
    found = {f"r_at_{k}": round(min(k / pool, 1.0), 5) for k in KS}
    harmonic = float(np.sum(1 / np.arange(1, pool + 1)))
    return found | {"median_rank": (pool + 1) / 2, "mrr": round(harmonic / pool, 5)}


def shuffled(symbols: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """For each row another row of the same symbol, by lot: words of any time."""
    order = np.arange(len(symbols))
    for symbol in sorted(set(symbols.tolist())):
        members = np.random.default_rng(seed).permutation(np.flatnonzero(symbols == symbol))
        order[members] = np.roll(members, 1)
    return order


def neighbours(symbols: NDArray[Any], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the next one in time of the same symbol: words of the same days, which know the market but not the case."""
    order = np.arange(len(symbols))
    for symbol in sorted(set(symbols.tolist())):
        members = np.flatnonzero(symbols == symbol)
        members = members[np.argsort(times[members], kind="stable")]
        order[members] = np.roll(members, -1)
    return order


def both_ways(
    texts: Tensor, series: Tensor, symbols: NDArray[Any], times: NDArray[np.int64], seed: int = 0
) -> dict[str, Any]:
    """All figures in both directions; ``gain`` is R@10 over that of the placebo by time, with a 95 % interval by days."""
    near, far = neighbours(symbols, times), shuffled(symbols, seed)
    found: dict[str, Any] = {"n": len(texts), "chance": chance(len(texts))}
    for name, flip in (("text_to_series", False), ("series_to_text", True)):
        own = ranks(series, texts) if flip else ranks(texts, series)
        placebo = ranks(series, texts[near]) if flip else ranks(texts[near], series)
        words = ranks(series, texts[far]) if flip else ranks(texts[far], series)
        top = (own <= 10).astype(np.float64) - (placebo <= 10)
        low, high = interval(top, np.ones(len(top)), times)
        found[name] = {
            "model": figures(own), "placebo_by_time": figures(placebo), "shuffled": figures(words),
            "gain": round(float(top.mean()), 5), "gain_interval": [round(low, 5), round(high, 5)],
        }  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class Health:
    """What tells a collapse: ``loss`` over ln n, mean cosine of different rows on either side, largest share of one nearest."""

    loss_over_ln: float
    likeness: float
    hubness: float
    r_at_10: float
    chance: float

    @property
    def reasons(self) -> list[str]:
        """Why this is a collapse; empty where it is none."""
        found = []
        if self.likeness > 0.99:
            found.append(f"embeddings are all alike (mean cosine {self.likeness:.3f})")
        if self.hubness > 0.5:
            found.append(f"one row is nearest to {self.hubness:.0%} of the others")
        if found and abs(self.loss_over_ln - 1) < 0.02:
            found.append("the loss stands at ln B")
        if found and abs(self.loss_over_ln - 0.5) < 0.02:
            found.append("the loss stands at ½ ln B")
        if found and self.r_at_10 <= 1.25 * self.chance:
            found.append(f"R@10 is at chance ({self.r_at_10:.3f} of {self.chance:.3f})")
        return found


def health(texts: Tensor, series: Tensor, loss: float, batch: int) -> Health:
    """The state of embeddings (n, d) whose loss on batches of that size is ``loss``."""
    likeness = 0.0
    for side in (texts, series):
        unit = torch.nn.functional.normalize(side, dim=1)
        total, count = unit.sum(0).square().sum(), len(unit)
        likeness = max(likeness, float((total - count) / (count * (count - 1))))
    scores = texts @ series.T
    nearest = [scores.argmax(1), scores.argmax(0)]
    hub = max(float(n.bincount(minlength=len(texts)).max()) / len(texts) for n in nearest)
    places = ranks(texts, series)
    return Health(loss / math.log(batch), likeness, hub, float((places <= 10).mean()), min(10 / len(texts), 1.0))


def alarm(states: Sequence[Health]) -> None:
    """Stop a run that has collapsed and stays so: a network that has hardly begun looks like a collapse once.

    Raises:
        Collapsed: at each of the last two evaluations two signs at least stand together; the message says which.
    """
    if len(states) >= 2 and all(len(state.reasons) >= 2 for state in states[-2:]):
        raise Collapsed(
            f"The training has collapsed: {'; '.join(states[-1].reasons)}. "
            "Use normalised embeddings with InfoNCE or SigLIP, or lower rates."
        )


def pools_of(asked: Questions) -> list[Ints]:
    """Of each symbol with more than ten of them the rows that stand for its 256-minute bins, the first post of each."""
    _, first = np.unique(asked.pairs.bins, return_index=True)
    symbols = asked.pairs.symbol[first]
    pools = [np.sort(first[symbols == symbol]) for symbol in sorted(set(symbols))]
    return [rows for rows in pools if len(rows) > max(KS)]


def lift(outlooks: Sequence[Outlook], asked: Questions, rows: Ints) -> Doubles:
    """(answers, trajectories): how much more likely each answer makes each trajectory than the mean of all answers does."""
    true = np.diff(asked.truth[rows][:, PATH], axis=1)
    answers = [outlooks[row] for row in rows]
    means = np.stack([np.diff(answer.band.median[PATH]) for answer in answers])
    return _lift(true, means, np.exp([answer.band.expected[2] for answer in answers]))


def of_answers(outlooks: Sequence[Outlook], asked: Questions) -> tuple[Doubles, Doubles]:
    """Hit (own trajectory among the ten lifted most; 0 or 1) and pool size by post; pool 0 where a post is not ranked."""
    hits, pool = np.zeros(len(outlooks)), np.zeros(len(outlooks))
    for rows in pools_of(asked):
        hits[rows], pool[rows] = placed(lift(outlooks, asked, rows)) <= 10, len(rows)
    return hits, pool


def contrast(outlooks: Sequence[Outlook], asked: Questions, seed: int) -> float | None:
    """Contrastive loss of the answers over ln B, in batches of up to 32 windows of a symbol; 1 where all are alike.

    As in training the log densities are divided by a temperature, here the best of a few: answers that are too sure of
    themselves still tell one window from another.
    """
    lost, most = np.zeros(len(SCALES)), 0.0
    for rows in pools_of(asked):
        order = np.random.default_rng(seed).permutation(rows)
        for part in np.array_split(order, math.ceil(len(order) / BATCH)):
            scores = SCALES[:, None, None] * lift(outlooks, asked, part)
            lost += (np.logaddexp.reduce(scores, axis=1) - np.diagonal(scores, axis1=1, axis2=2)).sum(axis=1)
            most += len(part) * math.log(len(part))
    return round(float(lost.min()) / most, 5) if most else None


def of_matchers(
    model: RetrievedTrajectories, own: Sequence[Outlook], twin: Sequence[Outlook], asked: Questions, seed: int
) -> dict[str, Any]:
    """R@1, 5 and 10 of near words and near shape beside chance and their twin with exchanged words; None without pools.

    ``text_to_series``: a post ranks the trajectories by how its matches moved (``twin``: those of another post's words at
    the post's moment). ``series_to_text``: a trajectory ranks the posts by the words before the past shapes nearest to it
    (twin: words exchanged among the library's windows). ``gain``: R@10 over the twin's, with an interval by days.
    """
    pools = pools_of(asked)
    if not pools:
        return {"text_to_series": None, "series_to_text": None}
    words = [[placed(_by_words(some, asked, rows)) for rows in pools] for some in (own, twin)]
    shapes = [_by_shape(model, asked, rows, seed) for rows in pools]
    shaped = [[pair[n] for pair in shapes] for n in (0, 1)]
    sizes = np.concatenate([np.full(len(rows), len(rows)) for rows in pools])
    times = asked.pairs.time[np.concatenate(pools)]
    return {
        "text_to_series": _beside(np.concatenate(words[0]), np.concatenate(words[1]), sizes, times),
        "series_to_text": _beside(np.concatenate(shaped[0]), np.concatenate(shaped[1]), sizes, times),
    }


def _beside(own: Ints, twin: Ints, sizes: Ints, times: Ints) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(own)}
    for k in KS:
        chances = np.minimum(k / sizes, 1.0)
        shares = {"model": own <= k, "chance": chances, "placebo": twin <= k}
        found[f"r_at_{k}"] = {name: round(float(np.mean(values)), 5) for name, values in shares.items()}
    gain = (own <= max(KS)).astype(np.float64) - (twin <= max(KS))
    low, high = interval(gain, np.ones(len(gain)), times)
    return found | {"gain": round(float(gain.mean()), 5), "interval": [round(low, 5), round(high, 5)]}


def _by_words(outlooks: Sequence[Outlook], asked: Questions, rows: Ints) -> Doubles:
    """(posts, trajectories): how much the moves after the matches lift each trajectory."""
    paths = [np.stack([m.change for m in outlooks[row].matches.matches]).astype(np.float64) for row in rows]
    means = np.stack([LEAN * np.diff(path.mean(axis=0)[PATH]) for path in paths])
    sizes = np.array([np.exp(np.log(np.maximum(realised(path), FLOOR)).mean()) for path in paths])
    return _lift(np.diff(asked.truth[rows][:, PATH], axis=1), means, sizes)


def _lift(true: Doubles, means: Doubles, sizes: Doubles) -> Doubles:
    """Log densities of moves (n, k) under Gaussian walks (n, k) of volatilities (n,), less the log of their sum over walks."""
    spread = np.maximum(sizes[:, None] * np.sqrt(np.diff(PATH)), FLOOR)
    surprise = ((true[None] - means[:, None]) / spread[:, None]) ** 2
    likely = -0.5 * surprise.sum(axis=2) - np.log(spread).sum(axis=1)[:, None]
    return np.asarray(likely - np.logaddexp.reduce(likely, axis=0), dtype=np.float64)


def _by_shape(model: RetrievedTrajectories, asked: Questions, rows: Ints, seed: int) -> tuple[Ints, Ints]:
    """Places of the trajectories' own posts, and those of the twin whose library has its words exchanged."""
    shelf = model.index.shelf(asked.pairs.symbol[rows[0]])
    own = _unit(asked.embeddings[rows])
    if shelf is None:
        return placed(np.zeros((len(rows), len(rows)))), placed(np.zeros((len(rows), len(rows))))
    other = np.random.default_rng(seed).permutation(len(shelf.vectors))
    shapes, paths = _unit(shelf.change.astype(np.float32)), _unit(asked.truth[rows].astype(np.float32))
    found = np.zeros((2, len(rows), own.shape[1]))
    for n, (row, path) in enumerate(zip(rows, paths, strict=True)):
        near = _nearest(shelf, shapes, path, shelf.known(to_micros(moment(asked.pairs.time[row]))))
        if len(near):
            found[:, n] = shelf.vectors[near].mean(axis=0), shelf.vectors[other[near]].mean(axis=0)
    scores = found @ own.T
    real, twin = scores - scores.mean(axis=1, keepdims=True)
    return placed(real), placed(twin)


def _nearest(shelf: Shelf, shapes: Floats, path: Floats, known: int) -> Ints:
    """Rows of the known windows whose shape is nearest by cosine, one of each 256 minutes."""
    near = np.argsort(-(shapes[:known] @ path), kind="stable")[:NEAREST]
    _, first = np.unique(shelf.posted_at[near] // MICROS_PER_WINDOW, return_index=True)
    return near[np.sort(first)][:K]


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)
