"""An answer in sentences, and errors too: the facts of an answer in the words of one language's catalogue."""

from __future__ import annotations

from typing import Any

from answer.catalogue import Say
from domain.answer import Json
from domain.errors import InputError, MoodtapeError, Unavailable
from domain.reasons import Parameter, Reason
from domain.types import EMOTIONS

TELLING = 0.08
"""Least share of the attribution that a word needs to be named."""

MOST_WORDS = 3

MEGABYTES = 20
"""What Telegram lets bots fetch."""

Facts = dict[str, Any]


def facts(answer: Json) -> Facts:
    """What an answer says, as flat numbers, words and reasons; None where it says nothing.

    Shares are percent, moves are percent at the end of the 256 minutes.
    """
    emotions, hype, paths = answer["emotions"], answer["hype"]["symbol"], answer["trajectories"]
    label = emotions["label"]
    return {
        "label": label,
        "certainty": None if label is None else _percent(emotions["probabilities"][label]),
        "abstained": emotions["abstained"],
        "text_label": _leaning(emotions["text"]),
        "image_label": _leaning(emotions["image"]),
        "faces": emotions["faces"],
        "spoke": [w["word"] for w in emotions["why"].get("words", []) if w["weight"] >= TELLING][:MOST_WORDS],
        "hype": _percent(hype["probability"]),
        "base_rate": _percent(hype["base_rate"]),
        "hype_minutes": hype["horizon_minutes"],
        "hype_signal": hype["signal"],
        "hype_reason": hype["reason"],
        "explanation": answer["explanation"]["text"] if answer["explanation"] else None,
        "explanation_kind": answer["explanation"]["kind"] if answer["explanation"] else None,
        "explanation_reason": answer["explanation_reason"],
        "warnings": answer["warnings"],
        **(_path_facts(paths) if paths else dict.fromkeys(_PATH_FACTS)),
    }


def _path_facts(paths: Json) -> Facts:
    return {
        "symbol": paths["symbol"],
        "minutes": len(paths["median"]),
        "median": paths["median"][-1],
        "low": paths["low"][-1],
        "high": paths["high"][-1],
        "coverage": _percent(paths["coverage"]["nominal"]),
        "held": _percent(paths["coverage"]["live"]),
        "scored": paths["coverage"]["n"],
        "signal": paths["signal"],
        "signal_reason": paths["reason"],
        "events": paths.get("events", []),
        "matches": len(paths["matches"]),
        "windows": paths["independent_windows"],
        "matches_end": paths["matches_mean"][-1],
        "control_end": paths["control_mean"][-1] if paths["control_mean"] else None,
        "usual_end": paths["baseline_mean"][-1],
    }


_PATH_FACTS = (
    "symbol", "minutes", "median", "low", "high", "coverage", "held", "scored", "signal", "signal_reason", "events",
    "matches", "windows", "matches_end", "control_end", "usual_end",
)  # fmt: skip


def tell(answer: Json, say: Say, *, notes: tuple[str, ...] = ()) -> str:
    """The answer in a few lines, ``notes`` above the disclaimer."""
    said = facts(answer)
    lines = [_mood(said, say), hype_line(said, say), *_paths(said, say)]
    if said["explanation"]:
        key = "typical" if said["explanation_kind"] == "typical" else "explanation"
        lines.append(say(key, words=said["explanation"]))
    lines += [say("note", words=note) for note in _notes(said, say)]
    return "\n".join([*lines, *notes, say("not-advice")])


def page(answer: Json, say: Say) -> Json:
    """What the page says of an answer: three facts (name, big, more), notes, and the whole in words."""
    said = facts(answer)
    rows = {"mood": _mood_fact(said, say), "hype": _hype_fact(said, say), "price": _price_fact(said, say)}
    lines = {key: dict(zip(("name", "big", "more"), row, strict=True)) for key, row in rows.items()}
    return {**lines, "notes": [capital(note) for note in _notes(said, say)], "text": tell(answer, say)}


def _mood_fact(said: Facts, say: Say) -> tuple[str, str, str]:
    if said["label"] is None:
        return say("page-mood"), say("page-none"), capital(sentence(said["abstained"], say))
    more = [say("page-sure", certainty=said["certainty"]), *_mood(said, say).split("\n")[1:]]
    return say("page-mood"), say(f"emotion-{said['label']}"), " ".join(more)


def _hype_fact(said: Facts, say: Say) -> tuple[str, str, str]:
    big = say("page-no-forecast") if said["hype"] is None else f"{said['hype']} %"
    return say("page-hype"), big, hype_line(said, say)


def _price_fact(said: Facts, say: Say) -> tuple[str, str, str]:
    if said["symbol"] is None:
        return say("page-price-none"), say("page-no-matches"), say("paths-none")
    name = say("page-price", symbol=said["symbol"], minutes=said["minutes"])
    return name, f"{move(said['low'], say)} … {move(said['high'], say)}", " ".join(_paths(said, say))


def _notes(said: Facts, say: Say) -> list[str]:
    """What else is to be known, as clauses: warnings that do not say again why no mood is claimed, and no explanation."""
    reasons = [warning for warning in said["warnings"] if warning != said["abstained"]]
    if said["explanation_reason"]:
        reasons.append(said["explanation_reason"])
    return [sentence(reason, say) for reason in reasons]


def sentence(reason: Json | Reason, say: Say) -> str:
    """A reason as a clause without a full stop, fit for the middle of a sentence."""
    found = reason if isinstance(reason, Reason) else Reason.read(reason)
    return say(f"reason-{found.code.replace('_', '-')}", **{k: _value(k, v, say) for k, v in found.parameters.items()})


def _value(name: str, value: Parameter, say: Say) -> str | int | float:
    if isinstance(value, Reason):
        return sentence(value, say)
    if name in ("first", "second") and value in EMOTIONS:
        return say(f"emotion-{value}")
    return say(f"{name}-{value}") if name in ("language", "kind") else value


def move(value: float, say: Say | None = None) -> str:
    """A signed percentage with a real minus sign: ``+0.42 %``, ``−1.30 %``, ``0.00 %``; in the language's decimals."""
    text = f"{abs(value):.2f}"
    sign = "" if float(text) == 0 else "+" if value > 0 else "−"
    return f"{sign}{_decimals(text, say) if say else text} %"


def _decimals(number: str, say: Say) -> str:
    return number.replace(".", say("decimal"))


def _percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


def _leaning(probabilities: dict[str, float] | None) -> str | None:
    return max(probabilities, key=probabilities.__getitem__) if probabilities else None


def _mood(said: Facts, say: Say) -> str:
    if said["label"] is None:
        return say("mood-none", reason=_because(said["abstained"], say))
    parts = []
    if said["text_label"] and said["image_label"]:
        parts.append(say("mood-text", label=say(f"emotion-{said['text_label']}")))
        parts.append(say("mood-image", label=say(f"emotion-{said['image_label']}")))
    elif said["image_label"] or said["text_label"]:
        parts.append(say("mood-image-alone" if said["image_label"] else "mood-text-alone"))
    if said["spoke"]:
        parts.append(say("mood-words", words=", ".join(f"“{word}”" for word in said["spoke"])))
    if said["faces"]:
        parts.append(say("faces", count=said["faces"]))
    first = say("mood", label=say(f"emotion-{said['label']}"), certainty=said["certainty"])
    return f"{first}\n{' '.join(parts)}".rstrip()


def hype_line(said: Facts, say: Say, *, brief: bool = False) -> str:
    """The hype forecast of the market in one line; ``brief`` without saying why it is weak."""
    if said["hype"] is None:
        return say("hype-none", reason=_because(said["hype_reason"], say))
    parts = [say("hype", chance=said["hype"], hours=_decimals(f"{said['hype_minutes'] / 60:.1f}", say))]
    if said["base_rate"] is not None:
        parts.append(say("hype-usual", rate=said["base_rate"]))
    if not said["hype_signal"]:
        parts.append(say("hype-weak", reason="" if brief else _because(said["hype_reason"], say)))
    return " ".join(parts)


def _paths(said: Facts, say: Say) -> list[str]:
    if said["symbol"] is None:
        return [say("paths-none")]
    moves = {name: move(said[name], say) for name in ("median", "low", "high")}
    band = say("band", symbol=said["symbol"], minutes=said["minutes"], coverage=said["coverage"], **moves)
    if said["held"] is not None:
        band += " " + say("band-held", held=said["held"], scored=said["scored"])
    if not said["signal"]:
        band += " " + say("no-signal", reason=_because(said["signal_reason"], say))
    control = "" if said["control_end"] is None else " " + say("control", end=move(said["control_end"], say))
    counts = {name: said[name] for name in ("symbol", "matches", "windows")}
    evidence = say("matches", end=move(said["matches_end"], say), usual=move(said["usual_end"], say), **counts)
    return [band, *(_event(event, say) for event in said["events"] if event.get("outcome")), evidence + control]


def _event(event: Json, say: Say) -> str:
    """What followed posts like this one, in one line."""
    times = f"{1 + event['expects'] / 100:.1f}"
    named = {name: event[name] for name in ("outcome", "minutes", "held", "n")}
    return say("event", times=times, **named)


def _because(reason: Json | None, say: Say) -> str:
    return f" – {sentence(reason, say)}" if reason else ""


def explain(error: MoodtapeError, say: Say) -> str:
    """An error for those who run moodtape or write programs for it: its reason in their language, else its message."""
    return error.message if error.reason is None else complain(error, say)


def complain(error: Exception, say: Say) -> str:
    """An error for everybody: its reason in their language, or how to go on, with the id that stands in the log as well."""
    if not isinstance(error, MoodtapeError):
        return say("error-internal", id="–")
    if error.reason is not None:
        return say("error", reason=capital(sentence(error.reason, say)))
    kinds = ((InputError, "error-bad-input"), (Unavailable, "error-unavailable"))
    key = next((key for kind, key in kinds if isinstance(error, kind)), "error-internal")
    return say(key, id=error.id)


def capital(words: str) -> str:
    """Fit for the beginning of a sentence."""
    return words[:1].upper() + words[1:]
