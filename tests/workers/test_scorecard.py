"""From a prediction over its closing candles to the scorecard: figures by hand, replays apart, campaigns counted once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine
from typer.testing import CliRunner

from answer.plots import draw_scorecard
from db.engine import transaction
from db.queries.bands import live_coverage
from db.queries.earned import Fold, add_fold
from db.queries.posts import campaigns, insert_posts
from db.queries.predictions import Due, Said, insert_predictions
from domain.types import Minutes, Post
from models.trajectories.band import KNOTS, LEVELS
from models.trajectories.measures import log_volatility_of
from tests.models.trajectories.test_band import parameters
from tests.workers.test_bands import PAIR, store
from workers import market_cli
from workers.bands import Bands
from workers.client.scorecard import scorecard, words
from workers.closing import score, settle

START = datetime(2024, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FLAT = np.outer(np.sqrt(KNOTS), (LEVELS - 0.5) * 4)
"""Quantiles that grow with the root of time; symmetric."""


def said(post: str = "s:1", at: datetime = START, **more: object) -> Said:
    """A prediction with every baseline."""
    base = Said(
        post, "r", PAIR, at + 256 * MINUTE, 0.5, 100.0, 0.0, -20.0, 20.0,
        FLAT.ravel().tolist(), (FLAT * 3).ravel().tolist(), [0.2] * 3, 2.0, -1.0, -2.0,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]  # the fields' own types


def path(end: float) -> list[float]:
    """A straight way to an end."""
    return np.linspace(0, end, 256).tolist()


def test_a_score_is_what_it_says() -> None:
    """Coverage of the knots, width, a CRPS better than a base three times as wide, big move and volatility by hand."""
    found = score(Due(said(), path(1.0), 200.0))
    assert (found.end_change, found.inside_band, found.hype, found.width) == (1.0, True, True, 40.0)
    assert found.brier == pytest.approx(0.25)
    assert found.covered == 1.0
    assert found.crps is not None
    assert found.crps_base is not None
    assert found.crps < found.crps_base
    assert found.big_moved is False
    assert 0.9 < (found.big_chance or 0) < 1
    true = log_volatility_of(np.array(path(1.0)))
    assert found.volatility_error == pytest.approx((-2.0 - true) ** 2)
    assert found.volatility_base == pytest.approx((-1.0 - true) ** 2)
    assert score(Due(said(), path(500.0), 1.0)).covered == pytest.approx(0, abs=0.1)


def test_what_is_not_known_stays_empty() -> None:
    """Without candles nothing is claimed; a prediction of an older version has only its end scored."""
    lost = score(Due(said(), None, None))
    assert (lost.end_change, lost.covered, lost.crps, lost.hype) == (None, None, None, None)
    old = score(Due(said(quantiles=None, climatology=None, miss=None, volatility=None), path(1.0), None))
    assert (old.inside_band, old.covered, old.crps, old.volatility_error) == (True, None, None, None)


def calm(engine: Engine, days: int = 2) -> None:
    """A market that rises by a hair every minute."""
    first = int(START.timestamp()) // 60
    store(engine, Minutes(PAIR, first, 100 + 0.001 * np.arange(days * 1440), np.ones(days * 1440)))


def predicted(engine: Engine, *predictions: Said, clusters: dict[str, str] | None = None) -> None:
    posts = [
        Post(p.post_id, "s", "btc", "en", p.due_at - 256 * MINUTE, (PAIR,), replayed=p.replayed) for p in predictions
    ]
    with transaction(engine) as connection:
        insert_posts(connection, posts, clusters)
        insert_predictions(connection, predictions)


def test_replayed_and_live_are_kept_apart(engine: Engine) -> None:
    """A replay's predictions close on its own clock, count in their own scorecard and in nobody else's coverage."""
    calm(engine)
    predicted(engine, said("s:1", replayed=True), said("s:2", START + 300 * MINUTE, replayed=True), said("s:3"))
    with transaction(engine) as connection:
        early = settle(connection, START + 257 * MINUTE, clock=datetime.now(UTC), only_replays=True)
        assert early == 1
        assert live_coverage(connection, PAIR, START + 400 * MINUTE, replayed=True) == (1.0, 1)
        assert live_coverage(connection, PAIR, START + 400 * MINUTE, replayed=False) == (None, 0)
        assert settle(connection, START + timedelta(days=2)) == 2
        assert settle(connection, START + timedelta(days=2)) == 0
        live = scorecard(connection, START + timedelta(days=3))
        again = scorecard(connection, START + timedelta(days=3), replayed=True)
    assert (live["all"]["n"], again["all"]["n"], again["all"]["windows"]) == (1, 2, 2)
    assert live["all"]["coverage"] == {"nominal": 0.8, "live": 1.0, "at_end": 1.0, "n": 1}
    assert live["all"]["crps_skill"] > 0.5
    assert json.dumps(live, allow_nan=False)


def test_a_campaign_counts_once_and_losers_are_shown(engine: Engine) -> None:
    """Repeats of a post are scored but not counted; the worst comes first, whatever it says of us."""
    calm(engine)
    narrow = (FLAT / 1000 + 9).ravel().tolist()
    repeats = [said(f"s:{n}") for n in range(2, 5)]
    predicted(
        engine,
        said("s:1"),
        *repeats,
        said("s:9", START + MINUTE, quantiles=narrow),
        clusters={f"s:{n}": "s:1" for n in (2, 3, 4)},
    )
    with transaction(engine) as connection:
        assert settle(connection, START + timedelta(days=1)) == 5
        card = scorecard(connection, START + timedelta(days=2))
    assert card["all"]["n"] == 2
    assert [loser["post_id"] for loser in card["worst"]] == ["s:9", "s:1"]
    assert "s:9" in words(card)


def test_an_empty_scorecard_says_so(engine: Engine, tmp_path: Path) -> None:
    """Before anything closed: words instead of figures, and a picture all the same."""
    with transaction(engine) as connection:
        card = scorecard(connection, START)
    assert card["all"] is None
    assert "256 minutes" in words(card)
    (tmp_path / "s.png").write_bytes(draw_scorecard(card))
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (900, 420)


def test_the_newest_walk_forward_stands_beside_the_scores(engine: Engine) -> None:
    """Its figures, alarms, and how many comparisons were ever made; days without a scored band have no bar."""
    with transaction(engine) as connection:
        assert scorecard(connection, START)["walk_forward"] is None
    for n in (40, 50):
        with transaction(engine) as connection:
            add_fold(connection, Fold("store", f"r{n}", 9, {"n": n}, signal=False, alarms={"hub": 0.3}))
    with transaction(engine) as connection:
        card = scorecard(connection, START)
    night = card["walk_forward"]
    assert (night["revision"], night["figures"], night["trials_ever"]) == ("r50", {"n": 50}, 18)
    assert "50 windows, signal not earned, alarms: hub; 18 comparisons ever" in words(card)
    blank = {"day": "2024-01-02", "n": 3, "coverage": None, "width": None}
    full = draw_scorecard(card | {"days": [blank | {"coverage": 0.9}]})
    assert len(draw_scorecard(card | {"days": [blank]})) < len(full)


def test_the_command_prints_json_and_draws(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``moodtape scorecard --json --plot`` gives nothing but JSON on standard output, and a picture."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    found = CliRunner().invoke(market_cli.app, ["scorecard", "--json", "--plot", str(tmp_path / "s.png")])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["all"] is None
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_an_answer_tells_its_campaign(engine: Engine) -> None:
    """The third near-copy knows two before it and the first; asked as of an earlier time, later ones are not counted."""
    posts = [Post(f"c:{n}", "s", "buy X", "en", START + n * MINUTE) for n in range(3)]
    with transaction(engine) as connection:
        insert_posts(connection, [*posts, Post("c:9", "s", "hold", "en", START)], {"c:1": "c:0", "c:2": "c:0"})
    with transaction(engine) as connection:
        found = campaigns(connection, ["c:0", "c:1", "c:2", "c:9"])
        none = campaigns(connection, ["c:2"], START)
    assert found == {"c:1": ("c:0", 2), "c:2": ("c:0", 3)}
    assert none == {}


def test_a_count_of_scores_is_the_same_later(engine: Engine) -> None:
    """Whoever counts waits while scores are being written, so that all of his moment are there; later ones bear later ones."""
    calm(engine)
    predicted(engine, said("s:1"), said("s:2", START + MINUTE))
    bands = Bands(engine, parameters())
    with transaction(engine) as writing:
        assert settle(writing, START + 256 * MINUTE) == 1
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(bands.scored_by)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            writing.commit()
            moment = waiting.result(10)
    until = START + timedelta(days=1)
    with transaction(engine) as connection:
        before = live_coverage(connection, PAIR, until, False, moment)
        assert settle(connection, until) == 1
    with transaction(engine) as connection:
        assert live_coverage(connection, PAIR, until, False, moment) == before
        assert before[1] == 1
        assert live_coverage(connection, PAIR, until, False, bands.scored_by())[1] == 2
