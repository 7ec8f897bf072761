"""The rules of the domain: names of markets, clean text, windows of time, the tree of errors, the answer's shape."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors
from domain.answer import in_order, numbers, to_answer
from domain.clock import ManualClock, SystemClock
from domain.errors import MoodtapeError, TooLarge
from domain.text import MAX_LETTERS, clean
from domain.types import (
    EMOTIONS,
    HORIZON,
    Emotions,
    Explanation,
    HypeForecast,
    Match,
    Matches,
    Verdict,
    complete_at,
    first_minute,
)

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_clean_drops_what_cannot_be_stored_and_keeps_emoji() -> None:
    """NUL, lone surrogates, bidi controls and zero-width spaces go; a family emoji keeps its joiners."""
    family = "👨\u200d👩\u200d👧"
    assert clean(f"\x00a\ud800b \u202ec\u200b {family}\r\n") == f"ab c {family}"
    assert clean("\u200b\u200d \ufeff") == ""
    with pytest.raises(TooLarge, match="Send a shorter one"):
        clean("a" * (MAX_LETTERS + 1))


@given(st.text(max_size=300))
def test_cleaned_text_is_always_storable(text: str) -> None:
    """Whatever comes in, what comes out encodes to UTF-8, has no NUL, and is clean already."""
    out = clean(text)
    assert "\x00" not in out
    assert out.encode().decode() == out
    assert clean(out) == out


@given(st.integers(0, 10**7))
def test_the_first_minute_is_at_or_after_the_post(second: int) -> None:
    """Never before the post, never a whole minute late, and the window closes 256 minutes later."""
    posted = NOW + timedelta(seconds=second)
    start = first_minute(posted)
    assert posted <= start < posted + timedelta(minutes=1)
    assert start.second == 0
    assert complete_at(posted) == start + HORIZON


def test_clocks() -> None:
    """The manual clock moves when told; the system's clock is in UTC."""
    clock = ManualClock(NOW)
    clock.sleep(90)
    assert clock.now() == NOW + timedelta(seconds=90)
    assert clock.monotonic() == 90
    assert SystemClock().now().tzinfo is UTC
    assert SystemClock().monotonic() <= SystemClock().monotonic()


def all_errors(base: type[MoodtapeError] = MoodtapeError) -> list[type[MoodtapeError]]:
    return [base, *(e for sub in base.__subclasses__() for e in all_errors(sub))]


@pytest.mark.parametrize(
    "error", [e for e in all_errors() if e.__module__ == "domain.errors"], ids=lambda e: e.__name__
)
def test_the_drawn_tree_is_the_tree(error: type[MoodtapeError]) -> None:
    """The table at the top of domain/errors.py gives each error's exit code and HTTP status as they are."""
    if error is MoodtapeError:
        assert (error.exit_code, error.http_status) == (70, 500)
        return
    row = re.search(rf"[├└]── {error.__name__}\s+(\d+)\s+(\d+)", errors.__doc__ or "")
    assert row is not None
    assert (error.exit_code, error.http_status) == (int(row[1]), int(row[2]))


def test_the_answer_has_the_published_shape() -> None:
    """Every key of the contract is there, numbers are rounded and finite, and it is plain JSON."""
    steps = np.linspace(0, 1, 256, dtype=np.float32)
    verdict = Verdict(
        "web:1", "abc", NOW,
        Emotions("joy", dict.fromkeys(EMOTIONS, 1 / 7), None, None, 0),
        HypeForecast(0.2, 0.21, 256, 12.5, signal=True),
        Matches("BTC/USDT", steps, steps, steps, 0.8, steps, 1, (Match("s:1", "s", NOW, "BTC/USDT", 0.5, steps),)),
        Explanation("prices rose", 0.9), ("a warning",),
    )  # fmt: skip
    answer = json.loads(json.dumps(to_answer(verdict)))
    assert set(answer) == {
        "post_id",
        "revision",
        "trained_until",
        "emotions",
        "hype",
        "trajectories",
        "explanation",
        "warnings",
    }
    assert set(answer["emotions"]) == {"label", "probabilities", "text", "image", "faces", "abstained", "why"}
    assert set(answer["hype"]) == {"probability", "base_rate", "horizon_minutes", "threshold", "signal", "reason"}
    assert set(answer["trajectories"]) == {
        "symbol", "mean", "low", "high", "coverage", "baseline_mean", "independent_windows", "matches",
    }  # fmt: skip
    assert set(answer["trajectories"]["matches"][0]) == {
        "post_id",
        "source",
        "posted_at",
        "symbol",
        "similarity",
        "change",
    }
    shuffled = json.loads(json.dumps(answer, sort_keys=True))
    assert json.dumps(in_order(shuffled)) == json.dumps(answer)
    assert answer["trained_until"] == "2024-05-01T12:00:00Z"
    assert len(answer["trajectories"]["mean"]) == 256
    with pytest.raises(ValueError, match="not finite"):
        numbers(np.array([np.nan], dtype=np.float32))
