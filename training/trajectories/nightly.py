"""The nightly walk-forward on what is stored: figures beside baselines and the shuffled-text twin, alarms, and the event study.

Every run is a row of ``walk_forwards``; the newest says whether answers may carry a signal. Celery's beat starts one a night.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from celery import Celery
from celery.schedules import crontab
from sqlalchemy import Connection, Engine

from db.engine import make_engine, transaction
from db.queries import walk_forwards
from db.queries.market_history import market_contexts, unfilled_gaps
from db.queries.trajectories import load_library_rows
from db.queries.walk_forwards import Fold
from domain.errors import InputError, MoodtapeError
from domain.types import Floats, LibraryRows, from_micros, to_micros
from models.manifest import ARTIFACTS, verify
from models.trajectories.library import encoder_revision
from models.trajectories.retrieval import K, RetrievedTrajectories, load_trajectories
from training.trajectories import evaluate, events
from training.trajectories.evaluate import Questions
from training.trajectories.event_rules import Rule
from training.trajectories.pairs import Pairs
from workers.bands import Bands
from workers.client.queue import make_app

log = structlog.get_logger()

DAYS = 45
"""Closed windows of so many days are scored; earlier ones are only matched."""
FEWEST = 30
MOST = 2_000
QUEUE = "nightly"
TASK = "training.nightly"
TRIALS = 5
"""Comparisons of one run that could let a signal through: coverage, CRPS, volatility, big moves, words."""
HELD = 0.04
"""How far from the nominal share coverage may lie, with an interval that excludes it, before it is an alarm."""
HUB = 0.2
"""Share of answers that one match may stand in."""
SAME = 0.9
"""Mean cosine of random rows from which on the embeddings have collapsed."""


def walk_stored(engine: Engine, now: datetime, artifacts: Path = ARTIFACTS, seed: int = 0) -> Fold:
    """Score the closed windows of the last days as if each were asked when its post came; the fold is stored.

    Raises:
        InputError: too few live windows have closed.
    """
    revision = verify(artifacts).revision
    with transaction(engine) as connection:
        rows, _ = load_library_rows(connection, encoder_revision(artifacts))
        since = to_micros(now - timedelta(days=DAYS))
        live = np.array([not post.startswith("starter:") for post in rows.post_ids], dtype=np.bool_)
        asked = rows.take(np.flatnonzero(live & (rows.posted_at >= since))[-MOST:])
        if len(asked) < FEWEST:
            raise InputError(f"Only {len(asked)} live windows have closed in {DAYS} days; {FEWEST} are needed.")
        model = load_trajectories(rows, artifacts)
        questions = _questions(connection, asked, Bands(engine, model.parameters))
        gaps = unfilled_gaps(connection, now - timedelta(days=7))
    figures = evaluate.figures(model, questions, seed)
    fold = Fold("store", revision, TRIALS, figures, earns(figures), alarms(model, questions, figures, gaps))
    with transaction(engine) as connection:
        walk_forwards.add(connection, fold)
    return fold


def _questions(connection: Connection, rows: LibraryRows, bands: Bands) -> Questions:
    moments = [from_micros(int(at)) for at in rows.posted_at]
    found = market_contexts(connection, list(zip(rows.symbols, moments, strict=True)))
    contexts = [None if c is None else bands.known(connection, c) for c in found]
    pairs = Pairs(
        source=np.array(rows.sources, dtype=object),
        symbol=np.array(rows.symbols, dtype=object),
        exchange=np.full(len(rows), "", dtype=object),
        time=rows.posted_at // 1_000_000,
        start=rows.starts_at // 1_000_000,
        text=np.full(len(rows), "", dtype=object),
        named=np.ones(len(rows), dtype=np.bool_),
        change=rows.change,
    )
    return Questions(pairs, rows.embedding.astype(np.float32), contexts, rows.change.astype(np.float64))


def earns(figures: dict[str, Any]) -> bool:
    """Whether a fold beats climatology, persistence *and* the shuffled-text twin, each with an interval above zero."""
    spread = figures["intervals"]
    wanted = ("crps_skill", "volatility_skill", "words_skill")
    return all(name in spread and spread[name][0] > 0 for name in wanted)


def alarms(model: RetrievedTrajectories, asked: Questions, figures: dict[str, Any], gaps: int) -> dict[str, Any]:
    """What looks wrong, by name with its figure: coverage adrift, collapsed embeddings, a hub of matches, holes in candles."""
    found: dict[str, Any] = {}
    low, high = figures["intervals"].get("coverage", (0.8, 0.8))
    if figures["coverage"] is not None and abs(figures["coverage"] - 0.8) > HELD and not low <= 0.8 <= high:
        found["coverage"] = figures["coverage"]
    if (same := _sameness(asked.embeddings)) > SAME:
        found["collapsed_embeddings"] = round(same, 4)
    if (hub := _hub(model, asked)) > HUB:
        found["hub"] = round(hub, 4)
    if gaps:
        found["gaps"] = gaps
    return found


def _sameness(vectors: Floats) -> float:
    """Mean cosine of different rows."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    count = len(unit)
    return float(((unit.sum(axis=0) ** 2).sum() - count) / max(count * (count - 1), 1))


def _hub(model: RetrievedTrajectories, asked: Questions) -> float:
    """The largest share of answers that one and the same match stands in."""
    moments = [post.posted_at for post in asked.posts()]
    hits = model.index.search(asked.embeddings, list(asked.pairs.symbol), moments, [""] * len(moments), K)
    counted: dict[tuple[str, int], int] = {}
    for found in hits:
        for hit in found:
            counted[hit.symbol, hit.row] = counted.get((hit.symbol, hit.row), 0) + 1
    return max(counted.values(), default=0) / max(len(hits), 1)


def once(engine: Engine, now: datetime | None = None, artifacts: Path = ARTIFACTS) -> dict[str, Any]:
    """One night's work: the walk-forward, then the event study over what is stored; what cannot be done says why."""
    told: dict[str, Any] = {}
    try:
        fold = walk_stored(engine, now or datetime.now(UTC), artifacts)
        told["walk_forward"] = {"figures": fold.figures, "signal": fold.signal, "alarms": fold.alarms}
    except InputError as error:
        told["walk_forward"] = {"skipped": error.message}
    try:
        study = events.answer(events.Asked(Rule(), study=True, stored=True, save=True))
        told["events"] = {name: study[name] for name in ("tried", "found", "confirmed", "placebo", "saved")}
    except InputError as error:
        told["events"] = {"skipped": error.message}
    with transaction(engine) as connection:
        told["trials_ever"] = walk_forwards.count_trials(connection)
    log.info("nightly", trials_ever=told["trials_ever"], rules=told["events"].get("saved"))
    return told


def make_nightly(hour: int = 2, minute: int = 15) -> Celery:
    """The Celery application with its beat: the task of the night, on a queue of its own so that no scorer waits for it."""
    app = make_app()

    def nightly() -> None:
        engine = make_engine()
        try:
            once(engine)
        except MoodtapeError as error:
            log.warning("the nightly run did not come through", error=error.message)
        finally:
            engine.dispose()

    app.task(name=TASK, ignore_result=True)(nightly)
    at = crontab(hour=hour, minute=minute)
    app.conf.beat_schedule = {"nightly": {"task": TASK, "schedule": at, "options": {"queue": QUEUE}}}
    app.conf.timezone = "UTC"
    return app


def serve(folder: Path) -> None:
    """Run beat and its worker until told to stop; the schedule's state lies in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    worker: Any = make_nightly().Worker(
        pool="solo",
        concurrency=1,
        beat=True,
        queues=[QUEUE],
        schedule_filename=str(folder / "nightly-beat"),
        without_mingle=True,
        without_gossip=True,
        quiet=True,
    )
    worker.start()
