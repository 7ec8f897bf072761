"""Post sources, one file each: ``streaming/posts/<name>.py`` has ``source(argument, settings, clock)``; see the how-to."""

from __future__ import annotations

from domain.symbols import mentioned
from streaming.messages import PostMessage

MOST_CHARACTERS = 100_000
"""Characters of a post that are sent on; the sink refuses posts of more than 20,000 with what it was sent."""


def relevant(text: str) -> bool:
    """Whether the text names a market; live sources leave everything else out."""
    return bool(mentioned(text[:MOST_CHARACTERS]))


def message(
    source: str, native_id: str, text: str, at: float, author: str | None, stream: str, after: int, upto: int
) -> PostMessage:
    """A live post; language and markets are found by the sink."""
    return PostMessage(
        id=f"{source}:{native_id}",
        source=source,
        text=text[:MOST_CHARACTERS],
        at=at,
        author_hash=author,
        stream=stream,
        after=after,
        upto=upto,
    )
