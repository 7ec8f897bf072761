"""Matching both ways: near words, near shape, as of a moment, diverse; paths as people have them; refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sqlalchemy import Engine

from answer.plots import draw_matches
from db.engine import transaction
from db.queries.earned import Fold, add_fold
from db.queries.trajectories import insert_library
from domain.clock import ManualClock
from domain.errors import InputError, NoCandles
from domain.types import LibraryRows
from moodtape import matching
from tests.fakes.answers import store_candles
from workers.client.match import MatchRequest, match, path_of, read_prices

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
MICROS = 1_000_000
UP, WAVE = np.linspace(0, 2, 256), np.sin(np.linspace(0, 12, 256))


class NoQueue:
    """A queue that nobody should ask."""

    def submit(self, post_ids: list[str], *, priority: Any, requester: str | None = None) -> object:
        raise AssertionError

    def wait(self, post_id: str, deadline: float) -> dict[str, Any]:
        raise AssertionError


class Answering(NoQueue):
    """A queue whose answer has one match."""

    def submit(self, post_ids: list[str], *, priority: Any, requester: str | None = None) -> object:
        return None

    def wait(self, post_id: str, deadline: float) -> dict[str, Any]:
        one = {
            "post_id": "a",
            "source": "s",
            "posted_at": "2024-01-01T00:00:00Z",
            "symbol": "BTC/USDT",
            "similarity": 0.9,
        }
        return {"trajectories": {"matches": [one | {"change": UP.tolist()}]}}


@pytest.fixture
def library(engine: Engine) -> None:
    """Two windows of one bin that rise, a wave, a fall of another market, and a rise that ends after noon."""
    changes = np.stack([UP, 3 * UP + 0.01 * WAVE, WAVE, -UP, UP])
    ago = (
        timedelta(days=9),
        timedelta(days=9, minutes=-5),
        timedelta(days=5),
        timedelta(days=3),
        timedelta(minutes=100),
    )
    starts = [NOON - before for before in ago]
    at = np.array([int(s.timestamp()) * MICROS for s in starts], dtype=np.int64)
    symbols = ("BTC/USDT", "BTC/USDT", "BTC/USDT", "ETH/USDT", "BTC/USDT")
    rows = LibraryRows(
        tuple(f"p:{n}" for n in range(5)), ("here",) * 5, symbols, at - 30 * MICROS, at,
        np.ones((5, 384), np.float16), changes.astype(np.float16), np.full(5, 0.1, np.float32),
    )  # fmt: skip
    with transaction(engine) as connection:
        insert_library(connection, rows, "e1")


def prices(change: Any) -> tuple[float, ...]:
    return tuple((100 * (1 + np.asarray(change) / 100)).tolist())


@pytest.mark.usefixtures("library")
def test_a_path_finds_posts_that_such_paths_followed(engine: Engine) -> None:
    """The rise finds one of the two rises of one bin, then the wave, last the fall; what ends after noon is not known yet."""
    told = match(engine, NoQueue(), MatchRequest(prices=prices(UP)), clock=ManualClock(NOON))
    assert told["direction"] == "series_to_posts"
    ids = [m["post_id"] for m in told["matches"]]
    assert len(ids) == 3
    assert ids[0] in ("p:0", "p:1")
    assert ids[1:] == ["p:2", "p:3"]
    assert told["matches"][0]["similarity"] == pytest.approx(1, abs=0.01)
    assert told["matches"][-1]["similarity"] == pytest.approx(-1, abs=0.01)
    assert sum(told["ended"].values()) == pytest.approx(1, abs=0.01)
    early = match(
        engine, NoQueue(), MatchRequest(prices=prices(UP), at=NOON - timedelta(days=4)), clock=ManualClock(NOON)
    )
    assert [m["post_id"] for m in early["matches"]][-1] == "p:2"
    other = match(engine, NoQueue(), MatchRequest(prices=prices(UP), symbol="eth"), clock=ManualClock(NOON))
    assert [m["post_id"] for m in other["matches"]] == ["p:3"]


@pytest.mark.usefixtures("library")
def test_a_market_is_its_last_minutes(engine: Engine) -> None:
    """--symbol with whole candles asks with them; without, it says what is missing."""
    store_candles(engine, "BTC/USDT", NOON, 300)
    told = match(engine, NoQueue(), MatchRequest(symbol="BTC/USDT"), clock=ManualClock(NOON))
    assert len(told["asked"]) == 256
    assert told["asked"][0] == 0
    assert told["matches"]
    with pytest.raises(NoCandles, match="ETH/USDT"):
        match(engine, NoQueue(), MatchRequest(symbol="ETH/USDT"), clock=ManualClock(NOON))


def test_a_text_is_answered_by_the_worker(engine: Engine) -> None:
    """Words go the way of every post; the matches and how they ended come back."""
    told = match(engine, Answering(), MatchRequest(text="to the moon"), clock=ManualClock(NOON))
    assert (told["direction"], told["matcher"]) == ("text_to_series", "near words")
    assert told["ended"] == {"up": 1.0, "down": 0.0, "flat": 0.0}
    assert told["asked"] is None


@pytest.mark.usefixtures("library")
def test_the_newest_walk_forward_says_whether_a_matcher_beats_its_twin(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each way has its own figures; an interval above zero beats, one that holds zero does not; without, null."""
    shares = {"r_at_10": {"model": 0.2, "chance": 0.1, "placebo": 0.12}, "n": 90}
    ways = {"text_to_series": shares | {"interval": [0.01, 0.2]}, "series_to_text": shares | {"interval": [-0.01, 0.2]}}
    for recall in ({}, ways):
        with transaction(engine) as connection:
            add_fold(connection, Fold("store", "r", 9, {"recall": recall}, signal=False, alarms={}))
        words = match(engine, Answering(), MatchRequest(text="to the moon"), clock=ManualClock(NOON))
        shape = match(engine, NoQueue(), MatchRequest(prices=prices(UP)), clock=ManualClock(NOON))
        assert (words["beats_placebo"], shape["beats_placebo"]) == ((True, False) if recall else (None, None))
    assert words["tested"]["r_at_10"] == shares["r_at_10"]
    matching.show(shape, as_json=False)
    assert "does not beat exchanged words: the right one among ten in 20.0% of 90" in capsys.readouterr().out


def test_what_cannot_be_matched_is_refused(engine: Engine) -> None:
    """Nothing, both, a future time."""
    clock = ManualClock(NOON)
    for wrong in (
        MatchRequest(),
        MatchRequest("a", (1.0,) * 20),
        MatchRequest(prices=(1.0,) * 20, at=NOON + timedelta(days=1)),
    ):
        with pytest.raises(InputError):
            match(engine, NoQueue(), wrong, clock=clock)


@pytest.mark.parametrize(
    "text",
    ["[1, 2, 3]", "1 2 3", "1\n2\n3\n", "close\n1\n2\n3", "time,close\n10:00,1\n10:01,2\n10:02,3", "a;1\r\nb;2\r\nc;3"],
)
def test_prices_come_as_people_have_them(text: str) -> None:
    """A JSON list, numbers in a line, a column, columns with a header or semicolons."""
    assert read_prices(text) == (1.0, 2.0, 3.0)


def test_a_path_is_checked_and_stretched() -> None:
    """Any length from 16 becomes 256 steps from 0; other things are named."""
    path = path_of(np.linspace(100, 110, 20))
    assert path.shape == (256,)
    assert (path[0], path[-1]) == (0, pytest.approx(10))
    for wrong in ([1.0] * 3, [0.0] * 20, [float("nan")] * 20):
        with pytest.raises(InputError):
            path_of(wrong)
    with pytest.raises(InputError, match="hello"):
        read_prices("1\nhello\n3")


def test_the_command_asks_for_one_thing(tmp_path: Path) -> None:
    """One of --text, --series, --symbol; a file that is not there, or holds no prices, is named before anything else."""
    with pytest.raises(InputError, match="--series"):
        matching.request("", None, None, None)
    with pytest.raises(InputError, match="is_missing"):
        matching.request("", tmp_path / "is_missing.csv", None, None)
    (tmp_path / "a.csv").write_text("close\n" + "\n".join(str(v) for v in prices(UP)))
    assert len(matching.request("", tmp_path / "a.csv", "btc", None).prices) == 256


@pytest.mark.usefixtures("library")
def test_matches_are_told_and_drawn(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines for people, one JSON object for programs, and a picture with blue and orange in it."""
    told = match(engine, NoQueue(), MatchRequest(prices=prices(UP)), clock=ManualClock(NOON))
    matching.show(told, as_json=False, chart=tmp_path / "m.png")
    assert "near shape" in capsys.readouterr().out
    picture = cv2.imdecode(np.frombuffer(draw_matches(told), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (500, 900, 3)
    assert (tmp_path / "m.png").stat().st_size > 3000
    assert (np.abs(picture.astype(int) - (165, 98, 0)).sum(-1) < 30).sum() > 200
