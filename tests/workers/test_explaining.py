"""A chart in words: the worker's use-case, its task, and the client that asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.posts import insert_posts
from db.queries.telegram import forget
from db.queries.trajectories import insert_library, vectors_of
from domain.answer import Explanation
from domain.errors import MoodtapeError, NoCandles, Unavailable, UnknownSymbol
from domain.reasons import Reason
from domain.types import LibraryRows, Post
from tests.fakes.answers import store_candles
from workers.client.queue import ScoringClient
from workers.explaining import direction, explain_chart
from workers.service import answer_questions
from workers.settings import WorkerSettings

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
BTC = "BTC/USDT"


class Explaining:
    """Remembers what it was given."""

    def __init__(self, result: Explanation | Reason) -> None:
        self.result = result
        self.vectors, self.asked = np.zeros((0, 384)), ()

    def of_posts(self, vectors: Any, said: Any, symbol: str, embed: Any, direction: str | None = None) -> Any:
        self.vectors, self.asked = vectors, (tuple(said), symbol, direction)
        return self.result


def scorer(model: Explaining | None) -> Any:
    """Texts are embedded by their length: the longest is nearest to the library's vectors."""

    def embed(texts: Sequence[str]) -> Any:
        return np.array([[len(text) / 100] + [0.0] * 383 for text in texts], dtype=np.float32)

    return SimpleNamespace(parts=SimpleNamespace(explanation=model), embed=embed)


@pytest.fixture
def chart(engine: Engine) -> None:
    """300 candles up to noon, and two ended windows whose words have vectors along the first axis."""
    store_candles(engine, BTC, NOON, 300)
    at = np.array([int((NOON - timedelta(days=d)).timestamp()) * 1_000_000 for d in (3, 5)], dtype=np.int64)
    vectors = np.zeros((2, 384), np.float16)
    vectors[:, 0] = 1
    change = np.stack([np.linspace(0, 1, 256), np.sin(np.linspace(0, 9, 256))]).astype(np.float16)
    rows = LibraryRows(("p:1", "p:2"), ("here",) * 2, (BTC,) * 2, at, at, vectors, change, np.ones(2, np.float32))
    with transaction(engine) as connection:
        insert_library(connection, rows, "e1")
        insert_posts(connection, [
            Post("x:1", "x", "bitcoin waits", "en", NOON - timedelta(minutes=5)),
            Post("x:2", "x", "bitcoin waits for the central bank", "en", NOON - timedelta(minutes=9)),
            Post("door:1", "door", "a private and very long question about bitcoin", "en", NOON),
            Post("x:3", "x", "a later and very long post about bitcoin and banks", "en", NOON + timedelta(minutes=1)),
        ])  # fmt: skip


@pytest.mark.usefixtures("chart")
def test_a_chart_is_explained_beside_public_posts_of_its_hour(engine: Engine) -> None:
    """Words from the mean of what such paths followed; real posts, nearest first, neither private nor later ones."""
    model = Explaining(Explanation("Traders wait", 0.8))
    told = explain_chart(engine, scorer(model), "btc", NOON)
    assert told["explanation"] == {"text": "Traders wait", "round_trip": 0.8, "kind": "decoded"}
    assert (told["explanation_reason"], told["symbol"], told["matches"]) == (None, BTC, 2)
    assert [post["post_id"] for post in told["posts"]] == ["x:2", "x:1"]
    assert model.vectors.shape == (2, 384)
    assert model.asked == ((), BTC, told["direction"])


@pytest.mark.usefixtures("chart")
def test_what_is_withheld_says_why(engine: Engine) -> None:
    """A withheld explanation and a generation without one give their codes."""
    withheld = explain_chart(engine, scorer(Explaining(Reason("explanation_far"))), BTC, NOON)
    assert (withheld["explanation"], withheld["explanation_reason"]) == (None, {"code": "explanation_far"})
    assert explain_chart(engine, scorer(None), BTC, NOON)["explanation_reason"] == {"code": "explanation_no_text"}


@pytest.mark.usefixtures("chart")
def test_without_words_a_typical_post_of_the_matches_stands_in(engine: Engine) -> None:
    """Withheld words, or none: a real post that such a path followed, where its text is stored."""
    with transaction(engine) as connection:
        insert_posts(connection, [Post("p:2", "here", "all wait", "en", NOON - timedelta(days=5))])
    for model in (None, Explaining(Reason("explanation_far"))):
        told = explain_chart(engine, scorer(model), BTC, NOON)
        assert told["explanation"] == {"text": "all wait", "round_trip": 1.0, "kind": "typical"}
        assert told["explanation_reason"] is None


def test_charts_that_cannot_be_read_are_refused(engine: Engine) -> None:
    """No candles, or no market of that name."""
    with pytest.raises(NoCandles):
        explain_chart(engine, scorer(None), BTC, NOON)
    with pytest.raises(UnknownSymbol):
        explain_chart(engine, scorer(None), "no such market", NOON)


def test_a_direction_needs_a_clear_move() -> None:
    """A path that ends where it began has none; one that drifts steadily has its own."""
    noise = np.random.default_rng(0).normal(0, 1e-3, 255)
    calm = noise - noise.mean()
    assert direction(np.exp(np.cumsum([0, *calm]))) is None
    assert direction(np.exp(np.cumsum([0, *(calm + 1e-3)]))) == "up"
    assert direction(np.exp(np.cumsum([0, *(calm - 1e-3)]))) == "down"
    assert direction(np.ones(256)) is None


class Direct:
    """A Celery application whose task runs in a thread as soon as it is sent."""

    def __init__(self) -> None:
        self.tasks: dict[str, Any] = {}
        self.running: list[threading.Thread] = []

    def task(self, *, name: str, **_: Any) -> Any:
        return lambda work: self.tasks.setdefault(name, work)

    def send_task(self, name: str, given: list[Any], **_: Any) -> None:
        if name in self.tasks:
            self.running.append(threading.Thread(target=self.tasks[name], args=given))
            self.running[-1].start()


def asking(engine: Engine, redis_url: str, explain: Any) -> tuple[ScoringClient, Direct]:
    app = Direct()
    client = ScoringClient(engine, WorkerSettings(redis_url=redis_url), app=app)  # type: ignore[arg-type]  # a stand-in
    if explain is not None:
        runner: Any = SimpleNamespace(between_batches=lambda work: work())
        answer_questions(app, runner, explain, client)  # type: ignore[arg-type]  # a stand-in
    return client, app


def test_the_answer_comes_back_through_redis(engine: Engine, redis_url: str) -> None:
    """What the worker says, and what it refuses, reaches who asked; a defect is told without its details."""

    def explain(symbol: str, at: datetime) -> dict[str, Any]:
        if symbol == "gone":
            raise NoCandles(Reason("no_past"))
        if symbol == "broken":
            raise ZeroDivisionError("secret")
        return {"symbol": symbol, "at": at.isoformat()}

    client, app = asking(engine, redis_url, explain)
    assert client.explain(BTC, NOON, 5) == {"symbol": BTC, "at": NOON.isoformat()}
    with pytest.raises(NoCandles) as refused:
        client.explain("gone", NOON, 5)
    assert refused.value.reason == Reason("no_past")
    with pytest.raises(MoodtapeError) as broken:
        client.explain("broken", NOON, 5)
    assert broken.value.reason == Reason("chart_broken")
    for thread in app.running:
        thread.join()
    client.close()


def test_nobody_answers(engine: Engine, redis_url: str) -> None:
    """Without a worker, and with Redis away, the caller is told to try again."""
    client, _ = asking(engine, redis_url, None)
    with pytest.raises(Unavailable) as alone:
        client.explain(BTC, NOON, 1)
    assert alone.value.reason == Reason("no_explainer", {"seconds": 1})
    client.close()
    away, _ = asking(engine, "redis://127.0.0.1:1/0", None)
    with pytest.raises(Unavailable) as unreachable:
        away.explain(BTC, NOON, 1)
    assert unreachable.value.reason == Reason("queue_away")
    away.close()


def test_forgetting_a_person_takes_the_vectors_of_their_words(engine: Engine) -> None:
    """Vectors decode into the text they came from, so /forget_me deletes them with the posts."""
    at = np.array([int((NOON - timedelta(days=3)).timestamp()) * 1_000_000], dtype=np.int64)
    vector = np.full((1, 384), 0.05, np.float16)
    rows = LibraryRows(
        ("telegram:1",), ("telegram",), (BTC,), at, at, vector, np.ones((1, 256), np.float16), np.ones(1)
    )
    with transaction(engine) as connection:
        insert_posts(connection, [Post("telegram:1", "telegram", "my secret", "en", NOON, author_hash="me")])
        insert_library(connection, rows, "e1")
        assert len(vectors_of(connection, [("telegram:1", BTC)])) == 1
        forget(connection, "me", None)
        assert len(vectors_of(connection, [("telegram:1", BTC)])) == 0
