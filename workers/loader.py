"""The real scorer of a process: device and threads chosen, library from PostgreSQL, models warmed up."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from io import BytesIO

import structlog
import torch
from PIL import Image
from sqlalchemy import Engine

from db.engine import transaction
from domain.answer import Json
from domain.clock import SystemClock
from domain.symbols import DEFAULT_SYMBOL
from domain.types import Post
from models.device import choose, memory
from models.hype.forecast import HypeHeads
from models.manifest import ARTIFACTS, verify
from models.scorer import Scorer, ScoringInput
from models.trajectories.retrieval import RetrievedTrajectories
from workers.bands import Bands
from workers.earned import earned
from workers.explaining import explain_chart
from workers.inputs import Growing, LibraryFeed
from workers.series import refresh as publish_series
from workers.service import Loaded, wait_for_database
from workers.settings import WorkerSettings

log = structlog.get_logger()

WARM_UP = ("to the moon", "Bitcoin fell hard today and I am afraid it is not over yet.", "$DOGE " + "up " * 60)


def load(engine: Engine, settings: WorkerSettings) -> Loaded:
    """Check the weights, choose device and threads, load the models and the library, score a few posts to warm up.

    Raises:
        WeightsError: a weights file is missing or altered; the message names it.
        ConfigError: PostgreSQL refuses the log-in, or the database has no tables.
    """
    started = time.monotonic()
    artifacts = settings.artifacts or ARTIFACTS
    manifest = verify(artifacts)
    device = choose()
    torch.set_num_threads(settings.threads or len(os.sched_getaffinity(0)))
    library = LibraryFeed(engine, artifacts)
    wait_for_database(engine, library.seed)
    scorer = Scorer.load(artifacts, library.rows(), device=device)
    warm_up(scorer)
    log.info("models loaded", seconds=round(time.monotonic() - started, 2), threads=torch.get_num_threads())
    model = scorer.parts.trajectories

    bands = Bands(engine, model.parameters) if isinstance(model, RetrievedTrajectories) else None

    def explain(symbol: str, at: datetime) -> Json:
        return explain_chart(engine, scorer, symbol, at)

    return Loaded(
        scorer,
        manifest,
        device,
        refresh=partial(_refresh, engine, scorer, library),
        padding=lambda: scorer.padding,
        gpu_memory=partial(memory, device),
        bands=bands,
        library_end=lambda: library.end,
        explain=explain,
        keep_up=(lambda: bands.keep_up(SystemClock().now())) if bands is not None else lambda: None,
    )


def _refresh(engine: Engine, scorer: Scorer, library: LibraryFeed) -> None:
    """Take in what others have found out since: what answers have earned, the markets' series, newly closed windows."""
    with transaction(engine) as connection:
        scorer.earned = earned(connection)
    if isinstance(scorer.parts.hype, HypeHeads):
        with transaction(engine) as connection:
            publish_series(connection, scorer.parts.hype, SystemClock().now())
    library.complete(scorer.parts.text, scorer.revision)
    if isinstance(scorer.parts.trajectories, Growing):
        library.refresh(scorer.parts.trajectories)


def warm_up(scorer: Scorer) -> None:
    """Score a few posts, so that the first person does not pay for lazy initialisation."""
    now = datetime.now(UTC)
    posts = [Post(f"warm-up:{n}", "warm-up", text, "en", now, (DEFAULT_SYMBOL,)) for n, text in enumerate(WARM_UP)]
    grey = BytesIO()
    Image.new("RGB", (320, 240), (128, 128, 128)).save(grey, "PNG")
    inputs = [ScoringInput(post, grey.getvalue(), None, DEFAULT_SYMBOL, why=n == 0) for n, post in enumerate(posts)]
    scorer.score(inputs)
