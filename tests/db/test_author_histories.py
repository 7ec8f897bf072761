"""An author's earlier posts count with the likes they had a day later, never with a count that was still to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from db.queries.posts import author_histories, insert_posts, keep_engagement
from domain.types import Post

pytestmark = pytest.mark.stack

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def post(name: str, days: float, author: str | None = "a", likes: int | None = 5) -> Post:
    """A post so many days before noon."""
    return Post(f"x:{name}", "x", "gm gm", "en", NOON - days * DAY, author_hash=author, likes=likes)


def stored(connection: Connection, *posts: Post, seen_after: timedelta) -> None:
    """Store posts as if each had been received so long after it was published."""
    insert_posts(connection, posts)
    connection.execute(
        text("update posts set received_at = posted_at + :later where id = any(:ids)"),
        {"later": seen_after, "ids": [p.id for p in posts]},
    )


def test_likes_count_only_when_seen_a_day_later(engine: Engine) -> None:
    """Imported long after: the likes count. Seen fresh: they do not, until they are kept at the age of a day."""
    now = post("now", 0)
    with engine.begin() as connection:
        stored(connection, post("old", 9, likes=7), seen_after=2 * DAY)
        stored(connection, post("fresh", 3, likes=1), now, seen_after=timedelta(minutes=1))
        before = author_histories(connection, [now])[now.id]
        again = replace(post("fresh", 3), likes=40)
        assert keep_engagement(connection, [again], NOON - 2 * DAY + timedelta(hours=1)) == 1
        assert keep_engagement(connection, [again], NOON - 2 * DAY + timedelta(hours=1)) == 0
        after = author_histories(connection, [now])[now.id]
    np.testing.assert_array_equal(before.likes, [7, np.nan])
    np.testing.assert_array_equal(after.likes, [7, 40])
    assert (before.whose, before.lengths.tolist()) == ("author", [5, 5])
    assert np.diff(before.posted_at).tolist() == [6 * 86_400]


def test_histories_hold_earlier_posts_of_the_same_author_or_channel(engine: Engine) -> None:
    """Later posts and other authors' are not in it; a post without an author is held against its source's."""
    now, silent = post("now", 1), post("silent", 1, author=None)
    with engine.begin() as connection:
        stored(connection, post("later", 0), post("other", 5, author="b"), post("mine", 4), seen_after=2 * DAY)
        stored(connection, post("channel", 3, author=None, likes=2), now, silent, seen_after=2 * DAY)
        found = author_histories(connection, [now, silent])
    assert found[now.id].likes.tolist() == [5]
    assert (found[silent.id].whose, found[silent.id].likes.tolist()) == ("channel", [2])
