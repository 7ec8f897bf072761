"""The nightly run: what earns a signal, what is an alarm, a fold of stored windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.queries.earned import latest_fold
from db.queries.trajectories import insert_library
from domain.errors import InputError
from domain.types import LibraryRows, Minutes, to_micros
from models.trajectories.retrieval import RetrievedTrajectories
from tests.models.trajectories.test_band import FIRST, parameters, tape
from tests.workers.test_bands import PAIR, moment, store
from training.trajectories import alarms, leaks, nightly
from training.trajectories.evaluate import Questions
from training.trajectories.pairs import Pairs

DAYS = 20


def figures(**lows: float) -> dict[str, Any]:
    """A fold's figures with these lower ends of intervals."""
    return {"coverage": 0.8, "intervals": {f"{name}_skill": [low, 0.1] for name, low in lows.items()}}


@pytest.mark.parametrize(
    ("lows", "earned"),
    [
        ({"crps": 0.01, "volatility": 0.1, "words": 0.001}, True),
        ({"crps": 0.01, "volatility": 0.1, "words": -0.001}, False),
        ({"crps": 0.01, "volatility": 0.1}, False),
        ({"crps": -0.01, "volatility": 0.1, "words": 0.01}, False),
    ],
)
def test_a_signal_needs_all_three(lows: dict[str, float], earned: bool) -> None:
    """Climatology, persistence and the shuffled-text twin must each be beaten with an interval above zero."""
    assert nightly.earns(figures(**lows)) is earned


def rows(minutes: Minutes, count: int = 60, same: bool = False) -> LibraryRows:
    """Closed windows six hours apart with random (or one and the same) words."""
    starts = FIRST + 4 * 1440 + 360 * np.arange(count)
    index = starts - FIRST
    change = 100 * (minutes.mid[index[:, None] + np.arange(256)] / minutes.mid[index][:, None] - 1)
    vectors = np.random.default_rng(0).normal(size=(count, 384))
    vectors = np.ones_like(vectors) if same else vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    at = np.array([to_micros(moment(int(m))) for m in starts], dtype=np.int64)
    return LibraryRows(
        tuple(f"s:{n}" for n in range(count)), ("s",) * count, (PAIR,) * count, at, at,
        vectors.astype(np.float16), change.astype(np.float16), np.full(count, 0.2, np.float32),
    )  # fmt: skip


def asked(found: LibraryRows) -> Questions:
    """The rows as questions without contexts."""
    blank = np.full(len(found), "", dtype=object)
    pairs = Pairs(
        np.array(found.sources, dtype=object), np.array(found.symbols, dtype=object), blank,
        found.posted_at // 1_000_000, found.starts_at // 1_000_000, blank, np.ones(len(found), bool), found.change,
    )  # fmt: skip
    return Questions(pairs, found.embedding.astype(np.float32), [None] * len(found), found.change.astype(np.float64))


def test_alarms_name_what_looks_wrong() -> None:
    """Words that all lie in one place are a collapse; coverage far from nominal and holes are told; else nothing is."""
    minutes = tape(DAYS * 1440, 0.2)
    sound, collapsed = rows(minutes), rows(minutes, same=True)
    fine = alarms.alarms(RetrievedTrajectories(parameters(), sound), asked(sound), figures(), gaps=0)
    wrong = alarms.alarms(
        RetrievedTrajectories(parameters(), collapsed),
        asked(collapsed),
        {"coverage": 0.7, "loss_over_ln_b": 0.999, "independent_windows": 32, "intervals": {"coverage": [0.65, 0.75]}},
        gaps=3,
    )
    few = figures() | {"loss_over_ln_b": 0.999, "independent_windows": 31}
    assert "ln_b" not in alarms.alarms(RetrievedTrajectories(parameters(), sound), asked(sound), few, gaps=0)
    assert "collapsed_embeddings" not in fine
    assert "coverage" not in fine
    assert wrong["collapsed_embeddings"] == pytest.approx(1, abs=0.01)
    assert (wrong["coverage"], wrong["gaps"], wrong["ln_b"]) == (0.7, 3, 0.999)
    assert "ln_b" not in fine


def test_a_night_scores_what_is_stored(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed live windows become a fold in the database with its figures; too few are said."""
    minutes = replace(tape(DAYS * 1440, 0.2), symbol=PAIR)
    monkeypatch.setattr(nightly, "encoder_revision", lambda _: "e")
    now = moment(FIRST + DAYS * 1440)
    with pytest.raises(InputError, match="0 live windows"):
        nightly.walk_stored(engine, now)
    store(engine, minutes)
    with transaction(engine) as connection:
        insert_library(connection, rows(minutes), "e")
    made = nightly.walk_stored(engine, now)
    with transaction(engine) as connection:
        kept = latest_fold(connection)
    assert kept is not None
    assert kept.figures == made.figures
    assert kept.figures["n"] > 40
    assert kept.trials == len(nightly.TRIALS) == 9
    assert set(kept.figures["recall"]) == {"text_to_series", "series_to_text"}
    assert kept.figures["recall"]["series_to_text"]["r_at_5"]["chance"] > 0
    assert 0.6 < kept.figures["coverage"] < 0.95
    assert not kept.signal


def test_a_planted_leak_is_caught() -> None:
    """The check of a poisoned future passes what looks back and names every moment of what looks ahead by one minute."""
    market, at = tape(3000), [FIRST + 1000, FIRST + 2000]

    def back(minutes: Minutes, minute: int) -> bytes:
        return minutes.mid[: minute - minutes.first].tobytes()

    def ahead(minutes: Minutes, minute: int) -> bytes:
        return minutes.mid[: minute - minutes.first + 1].tobytes()

    assert leaks.changed_by_future(back, market, at) == []
    assert leaks.changed_by_future(ahead, market, at) == at
