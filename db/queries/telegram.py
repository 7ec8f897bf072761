"""Telegram updates: stored before anything else, reserved before the answer leaves, closed afterwards.

A row is *open* until ``answered_at`` is set. ``sending_at`` says that an answer was about to leave: a row found open with
it set, after a crash, may or may not have been answered. Closing empties the payload; only the ids stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Float, and_, cast, delete, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from db.queries.posts import forget_author
from db.tables import Chat, Feedback, InboxRow, PostRow

ALBUM_REACH = 1000
"""Parts of one album have update ids at most this far apart."""

PER_CHAT = 4
"""Updates of one chat that are worked on at a time; what is sent to it goes at one message a second anyway."""


@dataclass(frozen=True, slots=True)
class Update:
    """An update as it came; ``author_hash`` is a keyed hash of the sender."""

    update_id: int
    chat_id: int | None
    album: str | None
    author_hash: str | None
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Open:
    """An update not answered yet. ``age`` is in seconds, by the database's clock."""

    update_id: int
    chat_id: int | None
    album: str | None
    author_hash: str | None
    payload: dict[str, Any]
    post_id: str | None
    reply_id: int | None
    attempts: int
    sending_at: datetime | None
    age: float


def store(connection: Connection, updates: Sequence[Update]) -> list[int]:
    """Write updates; returns the ids that are new. One already stored stays as it is."""
    if not updates:
        return []
    rows = [
        {
            "update_id": u.update_id,
            "chat_id": u.chat_id,
            "album": u.album,
            "author_hash": u.author_hash,
            "payload": u.payload,
        }
        for u in updates
    ]
    statement = insert(InboxRow).values(rows).on_conflict_do_nothing().returning(InboxRow.update_id)
    return list(connection.execute(statement).scalars())


def open_rows(connection: Connection, limit: int = 200, besides: Sequence[int] = ()) -> list[Open]:
    """The oldest open updates, chats by turns, at most :data:`PER_CHAT` of each, without those in ``besides``.

    Those in ``besides`` count for their chat, so that one that floods never has more than that under way.
    """
    turn = func.row_number().over(partition_by=InboxRow.chat_id, order_by=InboxRow.update_id).label("turn")
    turns = select(InboxRow.update_id, turn).where(InboxRow.answered_at.is_(None)).subquery()
    query = (
        _select_open()
        .join(turns, turns.c.update_id == InboxRow.update_id)
        .where(turns.c.turn <= PER_CHAT, InboxRow.update_id.notin_(besides))
        .order_by(turns.c.turn, InboxRow.update_id)
        .limit(limit)
    )
    return [Open(**row) for row in connection.execute(query).mappings()]


def album_rows(connection: Connection, row: Open) -> tuple[list[Open], bool]:
    """The open parts of the album that a row belongs to, and whether one part has been answered already."""
    near = and_(
        InboxRow.update_id.between(row.update_id - ALBUM_REACH, row.update_id + ALBUM_REACH),
        InboxRow.chat_id == row.chat_id,
        InboxRow.album == row.album,
    )
    query = _select_open().where(near, InboxRow.answered_at.is_(None)).order_by(InboxRow.update_id)
    parts = [Open(**row) for row in connection.execute(query).mappings()]
    done = connection.execute(select(literal(1)).where(near, InboxRow.answered_at.is_not(None)).limit(1))
    return parts, done.first() is not None


def _select_open() -> Any:
    age = func.extract("epoch", func.clock_timestamp() - InboxRow.received_at)
    columns = (
        InboxRow.update_id,
        InboxRow.chat_id,
        InboxRow.album,
        InboxRow.author_hash,
        InboxRow.payload,
        InboxRow.post_id,
        InboxRow.reply_id,
        InboxRow.attempts,
        InboxRow.sending_at,
    )
    return select(*columns, cast(age, Float).label("age"))  # extract gives a numeric, which is no float in Python


def attach_post(connection: Connection, update_id: int, post_id: str) -> bool:
    """Note which post an open update became; False when the update is gone (its author was forgotten meanwhile)."""
    return _change(connection, update_id, post_id=post_id)


def attach_reply(connection: Connection, update_id: int, message_id: int) -> bool:
    """Note our first message for an update and lift its reservation: what follows edits that message."""
    return _change(connection, update_id, reply_id=message_id, sending_at=None)


def reserve(connection: Connection, update_id: int) -> bool:
    """Say that the answer leaves now; False when it is gone, answered, or reserved by somebody else."""
    statement = (
        update(InboxRow)
        .where(InboxRow.update_id == update_id, InboxRow.answered_at.is_(None), InboxRow.sending_at.is_(None))
        .values(sending_at=func.now())
    )
    return connection.execute(statement).rowcount == 1


def is_open(connection: Connection, update_id: int) -> bool:
    """Whether an answer is still wanted: the update is there and not answered. Waits for a deletion under way."""
    query = select(InboxRow.update_id).where(InboxRow.update_id == update_id, InboxRow.answered_at.is_(None))
    return connection.execute(query.with_for_update()).first() is not None


def release(connection: Connection, update_id: int) -> bool:
    """Take a reservation back: Telegram has certainly not taken the answer."""
    return _change(connection, update_id, sending_at=None)


def count_attempt(connection: Connection, update_id: int) -> int:
    """One more failed attempt at an update; returns how many there have been."""
    statement = (
        update(InboxRow)
        .where(InboxRow.update_id == update_id)
        .values(attempts=InboxRow.attempts + 1)
        .returning(InboxRow.attempts)
    )
    return connection.execute(statement).scalar() or 0


def close(
    connection: Connection, update_ids: Sequence[int], reply_id: int | None = None, error: str | None = None
) -> bool:
    """Mark updates as done and empty their payloads; ``reply_id`` belongs to the first of them. Whether any is there."""
    count = 0
    for number, update_id in enumerate(update_ids):
        values: dict[str, Any] = {"answered_at": func.now(), "payload": {}, "error": error}
        if number == 0 and reply_id is not None:
            values["reply_id"] = reply_id
        count += connection.execute(update(InboxRow).where(InboxRow.update_id == update_id).values(**values)).rowcount
    return count > 0


def post_of(connection: Connection, update_id: int, chat_id: int) -> str | None:
    """The post that an update of this chat became."""
    query = select(InboxRow.post_id).where(InboxRow.update_id == update_id, InboxRow.chat_id == chat_id)
    return connection.execute(query).scalar()


def drop(connection: Connection, author_hash: str, chat_id: int | None, keep: int | None = None) -> list[str]:
    """Delete an author's updates, and those of ``chat_id``, except ``keep``; returns the posts that they became."""
    whose = InboxRow.author_hash == author_hash
    if chat_id is not None:
        whose = or_(whose, InboxRow.chat_id == chat_id)
    statement = delete(InboxRow).where(whose).returning(InboxRow.post_id)
    if keep is not None:
        statement = statement.where(InboxRow.update_id != keep)
    return [post for post in connection.execute(statement).scalars() if post]


def expire(connection: Connection, days: int) -> int:
    """Delete closed updates older than that; returns how many."""
    old = InboxRow.answered_at < func.now() - text(":days * interval '1 day'").bindparams(days=days)
    return connection.execute(delete(InboxRow).where(old)).rowcount


def sole_reader(connection: Connection) -> bool:
    """Take the session lock that lets one bot process at a time answer; False when another has it."""
    return bool(connection.execute(text("select pg_try_advisory_lock(hashtext('moodtape.bot'))")).scalar())


def _change(connection: Connection, update_id: int, **values: Any) -> bool:
    statement = update(InboxRow).where(InboxRow.update_id == update_id, InboxRow.answered_at.is_(None)).values(**values)
    return connection.execute(statement).rowcount == 1


def remove(connection: Connection, update_ids: Sequence[int]) -> None:
    """Delete updates."""
    connection.execute(delete(InboxRow).where(InboxRow.update_id.in_(update_ids)))


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


def migrate(connection: Connection, old: int, new: int, old_hash: str, new_hash: str) -> None:
    """Give a chat its new number: its settings, its updates, and what it wrote as itself; harmless when done again."""
    values = {"old": old, "new": new, "old_hash": old_hash, "new_hash": new_hash}
    for statement in (
        "insert into chats (chat_id, language, consent_at, seen_at, last_post_id) "
        "select :new, language, consent_at, seen_at, last_post_id from chats where chat_id = :old on conflict do nothing",
        "delete from chats where chat_id = :old",
        "update inbox set chat_id = :new where chat_id = :old",
        "update inbox set author_hash = :new_hash where author_hash = :old_hash",
        "update posts set author_hash = :new_hash where author_hash = :old_hash",
        "update feedback set author_hash = :new_hash where author_hash = :old_hash",
    ):
        connection.execute(text(statement), values)


def own_anonymous(connection: Connection, shared: str, whose: Callable[[int], str]) -> tuple[int, int]:
    """Give what anonymous admins posted under the number that all of them share to the groups in which they did.

    ``shared`` is that number's hash, ``whose`` makes a chat's. Updates that are kept tell the group; returns how many posts
    have moved and how many nobody's group is known of. Those stay: they are of many groups, and no one's to delete.
    """
    chats = connection.execute(
        text("select distinct chat_id from inbox where author_hash = :shared and chat_id is not null"),
        {"shared": shared},
    ).scalars()
    moved = 0
    for chat in chats.all():
        values = {"shared": shared, "own": whose(chat), "chat": chat}
        moved += connection.execute(text(_OWN), values).rowcount
        connection.execute(
            text("update inbox set author_hash = :own where author_hash = :shared and chat_id = :chat"), values
        )
    left = connection.execute(text("select count(*) from posts where author_hash = :shared"), {"shared": shared})
    return moved, left.scalar_one()


_OWN = """
update posts set author_hash = :own where author_hash = :shared
  and id in (select post_id from inbox where author_hash = :shared and chat_id = :chat)
"""


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
    posts = drop(connection, author_hash, own_chat, keep)
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


def forget_post(connection: Connection, post_id: str) -> None:
    """Delete one post with its picture, if nobody else posted that."""
    sha = connection.execute(delete(PostRow).where(PostRow.id == post_id).returning(PostRow.image_sha256)).scalar()
    orphan = "delete from images where sha256 = :sha and not exists (select from posts where image_sha256 = :sha)"
    connection.execute(text(orphan), {"sha": sha})
