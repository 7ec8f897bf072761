"""The event study: an answer of the market that is there is found, one that is not is not, and nothing is counted twice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from typer.testing import CliRunner

from db.engine import transaction
from db.queries.posts import insert_posts
from domain.answer import Event
from domain.errors import InputError
from domain.types import Minutes, Post
from models.trajectories.events import KnownRule, events_of
from tests.fakes.answers import store_candles
from tests.models.trajectories.test_band import FIRST, tape
from tests.workers.test_bands import moment
from training.cli import app
from training.trajectories import event_rules, event_study, events
from training.trajectories.event_rules import Posts, Rule
from training.trajectories.event_study import Field, event_minutes, figures, holm, p_value, rank

DAYS = 60
PAIR = "BTC/USDT"
EVENTS = FIRST + 3000 + 2000 * np.arange(40)


@pytest.fixture(scope="module")
def answered() -> Minutes:
    """A market that trades six times as much for a quarter of an hour after each of forty moments."""
    found = replace(tape(DAYS * 1440), symbol=PAIR)
    volume = found.volume.copy()
    for minute in EVENTS:
        volume[minute - FIRST : minute - FIRST + 15] *= 6
    return replace(found, volume=volume)


def posts_at(minutes: np.ndarray, text: str = "doge", author: str = "a") -> Posts:
    """A post half a minute before each moment, less the latency."""
    count = len(minutes)
    words = np.full(count, text, dtype=object)
    return Posts(
        minutes * 60 - event_study.LATENCY - 20, np.full(count, "s", dtype=object), np.full(count, author, dtype=object), words,
        ((PAIR,),) * count,
    )  # fmt: skip


def test_an_answer_is_measured_and_fades(answered: Minutes) -> None:
    """Six times the volume within 15 minutes, nothing of it in the volatility, and a small share left after 256."""
    found = figures(rank(Field.of(answered), EVENTS))
    volume = found["outcomes"]["volume"]
    assert found["n"] == 40
    assert volume["15"]["ratio"] == pytest.approx(6, rel=0.25)
    assert volume["15"]["interval"][0] > 3
    assert volume["15"]["p"] < 1e-6
    assert volume["256"]["ratio"] < 2
    assert found["outcomes"]["volatility"]["15"]["p"] > 0.01


def test_random_minutes_answer_nothing(answered: Minutes) -> None:
    """Of two hundred tests on random minutes about one in twenty is below .05, and Holm lets none through."""
    found = event_rules.placebo({PAIR: [Field.of(tape(DAYS * 1440, seed=3))]}, seed=0)
    assert found["events"] == 1000
    assert found["below_5_percent"] <= 0.1
    assert found["holm"] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=50))
def test_events_lie_apart_and_after_their_posts(times: list[int]) -> None:
    """Events are 256 minutes apart, each at or after its post and the latency, within a minute."""
    found = event_minutes(np.array(times))
    assert (np.diff(found) >= 256).all()
    assert all(any(0 <= minute * 60 - t - event_study.LATENCY < 60 for t in times) for minute in found)


def test_holm_keeps_the_chance_of_any_false_discovery(answered: Minutes) -> None:
    """The procedure stops at the first hypothesis above its share of the level."""
    assert holm([0.001, 0.04, 0.012, 0.3]).tolist() == [True, False, True, False]
    assert p_value(np.array([]), two_sided=False) == 1.0
    assert p_value(np.full(20, 0.99), two_sided=False) < 1e-6
    assert p_value(np.full(20, 0.01), two_sided=True) < 1e-6


def test_the_study_confirms_on_later_posts_only(answered: Minutes) -> None:
    """A rule that holds throughout is confirmed; one whose market answered only at first is found and not confirmed."""
    volume = tape(DAYS * 1440).volume.copy()
    for minute in EVENTS[:20]:
        volume[minute - FIRST : minute - FIRST + 15] *= 6
    posts, rules = posts_at(EVENTS), [Rule(author="a"), Rule(text="doge")]
    held = event_rules.study(posts, {PAIR: [Field.of(answered)]}, rules)
    lost = event_rules.study(posts, {PAIR: [Field.of(replace(answered, volume=volume))]}, rules)
    assert (held["tried"], held["rules"]) == (8, 2)
    assert {(c["outcome"], c["minutes"]) for c in held["confirmed"]} == {("volume", 15)}
    assert lost["confirmed"] == []
    assert len(lost["not_confirmed"]) == lost["found"] == 2


def test_campaigns_count_once() -> None:
    """Of three like wordings within a day the first is an event; two are none."""
    posts = posts_at(FIRST + np.array([10, 20, 30, 5000, 5010]))
    spread = replace(posts, text=np.array(["Buy X now!", "buy x NOW", "buy x now 🚀", "hold", "hold"], dtype=object))
    assert event_rules.first_of_campaigns(spread).tolist() == [True, False, False, False, False]


def test_the_command_measures_a_rule_on_files(answered: Minutes, tmp_path: Path) -> None:
    """``events --text`` prints one JSON object with figures and what holds, and draws them; what lacks is told."""
    posts, candles = tmp_path / "p.parquet", tmp_path / "c.parquet"
    table = {"t": EVENTS * 60 - 50, "text": ["DOGE to the moon"] * 40, "symbols": ["BTC"] * 40}
    pq.write_table(pa.table(table), posts)
    rows = dict.fromkeys(("open", "close"), answered.mid)
    names = {"exchange": ["x"] * len(answered.mid), "symbol": ["BTCUSDT"] * len(answered.mid)}
    at = (FIRST + np.arange(len(answered.mid))) * 60
    pq.write_table(pa.table({"t": at, **rows, "volume": answered.volume, **names}), candles)
    files = ["--posts", str(posts), "--candles", str(candles)]
    run = CliRunner().invoke(app, ["events", "--text", "doge", *files, "--plot", str(tmp_path / "e.png"), "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["independent_windows"] == 40
    assert [t["holds"] for t in found["tested"] if t["outcome"] == "volume"] == [True]
    assert (tmp_path / "e.png").stat().st_size > 1000
    for asked, said in (
        (Rule(), "Say which posts"),
        (Rule(text="("), "not a pattern"),
        (Rule(text="nobody"), "No post"),
        (Rule(emotion="happiness"), "is no emotion here; there are: sadness"),
    ):
        with pytest.raises(InputError, match=said):
            events.answer(events.Asked(asked, posts=(posts,), candles=(candles,)))
    with pytest.raises(InputError, match="or neither"):
        events.answer(events.Asked(Rule(text="doge")))


def test_events_of_what_is_stored_name_the_markets_there_are(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without files the database is asked; a market without candles is named beside those that have some."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    store_candles(engine, "BTC/USDT", datetime(2025, 1, 1, 12, tzinfo=UTC), 300)
    with transaction(engine) as connection:
        insert_posts(connection, [Post("s:1", "s", "doge", "en", datetime(2025, 1, 1, 11, tzinfo=UTC), ("BTC/USDT",))])
    rule = ["events", "--text", "doge", "--symbol"]
    unknown, few = (CliRunner().invoke(app, [*rule, name]) for name in ("XYZ", "BTC"))
    assert isinstance(unknown.exception, InputError)
    assert unknown.exception.message == "There are no candles of XYZ/USDT; there are: BTC/USDT."
    assert isinstance(few.exception, InputError)
    assert "Of 1 such posts only 0" in few.exception.message


def test_an_answer_tells_the_rules_that_its_post_falls_under() -> None:
    """Author or source, pattern, emotion and market must fit; percentages are over the usual, the largest first."""
    rules = [
        KnownRule(PAIR, "volatility", 15, 1.5, 1.2, 2.0, 16, 14, author="elon"),
        KnownRule(PAIR, "volume", 15, 6.3, 3.4, 8.7, 16, 15, author="elon", text=r"\bdoge"),
        KnownRule("ETH/USDT", "volume", 15, 9.0, 8.0, 10.0, 9, 9, author="elon"),
        KnownRule(PAIR, "volume", 15, 9.0, 8.0, 10.0, 9, 9, emotion="fear"),
    ]
    post = Post("p", "elon", "One word: Doge", "en", moment(FIRST))
    found = events_of(rules, post, PAIR, "joy")
    assert found[0] == Event(r"author=elon text=\bdoge", 530.0, 16, (240.0, 770.0), "volume", 15, 15)
    assert [event.outcome for event in found] == ["volume", "volatility"]
    assert events_of(rules, replace(post, source="x", text="hm"), PAIR, "joy") == ()
