"""Prometheus metrics of a scoring process."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from db.queries.jobs import Waiting
from domain.answer import Coverage

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NAMES = ("people", "live", "rescore")


class Metrics:
    """One set per process; a registry of one's own in tests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.posts = Counter("moodtape_scored_posts", "posts scored", ["priority", "outcome"], registry=registry)
        self.stage = Histogram(
            "moodtape_batch_seconds", "seconds per batch and stage", ["stage"], buckets=SECONDS, registry=registry
        )
        self.fill = Histogram(
            "moodtape_batch_fill",
            "share of a batch's bound that was filled",
            buckets=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
            registry=registry,
        )
        self.model_seconds = Counter("moodtape_model_seconds", "seconds spent in the models", registry=registry)
        self.rate = Gauge("moodtape_posts_per_second", "posts per second while busy", registry=registry)
        self.waiting = Gauge("moodtape_queue_posts", "posts that wait", ["priority"], registry=registry)
        self.age = Gauge(
            "moodtape_queue_age_seconds", "age of the oldest waiting post", ["priority"], registry=registry
        )
        self.empty_rings = Counter("moodtape_empty_rings", "doorbells that found nothing", registry=registry)
        self.duplicate_rings = Counter(
            "moodtape_duplicate_rings", "doorbells that Redis delivered more than once", registry=registry
        )
        self.padding = Gauge(
            "moodtape_padding_waste", "share of computed token positions that were padding", registry=registry
        )
        self.gpu_memory = Gauge("moodtape_gpu_memory_bytes", "memory held on the GPU", registry=registry)
        self.deaths = Counter("moodtape_batch_deaths", "jobs in batches that died", registry=registry)
        self.coverage = Gauge(
            "moodtape_band_coverage",
            "share of steps inside the bands that closed in the last 45 days",
            ["symbol", "feed"],
            registry=registry,
        )
        self.scored = Gauge(
            "moodtape_band_scored", "scored predictions behind that share", ["symbol", "feed"], registry=registry
        )

    def held(self, symbol: str, coverage: Coverage, replayed: bool) -> None:
        """Note how a market's bands have held, as an answer says it; replays apart."""
        labels = (symbol, "replay" if replayed else "live")
        self.scored.labels(*labels).set(coverage.n)
        if coverage.live is not None:
            self.coverage.labels(*labels).set(coverage.live)

    def queue(self, backlog: Iterable[Waiting], now: datetime) -> None:
        """Note what waits."""
        for waiting in backlog:
            name = NAMES[waiting.priority]
            self.waiting.labels(name).set(waiting.posts)
            age = (now - waiting.oldest).total_seconds() if waiting.oldest else 0.0
            self.age.labels(name).set(max(0.0, age))
