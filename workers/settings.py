"""Settings of the scoring queue, for its client and its workers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from db.engine import Settings


class WorkerSettings(Settings):
    """Read from the environment: ``REDIS_URL`` and how the queue behaves."""

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis that rings for waiting jobs; nothing is lost when it is",
        validation_alias="REDIS_URL",
    )
    queue: str = Field(default="score", description="name of the doorbell's queue", validation_alias="MOODTAPE_QUEUE")
    visibility: int = Field(
        default=60,
        ge=1,
        description="seconds after which Redis rings again for a doorbell that was taken and not acknowledged",
        validation_alias="MOODTAPE_VISIBILITY",
    )
    max_people: int = Field(
        default=400, ge=1, description="interactive posts that may wait", validation_alias="MOODTAPE_MAX_PEOPLE"
    )
    max_per_requester: int = Field(
        default=40,
        ge=1,
        description="posts of one chat or key that may wait",
        validation_alias="MOODTAPE_MAX_PER_REQUESTER",
    )
    max_live: int = Field(
        default=50_000, ge=1, description="live posts that may wait", validation_alias="MOODTAPE_MAX_LIVE"
    )
    batch_seconds: float = Field(
        default=0.4,
        gt=0,
        description="how long one batch should take; a person waits at most about two of them",
        validation_alias="MOODTAPE_BATCH_SECONDS",
    )
    batch_posts: int = Field(
        default=256, ge=1, description="most posts in one batch", validation_alias="MOODTAPE_BATCH_POSTS"
    )
    batch_pictures: int = Field(
        default=16,
        ge=1,
        description="most posts with a picture in one batch; a picture costs far more than words",
        validation_alias="MOODTAPE_BATCH_PICTURES",
    )
    batch_deadline: float = Field(
        default=300.0,
        gt=0,
        description="seconds after which PostgreSQL takes the jobs of a silent worker back",
        validation_alias="MOODTAPE_BATCH_DEADLINE",
    )
    reconcile_seconds: float = Field(
        default=2.0,
        gt=0,
        description="age in seconds from which a waiting job is rung for again",
        validation_alias="MOODTAPE_RECONCILE_SECONDS",
    )
    rescore_window: int = Field(
        default=4_000,
        ge=10,
        description="posts that a rescore run keeps on the queue at a time",
        validation_alias="MOODTAPE_RESCORE_WINDOW",
    )
    threads: int = Field(
        default=0, ge=0, description="threads of the model; 0 means all cores", validation_alias="MOODTAPE_THREADS"
    )
    processes: int = Field(
        default=0,
        ge=0,
        description="scoring processes; 0 means one per GPU, or one without a GPU",
        validation_alias="MOODTAPE_WORKER_PROCESSES",
    )
    artifacts: Path | None = Field(
        default=None,
        description="folder of other weights to score with, a challenger; the packaged ones when empty",
        validation_alias="MOODTAPE_ARTIFACTS",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="port of the worker's Prometheus metrics; 0 means none",
        validation_alias="MOODTAPE_WORKER_METRICS_PORT",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="address that metrics are served on; another than the loopback only inside a container's network",
        validation_alias="MOODTAPE_METRICS_HOST",
    )
