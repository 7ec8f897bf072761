"""An answer in the words of a catalogue: the facts come from the queue's client, the sentences from ``bot/locales``."""

from __future__ import annotations

from typing import Any

from answer.catalogue import Say
from answer.reasons import told
from answer.words import facts, move
from domain.answer import Json
from domain.errors import (
    Busy,
    Cancelled,
    EmptyPost,
    InputError,
    MoodtapeError,
    NoCandles,
    TooLarge,
    Unavailable,
    UnknownSymbol,
    UnreadableImage,
)

MEGABYTES = 20
"""What Telegram lets bots fetch."""

_KEYS: tuple[tuple[type[MoodtapeError], str], ...] = (
    (EmptyPost, "error-empty-post"),
    (TooLarge, "error-too-large"),
    (UnreadableImage, "error-unreadable-image"),
    (UnknownSymbol, "error-unknown-symbol"),
    (NoCandles, "error-no-candles"),
    (InputError, "error-bad-input"),
    (Cancelled, "error-cancelled"),
    (Busy, "error-busy"),
    (Unavailable, "error-unavailable"),
)


class FileTooBig(TooLarge):
    """More than Telegram lets bots fetch."""

    code = "file_too_big"


class Unsupported(InputError):
    """A message that holds nothing the bot can read."""

    code = "unsupported"


def complain(error: Exception, say: Say) -> str:
    """An error in the user's language. The id, where one is shown, stands in the log as well."""
    if isinstance(error, FileTooBig):
        return say("error-file-too-big", megabytes=MEGABYTES)
    if isinstance(error, Unsupported):
        return say("error-unsupported")
    if not isinstance(error, MoodtapeError):
        return say("error-internal", id="–")
    key = next((key for kind, key in _KEYS if isinstance(error, kind)), "error-internal")
    seconds = round(error.retry_after) if isinstance(error, Busy) else 0
    return say(key, message=error.message, id=error.id, seconds=seconds)


def tell(answer: Json, say: Say, *, notes: tuple[str, ...] = ()) -> str:
    """The answer in a few lines, ``notes`` above the disclaimer."""
    said = facts(answer)
    lines = [_mood(said, say), _hype(said, say), *_paths(said, say)]
    if said["explanation"]:
        lines.append(say("explanation", words=said["explanation"]))
    lines += [say("note", words=told(warning, say)) for warning in said["warnings"]]
    return "\n".join([*lines, *notes, say("not-advice")])


def _mood(said: dict[str, Any], say: Say) -> str:
    if said["label"] is None:
        return say("mood-none", reason=_reason(said["abstained"], say))
    parts = [say("mood", label=say(f"emotion-{said['label']}"), certainty=said["certainty"])]
    for key, label in (("mood-text", said["text_label"]), ("mood-image", said["image_label"])):
        if label and said["text_label"] and said["image_label"]:
            parts.append(say(key, label=say(f"emotion-{label}")))
    if said["faces"]:
        parts.append(say("faces", count=said["faces"]))
    return "\n".join([parts[0], " ".join(parts[1:])]).rstrip()


def _hype(said: dict[str, Any], say: Say) -> str:
    if said["hype"] is None:
        return say("hype-none", reason=_reason(said["hype_reason"], say))
    parts = [say("hype", chance=said["hype"], hours=f"{said['hype_minutes'] / 60:.1f}")]
    if said["base_rate"] is not None:
        parts.append(say("hype-usual", rate=said["base_rate"]))
    if not said["hype_signal"]:
        parts.append(say("hype-weak"))
    return " ".join(parts)


def _paths(said: dict[str, Any], say: Say) -> list[str]:
    if said["symbol"] is None:
        return [say("paths-none")]
    moves = {name: move(said[name]) for name in ("end", "low", "high")}
    counts = {name: said[name] for name in ("symbol", "matches", "windows", "minutes")}
    return [
        say("paths", end=moves["end"], usual=move(said["usual_end"]), **counts),
        say("band", coverage=said["coverage"], low=moves["low"], high=moves["high"]),
    ]


def _reason(sentence: str | None, say: Say) -> str:
    return f" – {told(sentence, say).rstrip('.')}" if sentence else ""
