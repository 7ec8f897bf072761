"""Verdicts with everything in them, made by rule from the post, and a worker that gives them: for tests of the doors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from db.engine import transaction
from db.queries import revisions
from db.queries.candles import upsert_candles
from domain.answer import Coverage, Emotions, Hype, HypeForecast, Match, Trajectories, Verdict
from domain.errors import MoodtapeError
from domain.reasons import Reason
from domain.types import EMOTIONS, STEPS
from models.scorer import ScoringInput
from tests.fakes.candles import candles_at
from tests.fakes.scoring import FakeScorer
from workers.metrics import Metrics
from workers.runner import Runner
from workers.settings import WorkerSettings

REVISION = "fake"
TRAINED = datetime(2024, 1, 1, tzinfo=UTC)


def verdict(
    post_id: str = "door:1", seed: int = 0, matches: int = 12, symbol: str = "BTC/USDT", image: bool = True
) -> Verdict:
    """A whole verdict; the same arguments give the same one."""
    random = np.random.default_rng(seed)
    joint, text, picture = (
        dict(zip(EMOTIONS, map(float, random.dirichlet(np.ones(7))), strict=True)) for _ in range(3)
    )
    label = max(joint, key=joint.__getitem__)
    words = [{"word": "happy", "weight": 0.6}, {"word": "moon", "weight": 0.05}, {"word": "sold", "weight": -0.3}]
    emotions = Emotions(label, joint, text, picture if image else None, faces=int(image), why={"words": words})
    hype = HypeForecast(0.31, 0.2, STEPS, 1.4, signal=False, reason=Reason("no_better_than_persistence"))
    return Verdict(
        post_id, REVISION, TRAINED, emotions, Hype(hype, post_reason=Reason("no_post_hype")),
        paths(random, matches, symbol), None, Reason("no_explanation"), (Reason("newest_windows"),),
    )  # fmt: skip


def paths(random: np.random.Generator, count: int, symbol: str) -> Trajectories:
    """Random walks, their mean, and a band about zero that widens with the root of time; ``count`` of them are matches."""
    walks = np.cumsum(random.standard_t(4, size=(max(count, 1), STEPS)) * 0.06, axis=1).astype(np.float32)
    walks -= walks[:, :1]
    mean, width = walks.mean(0), (np.sqrt(np.arange(STEPS)) * 0.09).astype(np.float32)
    found = tuple(
        Match(f"lib:{k}", "reddit", TRAINED - timedelta(days=k + 1), symbol, 0.9 - 0.01 * k, walks[k])
        for k in range(count)
    )
    usual = np.linspace(0, 0.05, STEPS, dtype=np.float32)
    return Trajectories(
        symbol, median=mean * 0, low=-width, high=width, coverage=Coverage(0.8), baseline_mean=usual, signal=False,
        reason=Reason("signal_untested"), independent_windows=7, matches=found, matches_mean=mean, control_mean=usual * 2,
    )  # fmt: skip


class RichScorer(FakeScorer):
    """Whole verdicts without matches in the library; ``FAIL`` in a text is an error."""

    def score(self, inputs: Sequence[ScoringInput]) -> list[Verdict | MoodtapeError]:
        answers = super().score(inputs)
        return [
            answer
            if isinstance(answer, MoodtapeError)
            else verdict(item.post.id, len(item.post.text), 0, item.symbol, item.post.image is not None)
            for item, answer in zip(inputs, answers, strict=True)
        ]


@contextmanager
def working(engine: Engine, scorer: FakeScorer | None = None) -> Iterator[Runner]:
    """A worker in a thread, on the real queue, while the block runs."""
    runner = Runner(engine, scorer or RichScorer(REVISION), WorkerSettings(), Metrics(CollectorRegistry()))
    with transaction(engine) as connection:
        revisions.register(connection, REVISION, {})
        revisions.beat(connection, "fake-1", REVISION, "cpu", 100.0)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            runner.run_once()
            stop.wait(0.01)

    thread = threading.Thread(target=work, name="fake-worker")
    thread.start()
    try:
        yield runner
    finally:
        stop.set()
        thread.join()


def store_candles(engine: Engine, symbol: str, end: datetime, minutes: int, price: float = 100.0) -> None:
    """A calm random walk of one-minute candles, the last of which closed at ``end``."""
    random = np.random.default_rng(len(symbol))
    closes = price * np.exp(np.cumsum(random.normal(0, 0.0006, minutes + 1)))
    bars = []
    for k in range(minutes):
        low, high = sorted(closes[k : k + 2])
        bars.append((closes[k], high * 1.0003, low * 0.9997, closes[k + 1], 5.0 + k % 7))
    start = end - timedelta(minutes=minutes)
    with transaction(engine) as connection:
        upsert_candles(connection, candles_at(start, range(minutes), bars, symbol, "binance"))
