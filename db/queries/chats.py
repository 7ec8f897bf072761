"""What is kept of a Telegram chat and of what its people say; and how all of it is forgotten."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from db.queries import inbox
from db.queries.posts import forget_author
from db.tables import Chat, Feedback, PostRow


def language(connection: Connection, chat_id: int) -> str | None:
    """The language a chat has chosen; None when it has not."""
    return connection.execute(select(Chat.language).where(Chat.chat_id == chat_id)).scalar()


def set_language(connection: Connection, chat_id: int, code: str) -> None:
    """Remember a chat's language."""
    row = insert(Chat).values(chat_id=chat_id, language=code)
    changed = {"language": code, "seen_at": row.excluded.seen_at}
    connection.execute(row.on_conflict_do_update(index_elements=["chat_id"], set_=changed))


def set_last(connection: Connection, chat_id: int, code: str, post_id: str) -> None:
    """Remember a chat's last answered post; ``code`` is its language should the chat be new."""
    row = insert(Chat).values(chat_id=chat_id, language=code, last_post_id=post_id)
    changed = {"last_post_id": post_id, "seen_at": row.excluded.seen_at}
    connection.execute(row.on_conflict_do_update(index_elements=["chat_id"], set_=changed))


def last(connection: Connection, chat_id: int) -> str | None:
    """A chat's last answered post, if it is still there."""
    query = select(Chat.last_post_id).join(PostRow, PostRow.id == Chat.last_post_id).where(Chat.chat_id == chat_id)
    return connection.execute(query).scalar()


def give_feedback(connection: Connection, post_id: str, author_hash: str, label: str) -> bool:
    """Store what somebody says of an answer, once per person and post, the last word counting; False: no such post."""
    known = connection.execute(select(PostRow.id).where(PostRow.id == post_id).with_for_update(key_share=True))
    if known.first() is None:
        return False
    row = insert(Feedback).values(post_id=post_id, author_hash=author_hash, label=label)
    changed = {"label": label, "given_at": row.excluded.given_at}
    connection.execute(row.on_conflict_do_update(index_elements=["post_id", "author_hash"], set_=changed))
    return True


def forget(connection: Connection, author_hash: str, own_chat: int | None, keep: int | None = None) -> int:
    """Delete everything of a person; returns the number of posts.

    Jobs go first: a worker that is scoring one of them holds its row, so this waits for it and then deletes its verdict
    too. ``own_chat`` is the person's private chat; ``keep`` is the update that asks for this, deleted by the caller once
    it is answered.
    """
    posts = inbox.drop(connection, author_hash, own_chat, keep)
    more = connection.execute(select(PostRow.id).where(PostRow.author_hash == author_hash)).scalars()
    ids = sorted({*posts, *more})
    for statement in (
        "delete from jobs where post_id = any(:ids)",
        "delete from prediction_scores where post_id = any(:ids)",
        "delete from trajectories where post_id = any(:ids)",
        "update chats set last_post_id = null where last_post_id = any(:ids)",
    ):
        connection.execute(text(statement), {"ids": ids})
    count = forget_author(connection, author_hash)
    if own_chat is not None:
        connection.execute(delete(Chat).where(Chat.chat_id == own_chat))
    return count


def traces(connection: Connection, author_hash: str, own_chat: int) -> dict[str, int]:
    """How many rows still name a person, by table; all 0 after :func:`forget`."""
    own = "select id from posts where author_hash = :author"
    counts = {
        "inbox": "select count(*) from inbox where author_hash = :author or chat_id = :chat",
        "chats": "select count(*) from chats where chat_id = :chat",
        "posts": "select count(*) from posts where author_hash = :author",
        "feedback": "select count(*) from feedback where author_hash = :author",
        "jobs": f"select count(*) from jobs where post_id in ({own})",
        "verdicts": f"select count(*) from verdicts where post_id in ({own})",
        "images": "select count(*) from images i where not exists (select from posts p where p.image_sha256 = i.sha256)",
    }
    values = {"author": author_hash, "chat": own_chat}
    return {name: connection.execute(text(query), values).scalar() or 0 for name, query in counts.items()}


def forget_post(connection: Connection, post_id: str) -> None:
    """Delete one post with its picture, if nobody else posted that."""
    sha = connection.execute(delete(PostRow).where(PostRow.id == post_id).returning(PostRow.image_sha256)).scalar()
    orphan = "delete from images where sha256 = :sha and not exists (select from posts where image_sha256 = :sha)"
    connection.execute(text(orphan), {"sha": sha})
