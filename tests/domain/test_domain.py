"""The rules of the domain: names of markets, clean text, windows of time, and the tree of errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors
from domain.clock import ManualClock, SystemClock
from domain.errors import MoodtapeError, TooLarge
from domain.text import MAX_CHARACTERS, QUOTED, clean, excerpt
from domain.types import (
    HORIZON,
    complete_at,
    first_minute,
)

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_clean_drops_what_cannot_be_stored_and_keeps_emoji() -> None:
    """NUL, lone surrogates, bidi controls and zero-width spaces go; a family emoji keeps its joiners."""
    family = "👨\u200d👩\u200d👧"
    assert clean(f"\x00a\ud800b \u202ec\u200b {family}\r\n") == f"ab c {family}"
    assert clean("\u200b\u200d \ufeff") == ""
    with pytest.raises(TooLarge, match="text_too_long"):
        clean("a" * (MAX_CHARACTERS + 1))


@given(st.text(max_size=300))
def test_cleaned_text_is_always_storable(text: str) -> None:
    """Whatever comes in, what comes out encodes to UTF-8, has no NUL, and is clean already."""
    out = clean(text)
    assert "\x00" not in out
    assert out.encode().decode() == out
    assert clean(out) == out


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("RT @bob: buy\n$BTC @ann_1 now https://t.co/x", "buy $BTC @… now"),
        ("sold @60k, says u/some-body of /u/others", "sold @…, says @… of @…"),
        ("in @ 60,000 or @60000", "in @ 60,000 or @60000"),
        ("write to me@mail.example or t.me/group or www.x.y", "write to or or"),
        ("https://t.co/x @bob 🚀", ""),
    ],
)
def test_what_is_quoted_names_nobody(text: str, quoted: str) -> None:
    """Names, addresses and links are left out, prices after an @ stay; a post of nothing else is not quoted."""
    assert excerpt(text) == quoted


def test_quotes_are_short() -> None:
    """A long post ends after a word, one endless word is cut."""
    told = excerpt("words " * 100)
    assert (len(told) <= QUOTED, told[-6:]) == (True, "words…")
    assert excerpt("a" * 500) == "a" * (QUOTED - 1) + "…"


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
