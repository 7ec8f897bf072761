"""What the bot says: words, perhaps a picture and buttons; cut to Telegram's lengths before it is escaped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from db.queries.telegram import Open

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
ELLIPSIS = "…"

Button = tuple[str, str]
"""Words on it, and the data it sends back (at most 64 bytes)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. ``post_id`` makes it the chat's last one; ``forget`` removes the update itself once it is answered.

    ``sent`` is told the number of the message once it stands.
    """

    text: str
    picture: bytes | None = None
    buttons: tuple[tuple[Button, ...], ...] = ()
    post_id: str | None = None
    forget: bool = False
    error: str | None = None
    sent: Callable[[int], None] | None = None

    @property
    def markup(self) -> str:
        """The words as Telegram's HTML, first line bold, within the length that Telegram takes."""
        text = shorten(self.text, CAPTION_LIMIT if self.picture else TEXT_LIMIT)
        first, newline, rest = text.partition("\n")
        if not newline:
            return escape(text, quote=False)
        return f"<b>{escape(first, quote=False)}</b>\n{escape(rest, quote=False)}"

    @property
    def plain(self) -> str:
        """The words without markup, for a server that refuses the markup."""
        return shorten(self.text, CAPTION_LIMIT if self.picture else TEXT_LIMIT)


def length(text: str) -> int:
    """Length as Telegram counts it: UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


def shorten(text: str, limit: int) -> str:
    """The text, cut at the end of a line or word where it is longer than ``limit`` UTF-16 units."""
    if length(text) <= limit:
        return text
    cut = text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", errors="ignore")
    for mark in ("\n", " "):
        head, separator, _ = cut.rpartition(mark)
        if separator and length(head) >= limit // 2:
            cut = head
            break
    return cut.rstrip() + ELLIPSIS


@dataclass
class PendingUpdate:
    """An update, or the several of an album, that gets one answer; ``reply_id`` is our message that the answer replaces."""

    rows: list[Open]
    chat_id: int
    reply_to: int | None
    reply_id: int | None
    post_id: str | None
    thread: int | None = None
    """The forum topic that the answer belongs into."""

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


def pending_of(rows: list[Open]) -> PendingUpdate | None:
    """The update that some rows make; None where there is no chat to answer."""
    first = rows[0]
    if first.chat_id is None:
        return None
    post_id = next((row.post_id for row in rows if row.post_id), None)
    message = message_of(first.payload)
    thread = message.get("message_thread_id") if message.get("is_topic_message") else None
    return PendingUpdate(rows, first.chat_id, message.get("message_id"), first.reply_id, post_id, thread)


def message_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The message of an update, new or edited; empty where it is about something else."""
    found: dict[str, Any] = payload.get("message") or payload.get("edited_message") or {}
    return found


def sender(payload: dict[str, Any]) -> tuple[int | None, int | None, str | None]:
    """Chat id, the sender's id and album of an update as Telegram sends it.

    Who writes as a chat – an anonymous admin as the group, a channel, its forward into the discussion group – comes from
    one user number that all such senders share (1087968824, 136817688, 777000); the chat in ``sender_chat`` is the person.
    """
    query = payload.get("callback_query") or {}
    message = message_of(payload) or query.get("message") or {}
    user = query.get("from") or message.get("sender_chat") or message.get("from") or {}
    return (message.get("chat") or {}).get("id"), user.get("id"), message.get("media_group_id")
