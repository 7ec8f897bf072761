"""The checks of the benchmarks fail when something is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from benchmarks import faults_feed, hour, tally
from db.queries.candles import upsert_candles
from db.queries.posts import insert_posts
from domain.types import Post
from tests.fakes.candles import candles_at
from tests.streaming.kit import NOW, count

RUN = {
    **dict.fromkeys(("lost", "doubled", "unread", "dead_letters", "refused_duplicates", "late_writes_refused"), 0),
    **dict.fromkeys(("ended", "under_load"), True),
    **dict.fromkeys(("jobs", "posts"), 5),
    **dict.fromkeys(("offsets", "sent"), 25),
    "victim": "sink",
}
FEED = {
    "silent_websocket": {"noticed_after_seconds": 65.0},
    "one_silent_market": {"noticed_after_seconds": 70.0},
    "hang_up_1011": {"listening_again_after_seconds": 0.4, "busy_answers": 3},
    "late_candle": {"next_stored": True, "missing_at_first": True, "stored_after_seconds": 61.0},
    "hole": {"gaps_recorded": 1, "minutes_recorded": 60},
    "corrected": 1,
    **dict.fromkeys(("missing", "invented", "different", "dead_letters"), 0),
}
HOUR = {"stored": 9, "jobs": 9, "dead_letters": 0, "clusters": 2, "stored_once": True}


def test_writing_a_row_again_is_noticed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update counts, a row that a key refuses does not, and neither does what is rolled back."""
    tally.watch(engine)
    try:
        monkeypatch.setattr(tally, "unread", lambda stack: 0)
        stack: Any = SimpleNamespace(number=lambda query: int(count(engine, query) or 0), stored=lambda: 4)
        bar = candles_at(NOW, [0], [1.0] * 5)
        post = Post("t:1", "t", "btc", "en", NOW, ("BTC/USDT",))
        with engine.begin() as connection:
            upsert_candles(connection, bar)
            insert_posts(connection, [post])
        for _ in range(2):
            with engine.begin() as connection:
                upsert_candles(connection, bar)
                insert_posts(connection, [post])
        found = tally.count(stack, 1, 1)
        assert (found["writes"], found["doubled"], found["lost"], found["refused_duplicates"]) == (2, 0, 0, 2)
        with engine.begin() as connection:
            connection.execute(text("update candles set close = 1.0"))
        with engine.connect() as connection:
            connection.execute(text("update posts set language = 'de'"))
        found = tally.count(stack, 1, 1)
        assert (found["writes"], found["doubled"], found["lost"]) == (3, 1, 0)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("drop function bench_note() cascade; drop table bench_writes")


def test_a_good_run_is_good() -> None:
    """A killed broker may have lost messages on their way; nothing else is excused."""
    assert tally.wrong(RUN) == []
    assert tally.wrong(RUN | {"victim": "broker", "sent": 30, "refused_duplicates": -3}) == []
    assert faults_feed.good(FEED)
    assert hour.good(HOUR)


@pytest.mark.parametrize(
    ("named", "value"),
    [
        ("lost", 1), ("lost", -1), ("doubled", 1), ("unread", 1), ("dead_letters", 1), ("ended", False),
        ("under_load", False), ("jobs", 4), ("offsets", 24),
    ],
)  # fmt: skip
def test_each_figure_of_a_run_can_fail_it(named: str, value: int) -> None:
    """The figure is named."""
    assert tally.wrong(RUN | {named: value}) == [named]


def test_a_stale_write_must_be_refused() -> None:
    """Each fault must have had a late write refused; several of one do not make up for another."""
    assert tally.wrong(RUN | {"victim": "stop", "kills": 1, "stops_fenced": 0}) == ["stops_fenced"]
    assert tally.wrong(RUN | {"victim": "stop", "kills": 6, "stops_fenced": 5, "late_writes_refused": 9}) == [
        "stops_fenced"
    ]
    assert tally.wrong(RUN | {"victim": "stop", "kills": 6, "stops_fenced": 6}) == []


@pytest.mark.parametrize(
    ("fault", "figure", "value"),
    [
        ("silent_websocket", "noticed_after_seconds", None),
        ("hang_up_1011", "listening_again_after_seconds", None),
        ("hang_up_1011", "busy_answers", 2),
        ("late_candle", "missing_at_first", False),
        ("late_candle", "stored_after_seconds", None),
        ("hole", "gaps_recorded", 2),
    ],
)
def test_each_fault_of_the_feed_can_fail_it(fault: str, figure: str, value: Any) -> None:
    """None means that it did not happen in time."""
    before: Any = FEED[fault]
    assert not faults_feed.good(FEED | {fault: before | {figure: value}})


@pytest.mark.parametrize("wrong", [{"jobs": 8}, {"dead_letters": 1}, {"clusters": 0}, {"stored_once": False}])
def test_each_figure_of_the_hour_can_fail_it(wrong: dict[str, Any]) -> None:
    """Posts stored once are not enough."""
    assert not hour.good(HOUR | wrong)
