"""Recall of the plain matchers both ways, the loss beside ln B, words that drift: planted effects are seen, none invented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domain.types import LibraryRows, to_micros
from models.trajectories.index import realised
from models.trajectories.retrieval import RetrievedTrajectories
from tests.models.trajectories.test_band import parameters
from training.trajectories import evaluate, recall
from training.trajectories.alarms import vocabulary
from training.trajectories.evaluate import Questions
from training.trajectories.pairs import BIN, Pairs
from training.trajectories.tape import moment

PAST, ASKED, KINDS = 300, 60, 4
FIRST = 1_700_000_000 // BIN * BIN


def planted(effect: bool) -> tuple[RetrievedTrajectories, Questions]:
    """Four kinds of words; with ``effect`` each is followed by a shape and a size of its own, else by any of the four."""
    chance = np.random.default_rng(0)
    kind = chance.integers(KINDS, size=PAST + ASKED)
    move = kind if effect else chance.permutation(kind)
    steps, size = np.linspace(0, 1, 256), np.array([0.05, 0.1, 0.2, 0.4])[move, None]
    shapes = np.stack([steps, -steps, np.sin(9 * steps), -np.sin(9 * steps)])
    walks = np.cumsum(chance.normal(size=(len(kind), 256)), axis=1)
    change = (size * (40 * shapes[move] + walks)).astype(np.float16)
    words = np.eye(KINDS)[kind] + 0.1 * chance.normal(size=(len(kind), KINDS))
    at = FIRST + 2 * BIN * np.arange(len(kind))
    micros = np.array([to_micros(moment(t)) for t in at], dtype=np.int64)
    names = tuple(f"s:{n}" for n in range(len(kind)))
    rows = LibraryRows(
        names, ("s",) * len(kind), ("A/USDT",) * len(kind), micros, micros,
        words.astype(np.float16), change, np.full(len(kind), 0.2, np.float32),
    )  # fmt: skip
    asked = np.arange(PAST, PAST + ASKED)
    blank = np.full(ASKED, "", dtype=object)
    market = np.full(ASKED, "A/USDT", dtype=object)
    pairs = Pairs(blank, market, blank, at[asked], at[asked], blank, np.ones(ASKED, bool), change[asked])
    questions = Questions(pairs, words[asked].astype(np.float32), [None] * ASKED, change[asked].astype(np.float64))
    return RetrievedTrajectories(parameters(), rows), questions


@pytest.mark.parametrize("effect", [True, False])
def test_a_planted_effect_is_found_both_ways_and_none_is_invented(effect: bool) -> None:
    """Words that tell the path beat their exchanged twin with an interval above zero; words that tell nothing do not."""
    found = evaluate.figures(*planted(effect))
    for way in ("text_to_series", "series_to_text"):
        figures = found["recall"][way]
        assert figures["n"] == ASKED
        assert figures["r_at_10"]["chance"] == pytest.approx(10 / ASKED, abs=1e-4)
        assert (figures["interval"][0] > 0) is effect, (way, figures)
        if effect:
            assert figures["r_at_10"]["model"] > 2 * figures["r_at_10"]["placebo"]
    assert (found["direction"]["interval"][0] > 0.05) is effect
    assert (found["intervals"]["words_skill"][0] > 0) is effect
    assert set(found["coverage_by_quarter"]) <= {"2023-Q4", "2024-Q1"}


def test_answers_that_are_all_alike_lose_ln_b() -> None:
    """Without candles every band is as wide as the next, so the loss is ln B; answers that know the size lose less,
    also where they are far too sure of themselves."""
    model, asked = planted(effect=True)
    alike = [o for o in model.outlooks(asked.posts(), list(asked.pairs.symbol), asked.embeddings, asked.contexts) if o]
    alike = [replace(o, band=alike[0].band) for o in alike]
    assert recall.contrast(alike, asked, 0) == pytest.approx(1.0)
    sizes = np.log(realised(asked.truth))
    knowing = [
        replace(o, band=replace(o.band, expected=np.full(3, size))) for o, size in zip(alike, sizes, strict=True)
    ]
    assert (recall.contrast(knowing, asked, 0) or 1) < 0.9
    random = [replace(o, band=k.band) for o, k in zip(alike, knowing[1:] + knowing[:1], strict=True)]
    assert (recall.contrast(random, asked, 0) or 0) > 0.95
    few = asked.take(np.arange(10))
    assert recall.contrast(alike[:10], few, 0) is None
    assert recall.of_matchers(model, alike[:10], alike[:10], few, 0) == dict.fromkeys(
        ("text_to_series", "series_to_text")
    )


def said(days: int, words: Any) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Twenty posts a day of three words each."""
    chance = np.random.default_rng(1)
    times = FIRST + 4320 * np.arange(20 * days)
    return [" ".join(chance.choice(words, 3)) for _ in times], times.astype(np.int64)


def test_a_week_of_other_words_is_an_alarm_and_a_usual_one_is_not() -> None:
    """The same words as before are usual; a last week in other words stands out; too few posts say nothing."""
    usual = [a + b for a in "abcdefgh" for b in "klmnopqr"]
    texts, times = said(28, usual)
    same = vocabulary(texts, times)
    assert same is not None
    assert abs(same["new"] - same["usual"]) < 0.05
    late = times > times.max() - 7 * 86_400
    other = [f"{text} {text.upper()}zz" if new else text for text, new in zip(texts, late, strict=True)]
    drifted = vocabulary(other, times)
    assert drifted is not None
    assert drifted["new"] - drifted["usual"] > 0.15
    assert vocabulary(texts[:50], times[:50]) is None
    assert vocabulary([], np.zeros(0, np.int64)) is None
