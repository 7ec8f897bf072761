"""Replies fit into Telegram's lengths and never break its markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.messages import CAPTION_LIMIT, TEXT_LIMIT, Reply, length, shorten
from tests.fakes.telegram import plain


@given(st.text(max_size=300), st.integers(2, 200))
def test_shortened_text_fits(text: str, limit: int) -> None:
    """At most ``limit`` UTF-16 units, unchanged where it fits, else a beginning of it and an ellipsis."""
    cut = shorten(text, limit)
    assert length(cut) <= limit
    assert cut == text if length(text) <= limit else cut.endswith("…") and text.startswith(cut[:-1])


@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=200))
def test_markup_always_parses(text: str) -> None:
    """What a reader sees of the markup is the text, whatever signs it holds."""
    assert plain(Reply(text).markup) == text


@pytest.mark.parametrize(("picture", "limit"), [(None, TEXT_LIMIT), (b"png", CAPTION_LIMIT)])
def test_long_replies_are_cut_at_a_line(picture: bytes | None, limit: int) -> None:
    """Emoji count twice, as Telegram counts them; the cut falls on the end of a line."""
    reply = Reply("\n".join(["😀 <b>&amp;</b> " * 5] * 200), picture)
    seen = plain(reply.markup)
    assert limit // 2 < length(seen) <= limit
    assert seen.endswith("</b>…")
    assert seen == reply.plain
