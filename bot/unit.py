"""What is answered once: an update, or all parts of an album."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from db.queries.inbox import Open


@dataclass
class Unit:
    """Open inbox rows that get one answer; the first one leads. ``reply_id`` is our message that the answer replaces."""

    rows: list[Open]
    chat_id: int
    reply_to: int | None
    reply_id: int | None
    post_id: str | None

    @property
    def lead(self) -> int:
        """The update id under which the answer is reserved."""
        return self.rows[0].update_id

    @property
    def ids(self) -> list[int]:
        """All update ids, the leading one first."""
        return [row.update_id for row in self.rows]

    @property
    def author_hash(self) -> str | None:
        """Who sent it."""
        return self.rows[0].author_hash

    @property
    def uncertain(self) -> bool:
        """Whether an earlier process died while the answer was leaving, so that nobody knows if it arrived."""
        return self.rows[0].sending_at is not None and self.reply_id is None


def unit_of(rows: list[Open]) -> Unit | None:
    """The unit of some rows; None where there is no chat to answer."""
    first = rows[0]
    if first.chat_id is None:
        return None
    post_id = next((row.post_id for row in rows if row.post_id), None)
    message = first.payload.get("message") or {}
    return Unit(rows, first.chat_id, message.get("message_id"), first.reply_id, post_id)


def sender(payload: dict[str, Any]) -> tuple[int | None, int | None, str | None]:
    """Chat id, user id and album of an update as Telegram sends it."""
    query = payload.get("callback_query") or {}
    message = payload.get("message") or query.get("message") or {}
    user = query.get("from") or message.get("from") or {}
    return (message.get("chat") or {}).get("id"), user.get("id"), message.get("media_group_id")
