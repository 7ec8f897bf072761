"""How predictions held: every scored one counts, losers included; live and replayed ones are told apart."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from db.queries.earned import Fold, count_trials, latest_fold
from db.queries.predictions import by_day, totals, worst
from domain.answer import Json, stamp

NOMINAL = 0.8
WORST = 10
SUMMED = ("n", "banded", "crps", "crps_base", "volatility_error", "volatility_base")
WEIGHED = {
    "covered": "banded",
    "inside_at_end": "banded",
    "width": "banded",
    "big_brier": "banded",
    "big_rate": "banded",
}


def scorecard(connection: Connection, now: datetime, days: int = 45, replayed: bool = False) -> Json:
    """The scorecard of the last days of closings (of all of them for replays, which have a clock of their own).

    ``crps_skill`` is against the moves of the week before each day, ``volatility_skill`` against the last 24 hours' with their
    mean error taken off, ``big_move.brier`` beside that of always saying the rate. ``windows``: distinct 256 minutes, for
    predictions of one are not independent. Of a campaign only the first post counts.
    """
    since = datetime(1970, 1, 1, tzinfo=now.tzinfo) if replayed else now - timedelta(days=days)
    rows = totals(connection, since, replayed)
    return {
        "replayed": replayed,
        "since": None if replayed else stamp(since),
        "all": _figures(_together(rows)) if rows else None,
        "symbols": {str(row["symbol"]): _figures(row) for row in rows},
        "days": [_day(row) for row in by_day(connection, since, replayed)],
        "worst": [_loser(row) for row in worst(connection, since, replayed, WORST)],
        "walk_forward": _night(latest_fold(connection), connection),
    }


def _night(fold: Fold | None, connection: Connection) -> Json | None:
    """The newest walk-forward: what it measured, whether it earned a signal, what looked wrong; null before the first."""
    if fold is None or fold.made_at is None:
        return None
    return {
        "made_at": stamp(fold.made_at),
        "revision": fold.revision,
        "signal": fold.signal,
        "alarms": fold.alarms,
        "trials": fold.trials,
        "trials_ever": count_trials(connection),
        "figures": fold.figures,
    }


def _day(row: dict[str, Any]) -> Json:
    coverage, width = _short(row["covered"]), _short(row["width"])
    return {"day": row["day"].date().isoformat(), "n": row["n"], "coverage": coverage, "width": width}


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All symbols as one row; ``windows`` add up, since those of two markets count as two."""
    found: dict[str, Any] = {name: sum(row[name] or 0 for row in rows) for name in (*SUMMED, "windows")}
    for name in ("covered", "inside_at_end", "width", "big_brier", "big_rate", "hype_brier", "hype_rate"):
        known = [(float(row[name]), row[WEIGHED.get(name, "n")]) for row in rows if row[name] is not None]
        weight = sum(count for _, count in known)
        found[name] = sum(value * count for value, count in known) / weight if weight else None
    return found


def _figures(row: dict[str, Any]) -> Json:
    rate = row["big_rate"]
    live = {"live": _short(row["covered"]), "at_end": _short(row["inside_at_end"]), "n": row["banded"]}
    return {
        "n": row["n"],
        "windows": row["windows"],
        "coverage": {"nominal": NOMINAL, **live},
        "width": _short(row["width"]),
        "crps_skill": _skill(row["crps"], row["crps_base"]),
        "volatility_skill": _skill(row["volatility_error"], row["volatility_base"]),
        "big_move": {
            "brier": _short(row["big_brier"]),
            "base_brier": None if rate is None else _short(float(rate) * (1 - float(rate))),
            "rate": _short(rate),
        },
        "hype": {"brier": _short(row["hype_brier"]), "rate": _short(row["hype_rate"])},
    }


def _loser(row: dict[str, Any]) -> Json:
    numbers = {
        name: _short(row[name]) for name in ("end_change", "end_low", "end_high", "covered", "crps", "crps_base")
    }
    return {
        "post_id": row["post_id"],
        "symbol": row["symbol"],
        "closed_at": stamp(row["closed_at"]),
        "text": row["text"],
        **numbers,
    }


def _skill(ours: float | None, theirs: float | None) -> float | None:
    return round(1 - float(ours) / float(theirs), 4) if ours is not None and theirs else None


def _short(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def words(card: Json) -> str:
    """A scorecard as lines to read."""
    what = "replayed predictions" if card["replayed"] else f"predictions closed since {card['since'][:10]}"
    if card["all"] is None:
        none = f"No {what} have been scored yet; a case closes 256 minutes after its post."
        return f"{none}\n{_night_words(card['walk_forward'])}"
    lines = [f"{card['all']['n']} {what}, {card['all']['windows']} windows that do not overlap"]
    for name, f in {"all": card["all"], **card["symbols"]}.items():
        big = f["big_move"]
        lines.append(
            f"{name:10} n {f['n']:>6}  coverage {_said(f['coverage']['live'])} of {NOMINAL}  width {_said(f['width'])} %  "
            f"CRPS skill {_said(f['crps_skill'])}  volatility skill {_said(f['volatility_skill'])}  "
            f"big moves: Brier {_said(big['brier'])} (their rate alone {_said(big['base_brier'])})"
        )
    lines += [
        f"worst: {loser['post_id']} {loser['symbol']} ended {_said(loser['end_change'])} %, "
        f"band {_said(loser['end_low'])} to {_said(loser['end_high'])} %"
        for loser in card["worst"][:3]
    ]
    lines.append(_night_words(card["walk_forward"]))
    return "\n".join(lines)


def _night_words(night: Json | None) -> str:
    """The newest walk-forward in one line."""
    if night is None:
        return "No walk-forward over what is stored yet; one is tried each night at 02:15 UTC."
    alarms = ", ".join(sorted(night["alarms"])) or "none"
    earned = "earned" if night["signal"] else "not earned"
    windows = night["figures"].get("n", 0)
    return (
        f"walk-forward of {night['made_at'][:16].replace('T', ' ')} UTC: {windows} windows, signal {earned}, "
        f"alarms: {alarms}; {night['trials_ever']} comparisons ever"
    )


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
