"""The Celery application: a doorbell over Redis. What waits, and what came of it, is in PostgreSQL."""

from __future__ import annotations

from celery import Celery

from workers.settings import WorkerSettings

SCORE = "workers.score"
"""Name of the one task: score whatever waits."""


def make_app(settings: WorkerSettings | None = None) -> Celery:
    """A Celery application; nothing connects before the first message.

    A doorbell that is lost or rung twice does no harm: jobs are claimed in PostgreSQL, and the reconciler rings again.
    """
    settings = settings or WorkerSettings()
    app = Celery("moodtape", set_as_current=False, broker=settings.redis_url.get_secret_value())
    app.conf.update(
        task_default_queue=settings.queue,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_pool="solo",
        worker_concurrency=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=10,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={
            "visibility_timeout": settings.visibility,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
            "socket_keepalive": True,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
    )
    return app
