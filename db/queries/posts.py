"""Posts and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from db.copy import insert_rows
from db.tables import Image, PostRow
from domain.types import AUTHOR_POSTS, AuthorHistory, ImageRef, Post

ENGAGEMENT_AGES = (60, 1440)
"""Minutes after which a post's likes are kept as they were then."""

_COLUMNS = (
    ("id", "text"),
    ("source", "text"),
    ("text", "text"),
    ("language", "text"),
    ("posted_at", "timestamptz"),
    ("symbols", "text[]"),
    ("image_sha256", "text"),
    ("author_hash", "text"),
    ("likes", "int8"),
    ("retweets", "int8"),
    ("replies", "int8"),
    ("cluster", "text"),
    ("replayed", "bool"),
)


def insert_posts(connection: Connection, posts: Iterable[Post], clusters: dict[str, str] | None = None) -> list[str]:
    """Store posts that are not there yet; returns the ids newly stored. ``clusters``: post id → its group's first post."""
    groups = clusters or {}
    rows = [
        (
            p.id,
            p.source,
            p.text,
            p.language,
            p.posted_at,
            list(p.symbols),
            p.image.sha256 if p.image else None,
            p.author_hash,
            p.likes,
            p.retweets,
            p.replies,
            groups.get(p.id),
            p.replayed,
        )
        for p in posts
    ]
    if not rows:
        return []
    if len(rows) > 3:
        return insert_rows(connection, "posts", _COLUMNS, rows, conflict="(id) do nothing", returning="id")
    names = [name for name, _ in _COLUMNS]
    values = [dict(zip(names, row, strict=True)) for row in rows]
    statement = insert(PostRow).values(values).on_conflict_do_nothing().returning(PostRow.id)
    return list(connection.execute(statement).scalars())


def load_posts(connection: Connection, ids: Sequence[str]) -> dict[str, Post]:
    """Stored posts by id; unknown ids are left out."""
    query = (
        select(PostRow, Image.mime, Image.width, Image.height)
        .outerjoin(Image, Image.sha256 == PostRow.image_sha256)
        .where(PostRow.id.in_(ids))
    )
    found: dict[str, Post] = {}
    for row in connection.execute(query).mappings():
        post = Post(
            id=row["id"],
            source=row["source"],
            text=row["text"],
            language=row["language"],
            posted_at=row["posted_at"],
            symbols=tuple(row["symbols"]),
            author_hash=row["author_hash"],
            likes=row["likes"],
            retweets=row["retweets"],
            replies=row["replies"],
            replayed=row["replayed"],
        )
        if row["image_sha256"]:
            post = replace(post, image=ImageRef(row["image_sha256"], row["mime"], row["width"], row["height"]))
        found[post.id] = post
    return found


_HISTORY = f"""
select w.id, h.posted_at, h.likes, h.text
from unnest(cast(:ids as text[])) w(id) join posts p on p.id = w.id
cross join lateral (
    select extract(epoch from e.posted_at)::float8 as posted_at, e.text,
           case when e.received_at >= e.posted_at + interval '1 day' then e.likes
                else (select g.likes from post_engagement g where g.post_id = e.id and g.age_minutes = 1440
                        and (cast(:known as timestamptz) is null or g.seen_at <= :known)) end as likes
    from posts e
    where e.posted_at < p.posted_at and e.id <> p.id
      and (cast(:known as timestamptz) is null or e.received_at <= :known)
      and case when p.author_hash is null then e.source = p.source and e.author_hash is null
               else e.author_hash = p.author_hash end
    order by e.posted_at desc limit {AUTHOR_POSTS}
) h order by w.id, h.posted_at
"""
"""Likes count as they were a day or more after the post: seen then, or kept at that age."""


def author_histories(
    connection: Connection, posts: Iterable[Post], known_at: datetime | None = None
) -> dict[str, AuthorHistory]:
    """The earlier posts of each post's author, or of its source where no author is known, by the post's id.

    ``known_at``: what was stored later is left out, so that a stored answer can be made again.
    """
    whose = {post.id: "author" if post.author_hash else "channel" for post in posts}
    rows: dict[str, list[tuple[float, float | None, str]]] = {name: [] for name in whose}
    for name, posted_at, likes, words in connection.execute(text(_HISTORY), {"ids": list(whose), "known": known_at}):
        rows[name].append((posted_at, likes, words))
    return {name: _history(whose[name], some) for name, some in rows.items()}


def _history(whose: str, rows: Sequence[tuple[float, float | None, str]]) -> AuthorHistory:
    numbers = np.array([(at, likes, len(words)) for at, likes, words in rows], dtype=np.float64).reshape(-1, 3)
    posted_at, likes, lengths = numbers.T
    return AuthorHistory(whose, posted_at, likes, lengths, [words or None for *_, words in rows])


def keep_engagement(connection: Connection, posts: Iterable[Post], now: datetime) -> int:
    """Note the likes of posts that came again an hour or a day after they were published; returns how many are new."""
    rows = [
        {"post": p.id, "age": age, "likes": p.likes, "retweets": p.retweets, "replies": p.replies}
        for p in posts
        for age in ENGAGEMENT_AGES
        if p.likes is not None and 0 <= (now - p.posted_at).total_seconds() / 60 - age < age / 4
    ]
    if not rows:
        return 0
    statement = text(
        "insert into post_engagement (post_id, age_minutes, likes, retweets, replies) "
        "select :post, :age, :likes, :retweets, :replies where exists (select from posts where id = :post) "
        "on conflict do nothing"
    )
    return sum(connection.execute(statement, row).rowcount for row in rows)


def campaigns(
    connection: Connection, ids: Sequence[str], known_at: datetime | None = None
) -> dict[str, tuple[str, int]]:
    """Post id → (first post, number of near-copies posted up to it) for those of these posts that have near-copies.

    ``known_at``: only posts stored by then, so that a stored answer can be made again.
    """
    rows = connection.execute(
        text(
            "select p.id, coalesce(p.cluster, p.id), 1 + (select count(*) from posts o "
            "where o.cluster = coalesce(p.cluster, p.id) and o.posted_at <= p.posted_at "
            "and (cast(:known as timestamptz) is null or o.received_at <= :known)) from posts p where p.id = any(:ids)"
        ),
        {"ids": list(ids), "known": known_at},
    )
    return {post: (first, size) for post, first, size in rows if size > 1}


def store_image(connection: Connection, ref: ImageRef, data: bytes) -> None:
    """Store the cleaned bytes of a picture once."""
    row = {"sha256": ref.sha256, "mime": ref.mime, "width": ref.width, "height": ref.height, "bytes": data}
    connection.execute(insert(Image).values(row).on_conflict_do_nothing())


def load_images(connection: Connection, shas: Sequence[str]) -> dict[str, bytes]:
    """Picture bytes by sha256; unknown ones are left out."""
    rows = connection.execute(select(Image.sha256, Image.bytes).where(Image.sha256.in_(shas)))
    return {sha: bytes(data) for sha, data in rows}


def forget_author(connection: Connection, author_hash: str) -> int:
    """Delete an author's posts with all that hangs on them, and pictures nobody else posted; returns the post count."""
    shas = list(
        connection.execute(
            delete(PostRow).where(PostRow.author_hash == author_hash).returning(PostRow.image_sha256)
        ).scalars()
    )
    connection.execute(text("delete from feedback where author_hash = :author"), {"author": author_hash})
    connection.execute(
        text(
            "delete from images where sha256 = any(:shas) "
            "and not exists (select from posts where image_sha256 = images.sha256)"
        ),
        {"shas": [sha for sha in shas if sha]},
    )
    return len(shas)
