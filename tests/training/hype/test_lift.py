"""The lift of a post: an author's own past, nothing from after it, and outcomes that a word in the text decides."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.answer import HypeForecast
from domain.errors import InputError
from domain.reasons import Reason
from domain.types import AuthorHistory, Post
from models.hype.forecast import Head, HypeHeads, save_hype
from models.hype.lift import COMPONENTS, MATURE, NAMES, Written, lift_features
from models.hype.logistic import Logistic
from training.hype import evaluate as evaluation
from training.hype import lift
from training.hype.post import PostSettings, walk
from training.registry import EvaluateOptions

AT = datetime(2024, 5, 6, 12, tzinfo=UTC)


def history(count: int = 30, likes: float = 10.0) -> AuthorHistory:
    """Posts two hours apart before AT, all with the same likes but each fifth."""
    at = AT.timestamp() - 7200.0 * np.arange(count, 0, -1)
    values = np.where(np.arange(count) % 5 == 0, 3 * likes, likes)
    return AuthorHistory("author", at, values, np.full(count, 40.0))


def write(path: Path, count: int = 900, authors: int = 3) -> Path:
    """Posts three hours apart whose likes are high where an exclamation mark stands."""
    rng = np.random.default_rng(0)
    t = 1_700_000_000 + 3 * 3600 * np.arange(count)
    loud = rng.random(count) < 0.25
    table = {
        "asset": [f"a{i % authors}" for i in range(count)],
        "t": t,
        "text": ["we are live!" if flag else "some words" for flag in loud],
        "likes": (rng.lognormal(3, 0.4, count) * np.where(loud, 3, 1)).astype(int),
    }
    pq.write_table(pa.table(table), path)
    return path


def test_likes_of_the_last_day_are_not_looked_at() -> None:
    """Posts younger than a day may have any likes, even unknown ones: the features stay the same."""
    past = history()
    young = past.posted_at + MATURE > AT.timestamp()
    assert 5 < young.sum() < 20
    nothing = np.full(COMPONENTS, np.nan)
    written = Written(AT, "hello")
    clean = lift_features(written, past, nothing)
    assert clean is not None
    for likes in (1e9, np.nan):
        spoiled = replace(past, likes=np.where(young, likes, past.likes))
        again = lift_features(written, spoiled, nothing)
        assert again is not None
        np.testing.assert_array_equal(clean[0], again[0])
        assert clean[1:] == again[1:]
    assert len(clean[0]) == len(NAMES)


def test_too_short_a_past_says_nothing() -> None:
    """Fewer than ten posts with known likes give no features."""
    assert lift_features(Written(AT, "hello"), history(15), np.zeros(COMPONENTS)) is None


def heads() -> HypeHeads:
    """A post's head that looks at exclamation marks only."""
    weights = np.array([2.0 * (name == "exclaims") for name in NAMES])
    return HypeHeads(
        [Head("post", Logistic(np.zeros(len(NAMES)), np.ones(len(NAMES)), weights, -1.0), 1440, 0.2, True)]
    )


def test_a_forecast_says_whose_percentile_and_why_there_is_none() -> None:
    """An author with a past gets a chance in likes; one without gets the reason."""
    post = Post("x:1", "x", "we are live!", "en", AT, author_hash="a")
    vector = np.zeros(384, dtype=np.float32)
    loud = heads().lift(post, history(), vector)
    calm = heads().lift(replace(post, text="some words"), history(), vector)
    assert isinstance(loud, HypeForecast)
    assert isinstance(calm, HypeForecast)
    assert (loud.probability or 0) > (calm.probability or 1)
    assert (loud.horizon_minutes, loud.signal) == (1440, True)
    assert loud.threshold == pytest.approx(np.quantile(history().likes[:18], 0.8), rel=0.3)
    assert heads().lift(post, None, vector) == Reason("no_author")
    assert heads().lift(post, history(5), vector) == Reason("short_author_history", {"count": 5, "least": 10})
    assert HypeHeads([]).lift(post, history(), vector) == Reason("no_post_hype")


def test_a_word_that_decides_is_learned_and_walked_forward(tmp_path: Path) -> None:
    """What decides the likes is found by the fit; each fold saw only what came before it."""
    posts = lift.load_posts([write(tmp_path / "posts.parquet")])
    made = lift.rows(posts, np.full((len(posts), COMPONENTS), np.nan))
    assert 0.1 < made.hot.mean() < 0.35
    days = [datetime.fromtimestamp(1_700_000_000 + d * 86_400, UTC).isoformat() for d in (60, 90)]
    choice = PostSettings(files={"a": 1.0}, folds=days, fit={"rounds": 10, "least": 10, "strength": 1.0})
    head, measured = walk({"a": made}, choice)
    assert measured["auc"] > 0.8
    assert head.signal
    assert measured["tried"] == []
    with pytest.raises(InputError, match="too few"):
        walk({"a": made}, replace(choice, folds=["2030-01-01"]))


def test_the_candidate_is_chosen_before_the_test_folds(tmp_path: Path) -> None:
    """Outcomes of the test folds, dealt out anew, change neither what is chosen nor what was measured before them."""
    posts = lift.load_posts([write(tmp_path / "posts.parquet")])
    made = lift.rows(posts, np.full((len(posts), COMPONENTS), np.nan))
    days = [datetime.fromtimestamp(1_700_000_000 + d * 86_400, UTC).isoformat() for d in (50, 60, 70, 90)]
    weak = {"kind": "logistic", "fit": {"strength": 1e9}}
    choice = PostSettings(
        files={"a": 1.0},
        candidates=[weak, {"kind": "logistic"}],
        choose=days[:2],
        folds=days[2:],
        fit={"strength": 1.0},
    )
    head, measured = walk({"a": made}, choice)
    assert head.model.kind == "logistic"
    assert measured["tried"][1]["auc"] > measured["tried"][0]["auc"]
    assert measured["ece"] < 0.1
    later = made.time >= datetime.fromisoformat(days[2]).timestamp()
    excess = made.excess.copy()
    excess[later] = np.random.default_rng(1).permutation(excess[later])
    again = walk({"a": replace(made, excess=excess)}, choice)[1]
    assert again["tried"] == measured["tried"]
    assert again["auc"] < measured["auc"]


def test_posts_in_like_words_tell_what_they_earned() -> None:
    """A post in words that went well before stands over one in words that did not; without texts nothing is said."""
    past = history()
    texts = ["we are live today" if i % 5 == 0 else "some other words" for i in range(len(past.likes))]
    nothing = np.full(COMPONENTS, np.nan)
    places = [NAMES.index(name) for name in ("posts in like words", "likeness of the nearest post", "the nearest post")]

    def said(text: str | None, known: AuthorHistory) -> np.ndarray:
        made = lift_features(Written(AT, text), known, nothing)
        assert made is not None
        return made[0][places]

    loud, calm = (said(text, replace(past, texts=texts)) for text in ("we are live now", "some words"))
    assert loud[0] > 0 > calm[0]
    assert loud[1] == pytest.approx(0.75)
    assert loud[2] > calm[2]
    assert np.isnan(said("we are live now", past)).all()
    assert np.isnan(said(None, replace(past, texts=texts))).all()


def test_evaluation_of_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of posts with likes is scored by author; rows before --since are history."""
    save_hype(tmp_path / "hype", list(heads().heads.values()), {}, "# card")
    monkeypatch.setattr(evaluation, "shipped_embed", lambda *_: lambda texts: np.ones((len(texts), 384), np.float32))
    path = write(tmp_path / "posts.parquet")
    found = evaluation.run(EvaluateOptions(data=(path,), artifacts=tmp_path, plots=tmp_path))
    assert set(found) >= {"n", "base_rate", "auc", "level_auc", "bss", "ece"}
    assert found["measure"] == "likes"
    assert found["auc"] > 0.8
    assert found["by_author"]["authors"] == 3
    assert (tmp_path / "hype-reliability.png").stat().st_size > 1000
    assert json.dumps(found, allow_nan=False)
    since = datetime.fromtimestamp(1_700_000_000 + 80 * 86_400, UTC)
    assert evaluation.run(EvaluateOptions(data=(path,), artifacts=tmp_path, since=since))["n"] < found["n"] / 2
