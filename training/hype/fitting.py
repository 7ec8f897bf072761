"""Fit one hype model of any kind: logistic regression, boosted trees, a blend of such, an LSTM or a Transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from models.hype.boosting import Boosting
from models.hype.forecast import Blend, Model
from models.hype.logistic import MOST, Logistic

Doubles = NDArray[np.float64]
KINDS = ("logistic", "boosting", "lines", "blend", "lstm", "transformer")
"""Lines: the blend without trees, which is fitted in a moment."""
NETWORKS = ("lstm", "transformer")
STEPS = 96
"""Windows (a day) that a sequence model looks at."""
FAR = 2.5
"""How far over or under the threshold (log) an outcome counts for models of how hot."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Sizes of a fit.

    ``strength``: of the L2 penalty (linear models). ``rounds``, ``leaves``, ``least``, ``step``: trees, leaves of each, rows a
    leaf and learning rate (boosting). ``epochs``, ``rate``, ``batch``: of a network. ``most``: rows at most, every n-th one
    taken. ``seeds``: how many models are averaged.
    """

    strength: float = 20.0
    rounds: int = 200
    leaves: int = 15
    least: int = 200
    step: float = 0.06
    epochs: int = 3
    rate: float = 1e-3
    batch: int = 256
    most: int = 120_000
    seeds: int = 1


def fit(
    kind: str,
    features: Doubles,
    sequence: Doubles,
    excess: NDArray[Any],
    options: FitOptions,
    seed: int = 0,
    weights: Doubles | None = None,
) -> Model:
    """A model fitted to these rows alone; ``weights`` of the rows are heard by all but the networks.

    ``excess``: log of the activity over the threshold, hot where above 0; or just whether it was hot.

    Raises:
        InputError: the kind is unknown, or the rows hold one outcome only.
    """
    if kind not in KINDS:
        raise InputError(f"There is no hype model called {kind}; there are: {', '.join(KINDS)}.")
    hot = np.asarray(excess > 0)
    if len(set(hot.tolist())) < 2:
        raise InputError("The rows to fit on hold only one outcome.")
    every = max(1, -(-len(hot) // options.most))
    chosen = slice(seed % every, None, every)
    if kind in NETWORKS:
        return _network(kind, sequence[chosen], hot[chosen], options, seed)
    own = None if weights is None else weights[chosen]
    if kind in ("lines", "blend"):
        return _blend(features[chosen], excess[chosen].astype(np.float64), options, seed, own, trees=kind == "blend")
    one = _logistic if kind == "logistic" else _boosting
    return one(features[chosen], hot[chosen], options, seed, own)


def standard(features: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and deviation of each column without its unknown values; 0 and 1 where nothing is known or nothing varies."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, features, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-9, spread, 1.0)


def _blend(
    features: Doubles, excess: Doubles, options: FitOptions, seed: int, weights: Doubles | None, *, trees: bool
) -> Blend:
    """Linear models, and trees where asked for, of hot or not, and of the excess itself, each of one deviation on these rows.

    Their mean is a logit on these very rows (Platt, 1999); on others it wants a calibration of its own.
    """
    hot, far = excess > 0, np.clip(excess, -FAR, FAR)
    made: dict[str, Logistic | Boosting] = {
        "logistic": _logistic(features, hot, options, seed, weights),
        "ridge": _logistic(features, far, options, seed, weights),
    }
    if trees:
        made["trees"] = _boosting(features, hot, options, seed, weights)
        made["far"] = _boosting(features, far, options, seed, weights)
    made = {name: _scaled(model, *_unit(model.logit(features))) for name, model in made.items()}
    slope, shift = platt(Blend(made).logit(features), hot)
    return Blend({name: _scaled(model, slope, shift) for name, model in made.items()})


def _unit(said: Doubles) -> tuple[float, float]:
    """Slope and shift that give mean 0 and deviation 1."""
    slope = 1 / (float(said.std()) or 1.0)
    return slope, -slope * float(said.mean())


def _scaled(model: Logistic | Boosting, slope: float, shift: float) -> Logistic | Boosting:
    """The model whose answers are ``slope`` times the old ones and ``shift``."""
    if isinstance(model, Logistic):
        return replace(model, weights=model.weights * slope, intercept=model.intercept * slope + shift)
    return replace(model, value=model.value * slope, baseline=model.baseline * slope + shift)


def platt(logits: Doubles, hot: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift that make logits right on the whole (Platt, 1999); 1 and 0 for one outcome only."""
    from sklearn.linear_model import LogisticRegression

    if len(set(hot.tolist())) < 2:
        return 1.0, 0.0
    model = LogisticRegression(C=1e3, max_iter=1000).fit(logits[:, None], hot)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _logistic(
    features: Doubles, outcome: NDArray[Any], options: FitOptions, seed: int, weights: Doubles | None
) -> Logistic:
    """Of an outcome that is so or not; of one with degrees a ridge regression in the same form."""
    from sklearn.linear_model import LogisticRegression, Ridge

    mean, scale = standard(features)
    scaled = np.clip(np.nan_to_num((features - mean) / scale, nan=0.0), -MOST, MOST)
    if outcome.dtype == np.bool_:
        model = LogisticRegression(C=1.0 / options.strength, max_iter=1000, random_state=seed)
    else:
        model = Ridge(alpha=options.strength)
    model.fit(scaled, outcome, sample_weight=weights)
    return Logistic(mean, scale, np.ravel(model.coef_).astype(np.float64), float(np.ravel(model.intercept_)[0]))


def _boosting(
    features: Doubles, outcome: NDArray[Any], options: FitOptions, seed: int, weights: Doubles | None
) -> Boosting:
    """Of an outcome that is so or not, or of one with degrees."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    varied = _varied(features)
    kind = HistGradientBoostingClassifier if outcome.dtype == np.bool_ else HistGradientBoostingRegressor
    models = [
        kind(
            learning_rate=options.step,
            max_iter=options.rounds,
            max_leaf_nodes=options.leaves,
            min_samples_leaf=options.least,
            l2_regularization=5.0,
            max_features=0.3,
            early_stopping=False,
            random_state=seed + i,
        ).fit(varied, outcome, sample_weight=weights)
        for i in range(options.seeds)
    ]
    return Boosting.from_sklearn(*models)


def _varied(features: Doubles) -> Doubles:
    """The features, with a column of which nothing is known as zeros: the binning refuses such a column."""
    unknown = np.asarray(~np.isfinite(features).any(axis=0))
    return np.asarray(np.where(unknown, 0.0, features)) if unknown.any() else features


def _network(kind: str, sequence: Doubles, hot: NDArray[np.bool_], options: FitOptions, seed: int) -> Model:
    import torch

    from models.hype.networks import NETS, SequenceModel

    if not sequence.shape[1]:
        raise InputError(f"A {kind} looks at windows; the rows were made without them.")
    flat = sequence.reshape(-1, sequence.shape[2]).astype(np.float64)
    mean, scale = standard(flat)
    torch.manual_seed(seed)
    net = NETS[kind](sequence.shape[2])
    model = SequenceModel(kind, net, torch.from_numpy(mean).float(), torch.from_numpy(scale).float())
    train_network(net, lambda rows: (model.prepared(sequence[rows]),), hot, options, seed)
    return model


def train_network(
    net: Any,
    inputs: Callable[[NDArray[np.int64]], tuple[Any, ...]],
    hot: NDArray[np.bool_],
    options: FitOptions,
    seed: int,
) -> None:
    """Binary cross-entropy with Adam on the one loop; ``inputs`` gives the network's inputs for row numbers."""
    import torch

    from training.loop import Loop, LoopOptions, Objective

    wanted = torch.from_numpy(hot.astype(np.float32))

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        order = np.random.default_rng((seed, epoch)).permutation(len(hot))
        return [order[i : i + options.batch] for i in range(0, len(order), options.batch)]

    def loss(rows: NDArray[np.int64]) -> Any:
        return torch.nn.functional.binary_cross_entropy_with_logits(net(*inputs(rows)), wanted[rows])

    objective = Objective(loss, torch.optim.Adam(net.parameters(), lr=options.rate))
    settings = LoopOptions(epochs=options.epochs, seed=seed, save_every=10**9, log_every=200, title="hype epoch")
    with TemporaryDirectory() as folder:
        Loop(net, objective, batches, Path(folder), settings).run()
