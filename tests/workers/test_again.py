"""An answer made again: differences are named by their place, late candles are taken away, what cannot be made is said."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries.earned import EventRuleRow, Fold, add_fold, count_trials, event_rules, latest_fold, replace_rules
from db.queries.posts import insert_posts
from db.queries.verdicts import newest_ids, stored, stored_at, upsert_verdicts
from domain.errors import InputError
from domain.reasons import Reason
from domain.types import MarketContext, Minutes, Post
from models.scorer import ScoringInput
from tests.fakes.scoring import FakeScorer
from tests.models.trajectories.test_band import tape
from tests.workers.conftest import NOON
from workers.again import Again, _differences, _without_late, again, as_json
from workers.bands import digest, went_in
from workers.earned import earned, reason_of

POST = Post("s:1", "s", "btc", "en", NOON, ("BTC/USDT",))


def context(minutes: Minutes) -> MarketContext:
    nothing = np.zeros(32)
    return MarketContext("BTC/USDT", NOON, minutes.mid[-256:], nothing, minutes, market=3)


def test_every_difference_is_named_by_its_place() -> None:
    """Values, lists and missing keys; equal answers give none."""
    before = {"a": {"b": [1, 2.5, {"c": "x"}]}, "d": None}
    assert list(_differences(before, before, "")) == []
    found = list(_differences(before, {"a": {"b": [1, 2.6, {"c": "y"}]}, "e": 1}, ""))
    assert [one["path"] for one in found] == ["a.b[1]", "a.b[2].c", "e"]
    assert found[0] == {"path": "a.b[1]", "stored": 2.5, "again": 2.6}


def test_candles_that_came_later_are_taken_away() -> None:
    """The newest minute known then is kept beside the answer; without the later ones the digest is the old one."""
    whole = tape(8192)
    mid, volume = whole.mid.copy(), whole.volume.copy()
    mid[-3:], volume[-3:] = np.nan, np.nan
    then = context(Minutes(whole.symbol, whole.first, mid, volume))
    kept = went_in(then, library=7)
    assert kept["library"] == 7
    assert kept["newest"] == whole.first + 8192 - 4
    now = _without_late(ScoringInput(POST, None, context(whole), "BTC/USDT"), kept["newest"])
    assert now.context is not None
    assert digest(now.context) == kept["digest"] == digest(then)
    assert digest(context(whole)) != kept["digest"]
    assert went_in(None, library=7) == {"library": 7}


def test_a_batch_is_read_back_in_its_order(engine: Engine) -> None:
    """Answers written together come back together, by place, with what went in; older ones without it are not offered."""
    posts = [POST, Post("s:2", "s", "eth", "en", NOON)]
    verdicts = FakeScorer("fake").score([ScoringInput(post, None, None, "BTC/USDT") for post in posts])
    known = {"s:1": {"library": 1, "place": 1}, "s:2": {"library": 1, "place": 0}}
    with transaction(engine) as connection:
        insert_posts(connection, [*posts, Post("s:3", "s", "xrp", "en", NOON)])
        upsert_verdicts(connection, verdicts, known)  # type: ignore[arg-type]  # none of them is an error
    with transaction(engine) as connection:
        old = FakeScorer("fake").score([ScoringInput(Post("s:3", "s", "xrp", "en", NOON), None, None, "BTC/USDT")])
        upsert_verdicts(connection, old)  # type: ignore[arg-type]  # as above
        found = stored(connection, ["s:1", "s:9"], "fake")
        batch = stored_at(connection, found["s:1"].scored_at, "fake")
        assert set(newest_ids(connection, "fake", 10)) == {"s:1", "s:2"}
    assert list(found) == ["s:1"]
    assert [one.post_id for one in batch] == ["s:2", "s:1"]


def test_what_cannot_be_made_again_is_said(engine: Engine) -> None:
    """No answer at all, or none of this post by the present weights."""
    with pytest.raises(InputError, match="No answer"):
        again(engine, [], newest=5)
    with pytest.raises(InputError, match="no stored answer"):
        again(engine, ["s:1"])
    made = as_json([Again("a", True, True, ()), Again("b", False, False, ({"path": "x"},))])
    assert (made["answers"], made["identical"]) == (2, 1)


def test_a_signal_is_earned_by_the_newest_fold_only(engine: Engine) -> None:
    """Without a fold nothing is claimed; with one, its verdict and figures; asked of an earlier moment, what stood then."""
    spread = {"crps_skill": [0.03, 0.05], "words_skill": [-0.01, 0.01]}
    figures = {"crps_skill": 0.04, "words_skill": 0.0, "intervals": spread}
    with transaction(engine) as connection:
        assert earned(connection).reason == Reason("signal_untested")
        add_fold(connection, Fold("store", "r", 5, figures, signal=False, alarms={}))
    with transaction(engine) as connection:
        before = connection.execute(text("select clock_timestamp()")).scalar_one()
    with transaction(engine) as connection:
        add_fold(connection, Fold("store", "r", 5, figures, signal=True, alarms={}))
    with transaction(engine) as connection:
        assert earned(connection).signal
        assert earned(connection).reason.code == "signal_earned"
        assert earned(connection).reason.parameters["crps_low"] == 3.0
        assert not earned(connection, before).signal
        assert count_trials(connection) == 10
        assert (found := latest_fold(connection)) is not None
        assert found.signal
    assert reason_of({"crps_skill": None}, signal=True) == Reason("signal_untested")


def test_rules_in_force_are_those_of_the_newest_study(engine: Engine) -> None:
    """A study's rules replace the former ones, which are kept for answers of their time."""
    one = EventRuleRow("BTC/USDT", {"author": "a"}, "volume", 15, 3.0, 2.0, 4.0, 10, 9, 100)
    with transaction(engine) as connection:
        assert replace_rules(connection, [one, one]) == 2
    with transaction(engine) as connection:
        between = connection.execute(text("select clock_timestamp()")).scalar_one()
    with transaction(engine) as connection:
        assert replace_rules(connection, []) == 0
    with transaction(engine) as connection:
        assert event_rules(connection) == []
        assert event_rules(connection, between) == [one, one]
        assert [rule.author for rule in earned(connection, between).rules] == ["a", "a"]
