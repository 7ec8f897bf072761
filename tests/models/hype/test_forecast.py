"""The served heads: what a forecast says, why it says nothing, and that every kind of model survives saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domain.answer import HypeForecast
from domain.errors import WeightsError
from domain.reasons import Reason
from domain.types import MarketContext
from models.hype.boosting import Boosting
from models.hype.features import NAMES, POSTS, sequences, situations
from models.hype.forecast import Head, HypeHeads, Model, load_hype, save_hype
from models.hype.logistic import Logistic
from models.hype.past import past_of
from tests.fakes.markets import context
from training.hype.fitting import KINDS, FitOptions, fit

LEVEL = np.array([float(name == "log volume of the last 15 min over the threshold") for name in NAMES])


def logistic() -> Logistic:
    """A model that looks at the last 15 minutes only."""
    return Logistic(np.zeros(len(NAMES)), np.ones(len(NAMES)), LEVEL, -1.0)


def heads(signal: bool = True) -> HypeHeads:
    """Both horizons."""
    return HypeHeads([Head(f"symbol-{h}", logistic(), h, 0.22, signal) for h in (60, 15)])


def forecasts(known: MarketContext | None, signal: bool = True) -> list[HypeForecast]:
    """Both horizons of one context."""
    return heads(signal).symbol([known])[0]


def test_a_forecast_says_what_it_is_about() -> None:
    """Probability in (0, 1), the threshold, the horizon and the base rate, the shorter horizon first."""
    known = context()
    short, long = forecasts(known)
    assert (short.horizon_minutes, long.horizon_minutes) == (15, 60)
    assert short.probability is not None
    assert 0 < short.probability < 1
    assert short.threshold == pytest.approx(situations(past_of([known]), 15).threshold[0])
    assert (short.base_rate, short.signal, short.reason) == (0.22, True, None)


def test_a_louder_last_window_is_likelier_followed_by_hype() -> None:
    """The forecast moves with what it looks at."""
    calm, loud = forecasts(context())[0], forecasts(context(last=5.0))[0]
    assert (loud.probability or 0) > (calm.probability or 0)


def test_no_candles_and_no_signal_have_reasons() -> None:
    """Without a context the probability is None; without a signal it is given with the reason."""
    nothing = forecasts(None)[0]
    assert nothing.probability is None
    assert nothing.reason == Reason("no_market_history")
    weak = forecasts(context(), signal=False)[0]
    assert weak.probability is not None
    assert weak.reason == Reason("no_better_than_persistence")


def test_batches_keep_their_order() -> None:
    """A context answers the same alone and between others, with and without gaps."""
    loud = context(last=4.0)
    together = heads().symbol([context(), None, loud])
    assert together[2] == forecasts(loud)
    assert together[1][0].probability is None


def rows(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with gaps, sequences, and outcomes that follow the first feature."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(count, len(NAMES)))
    hot = features[:, 0] + 0.5 * rng.normal(size=count) > 0.8
    features[rng.random(features.shape) < 0.02] = np.nan
    sequence = sequences(past_of([context()]), 15).repeat(count, axis=0)
    sequence[:, -1, 0] = features[:, 0]
    return features, sequence, hot


def model(kind: str) -> Model:
    """A small model of a kind, fitted."""
    return fit(kind, *rows(), FitOptions(rounds=20, least=10, epochs=1, batch=64, seeds=2, strength=1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_saving(tmp_path: Path, kind: str) -> None:
    """Loaded, it gives the very same probabilities, calibrated as before."""
    head = Head("symbol-15", model(kind), 15, 0.2, True, slope=0.9, shift=-0.1)
    save_hype(tmp_path / "hype", [head], {}, "# card")
    loaded = load_hype(tmp_path).heads["symbol-15"]
    features, sequence, _ = rows(50)
    np.testing.assert_array_equal(loaded.probability(features, sequence), head.probability(features, sequence))
    assert loaded.about() == head.about()


@pytest.mark.parametrize("kind", ["logistic", "boosting", "blend"])
def test_a_model_knows_what_it_looks_at(kind: str) -> None:
    """A feature that was always the same in training changes no answer; a model that looks at none of the posts' says so."""
    features, sequence, hot = rows()
    features[:, list(POSTS)] = 0.0
    blind = fit(kind, features, sequence, hot, FitOptions(rounds=20, least=10, strength=1.0))
    assert blind.looks_at((0,))
    assert not blind.looks_at(POSTS)
    poisoned = features.copy()
    poisoned[:, list(POSTS)] = 9.0
    np.testing.assert_array_equal(blind.logit(features), blind.logit(poisoned))


def test_the_shipped_heads_need_no_posts_counted() -> None:
    """So that no answer waits for a week of posts."""
    assert not load_hype().reads_posts


def test_trees_answer_as_scikit_learn_does() -> None:
    """The arrays give the mean logit of the fitted models, also where features are unknown."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    features, _, hot = rows()
    fitted = [HistGradientBoostingClassifier(max_iter=15, random_state=s).fit(features, hot) for s in (0, 1)]
    ours = Boosting.from_sklearn(*fitted).logit(features)
    np.testing.assert_allclose(ours, np.mean([m.decision_function(features) for m in fitted], axis=0), atol=1e-9)


def test_weights_for_other_features_are_refused(tmp_path: Path) -> None:
    """A model made for other features is not served."""
    save_hype(tmp_path / "hype", [Head("symbol-15", logistic(), 15, 0.2, True)], {}, "# card")
    path = tmp_path / "hype" / "config.json"
    path.write_text(path.read_text().replace("weekday 0", "weekday 8"))
    with pytest.raises(WeightsError, match="hype model"):
        load_hype(tmp_path)
