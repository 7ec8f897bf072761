"""The nightly walk-forward on what is stored: figures beside baselines and the shuffled-text twin, alarms, and the event study.

Every run is a row of ``walk_forwards``; the newest says whether answers may carry a signal.
:mod:`training.nightly` starts one a night.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Connection, Engine

from db.engine import transaction
from db.queries.earned import Fold, add_fold, count_trials
from db.queries.market_history import market_contexts, unfilled_gaps
from db.queries.posts import load_posts
from db.queries.trajectories import load_library_rows
from domain.errors import InputError
from domain.types import LibraryRows, from_micros, to_micros
from models.manifest import ARTIFACTS, verify
from models.trajectories.library import encoder_revision
from models.trajectories.retrieval import load_trajectories
from training.hype.nightly import walk_published
from training.trajectories import evaluate, events
from training.trajectories.alarms import alarms
from training.trajectories.evaluate import Questions
from training.trajectories.event_rules import Rule
from training.trajectories.pairs import Pairs
from workers.bands import Bands

log = structlog.get_logger()

DAYS = 45
"""Closed windows of so many days are scored; earlier ones are only matched."""
FEWEST = 30
MOST = 2_000
TRIALS = (
    "coverage", "crps_skill", "volatility_skill", "big_move_auc", "words_skill", "return_skill", "direction",
    "text_to_series", "series_to_text",
)  # fmt: skip
"""Comparisons of one run that could be taken for a signal; all stand in its figures, and their number is kept."""


def walk_stored(
    engine: Engine, now: datetime, artifacts: Path = ARTIFACTS, seed: int = 0, hype: dict[str, Any] | None = None
) -> Fold:
    """Score the closed windows of the last days as if each were asked when its post came; the fold is stored.

    ``hype``: what the same night found of published hype, kept beside it.

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
    found = alarms(model, questions, figures, gaps)
    trials = len(TRIALS) + len((hype or {}).get("horizons", {}))
    fold = Fold("store", revision, trials, figures | ({"hype": hype} if hype else {}), earns(figures), found)
    with transaction(engine) as connection:
        add_fold(connection, fold)
    return fold


def _questions(connection: Connection, rows: LibraryRows, bands: Bands) -> Questions:
    posts = load_posts(connection, rows.post_ids)
    moments = [from_micros(int(at)) for at in rows.posted_at]
    found = market_contexts(connection, list(zip(rows.symbols, moments, strict=True)))
    contexts = [None if c is None else bands.known(connection, c) for c in found]
    pairs = Pairs(
        source=np.array(rows.sources, dtype=object),
        symbol=np.array(rows.symbols, dtype=object),
        exchange=np.full(len(rows), "", dtype=object),
        time=rows.posted_at // 1_000_000,
        start=rows.starts_at // 1_000_000,
        text=np.array([posts[i].text if i in posts else "" for i in rows.post_ids], dtype=object),
        named=np.ones(len(rows), dtype=np.bool_),
        change=rows.change,
    )
    return Questions(pairs, rows.embedding.astype(np.float32), contexts, rows.change.astype(np.float64))


def earns(figures: dict[str, Any]) -> bool:
    """Whether a fold beats climatology, persistence *and* the shuffled-text twin, each with an interval above zero."""
    spread = figures["intervals"]
    wanted = ("crps_skill", "volatility_skill", "words_skill")
    return all(name in spread and spread[name][0] > 0 for name in wanted)


def _or_why(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except InputError as error:
        return {"skipped": error.message}


def once(engine: Engine, now: datetime | None = None, artifacts: Path = ARTIFACTS) -> dict[str, Any]:
    """One night's work: hype as published, the walk-forward, the event study over what is stored; what is not done says why."""
    at = now or datetime.now(UTC)
    told: dict[str, Any] = {"hype": _or_why(lambda: walk_published(engine, at, artifacts))}

    def walked() -> dict[str, Any]:
        fold = walk_stored(engine, at, artifacts, hype=told["hype"])
        return {"figures": fold.figures, "signal": fold.signal, "alarms": fold.alarms}

    def studied() -> dict[str, Any]:
        study = events.answer(events.Asked(Rule(), study=True, stored=True, save=True))
        return {name: study[name] for name in ("tried", "found", "confirmed", "placebo", "saved")}

    told |= {"walk_forward": _or_why(walked), "events": _or_why(studied)}
    with transaction(engine) as connection:
        told["trials_ever"] = count_trials(connection)
    skipped = {name: told[name]["skipped"] for name in ("walk_forward", "events") if "skipped" in told[name]}
    log.info("nightly", trials_ever=told["trials_ever"], rules=told["events"].get("saved"), skipped=skipped or None)
    return told
