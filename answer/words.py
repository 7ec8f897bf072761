"""An answer in plain words: first the facts, then the sentences, so that other languages can word the same facts."""

from __future__ import annotations

from typing import Any

from domain.answer import Json

TELLING = 0.08
"""Least share of the attribution that a word needs to be named."""

MOST_WORDS = 3

DISCLAIMER = "Not financial advice."


def facts(answer: Json) -> dict[str, Any]:
    """What an answer says, as flat numbers and words; None where it says nothing.

    Shares are percent, moves are percent at the end of the 256 minutes.
    """
    emotions, hype, paths = answer["emotions"], answer["hype"], answer["trajectories"]
    label = emotions["label"]
    return {
        "label": label,
        "certainty": None if label is None else _percent(emotions["probabilities"][label]),
        "leaning": _leaning(emotions["probabilities"]),
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
        "symbol": paths["symbol"] if paths else None,
        "minutes": len(paths["mean"]) if paths else None,
        "end": paths["mean"][-1] if paths else None,
        "low": paths["low"][-1] if paths else None,
        "high": paths["high"][-1] if paths else None,
        "usual_end": paths["baseline_mean"][-1] if paths else None,
        "coverage": _percent(paths["coverage"]) if paths else None,
        "matches": len(paths["matches"]) if paths else 0,
        "windows": paths["independent_windows"] if paths else 0,
        "explanation": answer["explanation"]["text"] if answer["explanation"] else None,
        "warnings": list(answer["warnings"]),
    }


def tell(answer: Json) -> str:
    """The answer in a few English lines, ending with the disclaimer."""
    f = facts(answer)
    lines = [_mood(f), _hype(f), *_paths(f)]
    if f["explanation"]:
        lines.append(f"Posts like this one say: {f['explanation']}")
    lines += [f"Note: {warning}" for warning in f["warnings"]]
    return "\n".join([*lines, DISCLAIMER])


def move(value: float) -> str:
    """A signed percentage with a real minus sign: ``+0.42 %``, ``−1.30 %``, ``0.00 %``."""
    text = f"{abs(value):.2f}"
    sign = "" if float(text) == 0 else "+" if value > 0 else "−"
    return f"{sign}{text} %"


def _percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


def _leaning(probabilities: dict[str, float] | None) -> str | None:
    return max(probabilities, key=probabilities.__getitem__) if probabilities else None


def _mood(f: dict[str, Any]) -> str:
    if f["label"] is None:
        return f"Mood: none is claimed – {_clause(f['abstained'] or 'the post shows no clear one')}."
    parts = []
    if f["text_label"] and f["image_label"]:
        parts.append(f"the words lean to {f['text_label']}, the picture to {f['image_label']}")
    elif f["image_label"]:
        parts.append("from the picture alone")
    elif f["text_label"]:
        parts.append("from the words alone")
    if f["spoke"]:
        parts.append(f"above all {', '.join(f'“{word}”' for word in f['spoke'])}")
    if f["faces"]:
        parts.append(f"{f['faces']} face{'s' if f['faces'] > 1 else ''} found")
    return f"Mood: {f['label']}, {f['certainty']} % sure" + (f" ({'; '.join(parts)})." if parts else ".")


def _hype(f: dict[str, Any]) -> str:
    hours = f["hype_minutes"] / 60
    if f["hype"] is None:
        return f"Hype: no forecast – {_clause(f['hype_reason'] or 'not enough is known')}."
    usual = "" if f["base_rate"] is None else f", usually {f['base_rate']} %"
    line = f"Hype: {f['hype']} % chance of unusually high activity within {hours:.1f} hours{usual}."
    if not f["hype_signal"]:
        line += " Weak: no better lately than assuming that things go on as they are."
    if f["hype_reason"]:
        line += f" {_sentence(f['hype_reason'])}"
    return line


def _paths(f: dict[str, Any]) -> list[str]:
    if f["symbol"] is None:
        return ["Prices: no similar past post whose outcome was known at that time."]
    return [
        f"Prices of {f['symbol']} after the {f['matches']} most similar past posts ({f['windows']} independent windows): "
        f"{move(f['end'])} on average {f['minutes']} minutes later, usually {move(f['usual_end'])}.",
        f"Band meant to hold {f['coverage']} % of outcomes: {move(f['low'])} to {move(f['high'])}.",
    ]


def _clause(text: str) -> str:
    """Fit for the middle of a sentence."""
    return text.strip().rstrip(".")


def _sentence(text: str) -> str:
    text = _clause(text)
    return text[:1].upper() + text[1:] + "."
