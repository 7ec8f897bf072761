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
    queue: str = Field(default="score", description="name of the doorbell's queue")
    visibility: int = Field(
        default=60,
        ge=1,
        description="seconds after which Redis rings again for a doorbell that was taken and not acknowledged",
    )
    max_people: int = Field(default=400, ge=1, description="interactive posts that may wait")
    max_per_requester: int = Field(default=40, ge=1, description="posts of one chat or key that may wait")
    max_live: int = Field(default=50_000, ge=1, description="live posts that may wait")
    batch_seconds: float = Field(
        default=0.4, gt=0, description="how long one batch should take; a person waits at most about two of them"
    )
    batch_posts: int = Field(default=256, ge=1, description="most posts in one batch")
    batch_pictures: int = Field(
        default=16, ge=1, description="most posts with a picture in one batch; a picture costs far more than words"
    )
    batch_deadline: float = Field(
        default=300.0, gt=0, description="seconds after which PostgreSQL takes the jobs of a silent worker back"
    )
    reconcile_seconds: float = Field(
        default=2.0, gt=0, description="age in seconds from which a waiting job is rung for again"
    )
    rescore_window: int = Field(
        default=4_000, ge=10, description="posts that a rescore run keeps on the queue at a time"
    )
    threads: int = Field(default=0, ge=0, description="threads of the model; 0 means all cores")
    worker_processes: int = Field(
        default=0, ge=0, description="scoring processes; 0 means one per GPU, or one without a GPU"
    )
    artifacts: Path | None = Field(
        default=None, description="folder of other weights to score with, a challenger; the packaged ones when empty"
    )
    worker_metrics_port: int = Field(
        default=0, ge=0, le=65535, description="port of the worker's Prometheus metrics; 0 means none"
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="address that metrics are served on; another than the loopback only inside a container's network",
    )
