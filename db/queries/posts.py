"""Posts and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from db.copy import insert_rows
from db.tables import Image, PostRow
from domain.types import ImageRef, Post

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
