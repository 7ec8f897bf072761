"""What a door needs of the scoring queue: put posts on it, wait for the answer, cancel. No model code is loaded here."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.listen import VerdictListener
from db.queries import jobs, revisions, verdicts
from domain.answer import Json, stamp
from domain.clock import Clock, SystemClock
from domain.errors import Busy, Cancelled, InputError, MoodtapeError, Unavailable
from domain.reasons import Reason
from models.manifest import load_manifest
from workers.settings import WorkerSettings

SCORE = "workers.score"
"""Name of the task that scores whatever waits."""

EXPLAIN = "workers.explain"
"""Name of the task that explains a chart: (reply's name, symbol, ISO time)."""

KEPT = 60
"""Seconds for which a chart's explanation waits in Redis for who asked; it is made anew at each call."""


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


log = structlog.get_logger()

LOOK_AGAIN = 1.0
"""Seconds after which a waiting caller looks for itself, should news have been missed."""

REMEMBER = 5.0
"""Seconds for which the champion's revision is remembered."""

QUIET = 2.0
"""Seconds for which a bell that failed is not tried again; the workers' reconciler looks meanwhile."""

GUESSED_RATE = 20.0
"""Posts per second assumed for a worker that has not measured itself yet."""


class Priority(IntEnum):
    """Who is served first."""

    PEOPLE = 0
    LIVE = 1
    RESCORE = 2


class NoAnswerYet(Unavailable):
    """No verdict within the time that was given; the job goes on."""


class ScoringClient:
    """The queue as its callers see it; one per process, safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        settings: WorkerSettings | None = None,
        *,
        app: Celery | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings or WorkerSettings()
        self._clock = clock or SystemClock()
        self._app = app
        self.listener = VerdictListener(engine)
        self._lock = threading.Lock()
        self._champion: tuple[float, str] | None = None
        self._quiet_until = 0.0

    @property
    def revision(self) -> str:
        """The model revision whose verdicts people see: the champion, else the one whose weights lie here."""
        now = self._clock.monotonic()
        if self._champion is None or self._champion[0] < now:
            with transaction(self._engine) as connection:
                found = revisions.champion(connection)
            self._champion = (now + REMEMBER, found or load_manifest().revision)
        return self._champion[1]

    def enqueue(
        self, connection: Connection, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None
    ) -> int:
        """Put stored posts on the queue in the caller's transaction; :meth:`ring` after it. Returns how many now wait."""
        return jobs.enqueue(connection, post_ids, self.revision, priority, requester)

    def ring(self, priority: Priority) -> bool:
        """Wake a worker; whether that worked. With Redis away nothing is lost: workers look for themselves."""
        now = self._clock.monotonic()
        if now < self._quiet_until:
            return False
        try:
            with self._lock:
                self._bell.send_task(SCORE, queue=self._settings.queue, retry=False, ignore_result=True)
        except (KombuError, OperationalError, RedisError, OSError) as error:
            self._quiet_until = now + QUIET
            log.warning("the bell cannot be rung", priority=priority.name, error=type(error).__name__)
            return False
        return True

    def submit(self, post_ids: Sequence[str], *, priority: Priority, requester: str | None = None) -> int:
        """Enqueue, commit, ring; returns how many now wait because of it.

        Raises:
            Busy: too many posts wait, in all or of this requester; ``retry_after`` says for about how long.
            Unavailable: PostgreSQL does not answer.
        """
        with transaction(self._engine) as connection:
            self.refuse_if_busy(connection, priority, requester)
            count = self.enqueue(connection, post_ids, priority=priority, requester=requester)
        self.ring(priority)
        return count

    def refuse_if_busy(self, connection: Connection, priority: Priority, requester: str | None = None) -> None:
        """Back-pressure: raise :class:`Busy` when this priority's backlog is too long."""
        bound = {Priority.PEOPLE: self._settings.max_people, Priority.LIVE: self._settings.max_live}.get(priority)
        if bound is None:
            return
        waiting = jobs.backlog(connection, self.revision, max(bound, jobs.COUNTED))
        ahead = sum(w.posts for w in waiting if w.priority <= priority)
        own = jobs.waiting_of(connection, requester) if requester and priority == Priority.PEOPLE else 0
        if ahead < bound and own < self._settings.max_per_requester:
            return
        seconds = self._seconds_for(connection, min(ahead, own or ahead))
        code, count = ("own_queue_full", own) if own and ahead < bound else ("queue_full", ahead)
        raise Busy(Reason(code, {"count": count, "seconds": round(seconds)}), retry_after=seconds)

    def wait(self, post_id: str, deadline: float) -> Json:
        """The answer to a submitted post.

        Raises:
            MoodtapeError: what the scoring of this post failed with.
            Cancelled: it was taken off the queue.
            NoAnswerYet: not within ``deadline`` seconds; the job goes on all the same.
            Unavailable: PostgreSQL is away, or :meth:`end_waits` was called.
        """
        end = self._clock.monotonic() + deadline
        with self.listener.waiting(post_id) as news:
            while True:
                news.clear()
                if (answer := self._look(post_id)) is not None:
                    return answer
                if self.listener.closed:
                    raise Unavailable(Reason("stopping"))
                left = end - self._clock.monotonic()
                if left <= 0:
                    raise NoAnswerYet(Reason("no_answer_yet", {"seconds": round(deadline)}))
                news.wait(min(left, LOOK_AGAIN))

    def explain(self, symbol: str, at: datetime, deadline: float) -> Json:
        """What a market's last 256 minutes are about, by a worker; nothing of it is stored.

        Raises:
            MoodtapeError: what the worker answered, for example that there are no candles.
            Unavailable: Redis is away, or no worker answered within ``deadline`` seconds.
        """
        name = f"moodtape:explain:{uuid4().hex}"
        try:
            with self._lock:
                given = [name, symbol, stamp(at)]
                self._bell.send_task(
                    EXPLAIN, given, queue=self._settings.queue, retry=False, ignore_result=True, expires=deadline
                )
            found = self._replies.blpop([name], timeout=deadline)
        except (KombuError, OperationalError, RedisError, OSError):
            raise Unavailable(Reason("queue_away")) from None
        if found is None:
            raise Unavailable(Reason("no_explainer", {"seconds": round(deadline)}))
        answer: Json = json.loads(found[1])
        if "error" in answer:
            raise error_of(answer["error"])
        return answer

    def reply(self, name: str, answer: Json) -> None:
        """Hand a chart's explanation to who asked (:meth:`explain`)."""
        self._replies.lpush(name, json.dumps(answer))
        self._replies.expire(name, KEPT)

    @cached_property
    def _replies(self) -> Any:
        return Redis.from_url(self._settings.redis_url.get_secret_value(), socket_connect_timeout=2)

    def cancel(self, post_ids: Sequence[str]) -> int:
        """Take posts off the queue that are not being scored yet; returns how many. Who waits for one is told at once."""
        with transaction(self._engine) as connection:
            return jobs.cancel(connection, post_ids)

    def end_waits(self) -> None:
        """Let everybody go who waits for an answer: the process is stopping."""
        self.listener.close()

    def close(self) -> None:
        """Stop listening and let go of Redis."""
        self.listener.close()
        if "_replies" in self.__dict__:
            self._replies.close()
        if "_bell" in self.__dict__ and self._app is None:
            self._bell.close()

    @cached_property
    def _bell(self) -> Celery:
        return self._app or make_app(self._settings)

    def _look(self, post_id: str) -> Json | None:
        revision = self.revision
        with transaction(self._engine) as connection:
            if (found := jobs.awaited(connection, post_id, revision)) is None:
                return verdicts.answer(connection, post_id, revision)
            revision, job = found
            if job.state == "waiting":
                return None
            if job.state == "failed":
                raise error_of(job.error)
            if job.state in ("cancelled", "paused"):
                raise Cancelled(Reason("cancelled"))
            return verdicts.answer(connection, post_id, revision)

    def _seconds_for(self, connection: Connection, posts: int) -> float:
        running = [s for s in revisions.scorers(connection) if s.revision == self.revision]
        rate = sum(s.posts_per_second or GUESSED_RATE for s in running) or GUESSED_RATE
        return max(1.0, posts / rate)


def error_text(error: MoodtapeError) -> str:
    """An error as it stands in ``jobs.error``, JSON: ``{"error": code of its class, "reason": {"code", …parameters}}``."""
    reason = error.reason or Reason("not_scored")
    return json.dumps({"error": error.code, "reason": reason.json()}, ensure_ascii=False)


def error_of(stored: str | None) -> MoodtapeError:
    """The error that :func:`error_text` wrote, of its own class again; version 0.1 wrote ``code: message``."""
    kinds = {kind.code: kind for kind in reversed(_kinds(MoodtapeError)) if kind is not Busy}
    if stored and stored.startswith("{"):
        found = json.loads(stored)
        return kinds.get(found["error"], InputError)(Reason.read(found["reason"]))
    code, _, message = (stored or "").partition(": ")
    return kinds.get(code, InputError)(Reason.read(message) if message else Reason("not_scored"))


def _kinds(root: type[MoodtapeError]) -> list[type[MoodtapeError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]
