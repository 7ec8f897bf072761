"""Learned challengers of the band's ridge: boosting, a convolutional encoder of the last minutes, a network of quantiles.

Each is fitted once a year on what came before (the ridge: every month), starts from the ridge, and must pay for itself in the
same walk-forward. torch and scikit-learn are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from domain.types import Minutes
from models.trajectories.band import KNOTS, LEVELS, scale
from models.trajectories.measures import DAY, Doubles
from training.trajectories.walk_forward import FEWEST_TRAIN, Fit, Forecasts, Predict, by_ridge, forecast, prior_of
from training.trajectories.windows import Windows

SEEN = 256
"""Minutes that the encoder reads."""
TREES = 150


def yearly(fit: Fit) -> Fit:
    """A fit that is made anew only when the newest year of its training windows changes."""
    kept: dict[int, Predict] = {}

    def once_a_year(train: Windows) -> Predict:
        year = int(((train.start[-1] + 2 * DAY) * 60).astype("datetime64[s]").astype("datetime64[Y]").astype(int))
        if year not in kept:
            kept[year] = fit(train)
        return kept[year]

    return once_a_year


def by_boosting(train: Windows, seed: int = 0) -> Predict:
    """Gradient boosting (histograms, :data:`TREES` trees of 15 leaves) on what the ridge leaves."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    ridge, trees = by_ridge(train), []
    left = train.target - ridge(train)
    for h in range(3):
        model = HistGradientBoostingRegressor(
            max_iter=TREES,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=100,
            l2_regularization=5,
            random_state=seed,
        )
        trees.append(model.fit(train.inputs[:, h], left[:, h]))
    return lambda w: ridge(w) + np.stack([t.predict(w.inputs[:, h]) for h, t in enumerate(trees)], axis=1)


def by_encoder(tapes: Sequence[Minutes], epochs: int = 3, seed: int = 0) -> Fit:
    """A small convolutional encoder of the last 256 minutes (in units of the day's volatility) on what the ridge leaves."""

    def fit(train: Windows) -> Predict:
        import torch

        torch.manual_seed(seed)
        ridge = by_ridge(train)
        left = torch.tensor(train.target - ridge(train), dtype=torch.float32)
        net = _encoder()
        _descend(net, _pictures(tapes, train), lambda out, rows: ((out - left[rows]) ** 2).mean(), epochs, seed)

        def predict(windows: Windows) -> Doubles:
            with torch.no_grad():
                added = net(torch.tensor(_pictures(tapes, windows)))
            return np.asarray(ridge(windows) + added.double().numpy(), dtype=np.float64)

        return predict

    return fit


def _encoder() -> Any:
    from torch import nn

    layers: list[Any] = []
    for inside, outside in ((3, 16), (16, 24), (24, 32), (32, 32)):
        layers += [nn.Conv1d(inside, outside, 5, stride=3, padding=2), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 3))


def _pictures(tapes: Sequence[Minutes], windows: Windows) -> Any:
    """float32[n, 3, 256]: change, size of change and log size of the minutes before each window, in units of the day's."""
    out = np.zeros((len(windows), 3, SEEN), dtype=np.float32)
    for market, tape in enumerate(tapes):
        rows = np.flatnonzero(windows.market == market)
        at = windows.start[rows, None] - tape.first - SEEN + np.arange(SEEN)
        now, before = tape.mid[np.maximum(at, 0)], tape.mid[np.maximum(at - 1, 0)]
        change = np.nan_to_num(100 * np.log(now / before)) / np.exp(windows.day_before[rows])[:, None]
        change = np.clip(change, -8, 8)
        out[rows] = np.stack([change, np.abs(change), np.log(np.abs(change) + 0.05)], axis=1)
    return out


def _descend(net: Any, inputs: Any, loss: Callable[[Any, Any], Any], epochs: int, seed: int) -> None:
    """AdamW with a falling rate over shuffled batches of 512."""
    import torch

    given = torch.tensor(inputs, dtype=torch.float32)
    steps = epochs * -(-len(given) // 512)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    lot = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(given), generator=lot), 512):
            optimiser.zero_grad()
            loss(net(given[rows]), rows).backward()
            optimiser.step()
            schedule.step()


def quantile_network(windows: Windows, made: Forecasts, epochs: int = 6, seed: int = 0) -> Forecasts:
    """The ridge's forecasts with the tables of a network that reads the measures and is fitted by quantile loss.

    Fitted at the start of each year on windows that had ended a day before it, as is the ridge it stands on.
    """
    years = (made.windows.start * 60).astype("datetime64[s]").astype("datetime64[Y]")
    tables, expected = made.tables.copy(), made.expected.copy()
    for year in np.unique(years):
        begins = int(year.astype("datetime64[s]").astype(np.int64)) // 60
        train = windows.take(windows.start + SEEN + 1 + DAY <= begins)
        if len(train) < FEWEST_TRAIN:
            continue
        rows = years == year
        expected[rows], tables[rows] = _quantile_year(train, made.windows.take(rows), epochs, seed)
    return replace(made, tables=tables, expected=expected)


def _quantile_year(train: Windows, test: Windows, epochs: int, seed: int) -> tuple[Doubles, Doubles]:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    ridge = by_ridge(train)
    prior = prior_of(train, ridge)
    mean, spread = train.inputs[:, 2].mean(axis=0), train.inputs[:, 2].std(axis=0) + 1e-6

    def given(windows: Windows) -> Any:
        return np.clip((windows.inputs[:, 2] - mean) / spread, -6, 6).astype(np.float32)

    base, levels = torch.tensor(prior, dtype=torch.float32), torch.tensor(LEVELS, dtype=torch.float32)
    truth = torch.tensor(train.moves / scale(ridge(train), KNOTS), dtype=torch.float32)
    last = nn.Linear(48, prior.size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    net = nn.Sequential(nn.Linear(len(mean), 48), nn.GELU(), nn.Dropout(0.1), last)

    def pinball(out: Any, rows: Any) -> Any:
        gap = truth[rows][:, :, None] - (base + out.view(-1, *prior.shape))
        return torch.maximum(levels * gap, (levels - 1) * gap).mean()

    _descend(net, given(train), pinball, epochs, seed)
    net.eval()
    with torch.no_grad():
        steps = net(torch.tensor(given(test))).view(-1, *prior.shape).double().numpy()
    return ridge(test), np.sort(prior + steps, axis=2)


def all_of(tapes: Sequence[Minutes], windows: Windows) -> dict[str, Callable[[], Forecasts]]:
    """Every forecaster by name, the shipped one first."""
    return {
        "ridge (ships)": lambda: forecast(windows, by_ridge),
        "boosting": lambda: forecast(windows, yearly(by_boosting)),
        "series encoder": lambda: forecast(windows, yearly(by_encoder(tapes))),
        "quantile network": lambda: quantile_network(windows, forecast(windows, by_ridge)),
    }
