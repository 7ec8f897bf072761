"""Near-duplicates share a cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.types import Post
from streaming import clusters
from streaming.clusters import Clusters

TEXT = "Huge giveaway today: send 1 BTC and get 2 BTC back, only on this page, hurry up friends!"
BASE = Post("s:0", "s", TEXT, "en", datetime(2026, 1, 1, tzinfo=UTC))


def posts(*texts: str) -> list[Post]:
    return [replace(BASE, id=f"s:{n}", text=text) for n, text in enumerate(texts)]


def test_campaigns_share_the_first_posts_id() -> None:
    """Changed links, names, numbers and a few words do not hide a campaign; other posts stay alone."""
    first, *rest = posts(
        BASE.text,
        BASE.text + " https://x.example/1",
        "RT @bot77: " + BASE.text.replace("2 BTC", "5 BTC"),
        BASE.text.replace("hurry up friends", "hurry up people"),
        "The weather is nice and I bought some bitcoin",
    )
    found = Clusters().assign([first, *rest])
    assert found == {"s:1": "s:0", "s:2": "s:0", "s:3": "s:0"}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old texts are forgotten, and then begin a cluster of their own again."""
    monkeypatch.setattr(clusters, "MOST", 3)
    seen = Clusters()
    made = posts(*(f"{w} one two {w} three {w} four" for w in ("alpha", "beta", "gamma", "delta", "alpha")))
    assert seen.assign(made) == {}
    assert len(seen._order) == 3
