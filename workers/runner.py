"""One batch: claim, load, score, write. The claim's transaction lives until the verdicts are in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy import Connection, Engine, text

from db.engine import transaction
from db.queries import jobs
from db.queries.claims import Claim, claim
from db.queries.predictions import Said, insert_predictions
from db.queries.verdicts import upsert_verdicts
from domain.answer import Verdict
from domain.clock import Clock, SystemClock
from domain.errors import ConfigError, MoodtapeError, Unavailable
from domain.types import complete_at
from models.scorer import ScoringInput
from models.trajectories.band import BandParameters
from workers.bands import Bands, forecast_of, went_in
from workers.client.queue import Priority, error_text
from workers.inputs import load_inputs
from workers.metrics import NAMES, Metrics
from workers.settings import WorkerSettings

FIRST = 16
LEAST = (2, 12, 12)
"""Fewest posts per batch of each priority: below, a batch's fixed costs would be most of it."""

GROWTH = 1.5
SHARE = 0.3
"""Weight of the newest batch in the running mean of the rate."""


class Pace:
    """Bounds per priority: a full batch that was quick lets the next one be larger, a slow one smaller.

    The duration of a batch is fixed costs plus so much per post, so seconds per post would mislead: they are worst for
    the smallest batches.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._limits = [min(FIRST, most)] * 3
        self._rate = 0.0

    @property
    def rate(self) -> float:
        """Posts per second while busy, of all priorities; 0 before the first batch."""
        return self._rate

    def limits(self) -> tuple[int, int, int]:
        """Most posts in the next batch of each priority."""
        people, live, rescore = self._limits
        return people, live, rescore

    def note(self, priority: int, posts: int, seconds: float) -> None:
        """Learn from a batch."""
        if posts == 0:
            return
        limit = self._limits[priority]
        wished = posts * self._seconds / max(seconds, 1e-6)
        if seconds > self._seconds:
            limit = min(limit, int(max(wished, posts / 2)))
        elif posts >= limit:
            limit = int(min(wished, GROWTH * limit + 1))
        self._limits[priority] = max(min(LEAST[priority], self._most), min(self._most, limit))
        rate = posts / max(seconds, 1e-6)
        weight = SHARE * min(1.0, posts / 8)
        self._rate = rate if self._rate == 0.0 else (1 - weight) * self._rate + weight * rate


log = structlog.get_logger()


class BatchScorer(Protocol):
    """What a runner needs of :class:`models.scorer.Scorer`."""

    revision: str

    @property
    def reads_posts(self) -> bool:
        """Whether contexts must say how many posts were published."""
        ...

    def prepare(self, inputs: Sequence[ScoringInput]) -> list[ScoringInput]:
        """The same inputs, tokenised and decoded; may run while another batch is scored."""
        ...

    def score(self, inputs: Sequence[ScoringInput]) -> list[Verdict | MoodtapeError]:
        """One verdict or error per input, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What one batch came to. ``more``: something else waits."""

    posts: int
    failed: int = 0
    more: bool = False


class Runner:
    """Runs batches; any thread may ask for the next one.

    The models serve one batch at a time. Everything else of a batch (claim, loading, tokenising, decoding, writing)
    overlaps with them when a second thread asks too: see :class:`workers.service.SecondRunner`.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: BatchScorer,
        settings: WorkerSettings,
        metrics: Metrics,
        ring: Callable[[Priority], object] = lambda _: None,
        clock: Clock | None = None,
        bands: Bands | None = None,
        library_end: Callable[[], int] = lambda: 0,
    ) -> None:
        self._library_end = library_end
        self._bands = bands
        self._engine = engine
        self._scorer = scorer
        self._settings = settings
        self._metrics = metrics
        self._ring = ring
        self._clock = clock or SystemClock()
        self._models = threading.Lock()
        self._lost: set[int] = set()
        self._running: list[None] = []  # appending and popping are atomic, counting up and down is not
        self.pace = Pace(settings.batch_seconds, settings.batch_posts)
        self.more = threading.Event()
        self.moved_at = self._clock.monotonic()

    @property
    def revision(self) -> str:
        """The revision that this process scores with."""
        return self._scorer.revision

    @property
    def busy(self) -> bool:
        """Whether any batch is under way."""
        return bool(self._running)

    def drain(self) -> int:
        """Run batches until nothing waits; returns the posts scored."""
        posts = 0
        while True:
            done = self.run_once(by_bell=False)
            posts += done.posts
            if not done.more:
                return posts

    def between_batches(self, work: Callable[[], object]) -> None:
        """Do something to the models while no batch uses them."""
        with self._models:
            work()

    def run_once(self, by_bell: bool = True) -> Done:
        """Score the next batch, if anything waits; one that a bell began rings again when more waits.

        Other batches do not ring, because their caller goes on without: rings would only pile up in Redis.

        Raises:
            Unavailable: PostgreSQL went away; the jobs are free again and nothing was written.
        """
        self._running.append(None)
        batch: int | None = None
        try:
            with transaction(self._engine) as connection:
                claims = self._claim(connection)
                if not claims:
                    self._metrics.empty_rings.inc()
                    return Done(0)
                more = self._tell_more(connection, claims, by_bell)
                batch = self._open(connection, claims)
                failed = self._score(connection, claims)
                jobs.close_batch(connection, batch)
        except (Unavailable, ConfigError):
            if batch is not None:
                self._lost.add(batch)
            raise
        finally:
            self._running.pop()
            self.moved_at = self._clock.monotonic()
        return Done(len(claims), failed, more)

    def _tell_more(self, connection: Connection, claims: Sequence[Claim], by_bell: bool) -> bool:
        more = jobs.more_waits(connection, self.revision, [c.id for c in claims])
        if more:
            self.more.set()
            if by_bell:
                self._ring(Priority(claims[0].priority))
        return more

    def _open(self, connection: Connection, claims: Sequence[Claim]) -> int:
        batch = jobs.hold_batch(connection)
        with transaction(self._engine) as note:
            jobs.note_batch(note, batch, [c.id for c in claims])
        return batch

    def _claim(self, connection: Connection) -> list[Claim]:
        with self._timed("claim"):
            self._guard(connection)
            self._forget_lost(connection)
            return claim(connection, self.revision, self.pace.limits(), self._settings.batch_pictures)

    def _guard(self, connection: Connection) -> None:
        """Let PostgreSQL end the transaction of a worker whose machine has vanished."""
        milliseconds = int(self._settings.batch_deadline * 1000)
        connection.execute(text(f"set local idle_in_transaction_session_timeout = {milliseconds}"))

    def _forget_lost(self, connection: Connection) -> None:
        """Batches that ended because PostgreSQL went away are no deaths of their posts."""
        while self._lost:
            jobs.close_batch(connection, self._lost.pop())

    def _score(self, connection: Connection, claims: Sequence[Claim]) -> int:
        with self._timed("load"):
            inputs = load_inputs(connection, claims, self._bands, counted=self._scorer.reads_posts)
            loaded_at = connection.execute(text("select clock_timestamp()")).scalar_one()
        with self._timed("prepare"):
            inputs = self._scorer.prepare(inputs)
        priority = claims[0].priority
        with self._models, self._timed("score") as elapsed:
            results = self._scorer.score(inputs)
            seconds = elapsed()
        self._metrics.model_seconds.inc(seconds)
        self._metrics.fill.observe(len(claims) / self.pace.limits()[priority])
        self.pace.note(priority, len(claims), seconds)
        self._metrics.rate.set(self.pace.rate)
        with self._timed("write"):
            return self._write(connection, claims, inputs, results, loaded_at)

    def _write(
        self,
        connection: Connection,
        claims: Sequence[Claim],
        inputs: Sequence[ScoringInput],
        results: Sequence[Verdict | MoodtapeError],
        loaded_at: datetime,
    ) -> int:
        by_post = {item.post.id: result for item, result in zip(inputs, results, strict=True)}
        answers = [(item, result) for item, result in zip(inputs, results, strict=True) if isinstance(result, Verdict)]
        end = self._library_end()
        at = loaded_at.isoformat()
        known = {v.post_id: went_in(i.context, end) | {"place": n, "at": at} for n, (i, v) in enumerate(answers)}
        upsert_verdicts(connection, [verdict for _, verdict in answers], known)
        priority = claims[0].priority
        if priority in (Priority.PEOPLE, Priority.LIVE):
            now = self._clock.now()
            given = self._bands.parameters if self._bands else None
            said = [_said(item, verdict, now, given) for item, verdict in answers]
            insert_predictions(connection, [one for one in said if one])
        failures = [(c.id, error_text(e)) for c in claims if isinstance(e := by_post.get(c.post_id), MoodtapeError)]
        failed = {job for job, _ in failures}
        jobs.finish(connection, [c.id for c in claims if c.id not in failed])
        jobs.fail(connection, failures)
        self._metrics.posts.labels(NAMES[priority], "verdict").inc(len(answers))
        for item, verdict in answers:
            if verdict.trajectories is not None and item.context is not None:
                self._metrics.held(item.symbol, verdict.trajectories.coverage, item.post.replayed)
        self._metrics.posts.labels(NAMES[priority], "error").inc(len(failures))
        return len(failures)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[Callable[[], float]]:
        started = self._clock.monotonic()
        yield lambda: self._clock.monotonic() - started
        self._metrics.stage.labels(stage).observe(self._clock.monotonic() - started)


def _said(item: ScoringInput, verdict: Verdict, now: datetime, parameters: BandParameters | None) -> Said | None:
    """The prediction in a verdict; None once the outcome may be known, or where nothing is predicted.

    The clock of a replayed post is its own time of posting.
    """
    due = complete_at(item.post.posted_at)
    band = verdict.trajectories
    hype = verdict.hype.symbol
    if (due <= now and not item.post.replayed) or (band is None and hype.probability is None):
        return None
    return Said(
        post_id=verdict.post_id,
        revision=verdict.revision,
        symbol=item.symbol,
        due_at=due,
        hype_probability=hype.probability,
        hype_threshold=hype.threshold,
        hype_minutes=hype.horizon_minutes,
        end_mean=float(band.median[-1]) if band else None,
        end_low=float(band.low[-1]) if band else None,
        end_high=float(band.high[-1]) if band else None,
        replayed=item.post.replayed,
        **(forecast_of(parameters, item.context) if band and parameters else {}),
    )
