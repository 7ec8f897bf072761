"""``moodtape events``: one rule asked of a market, or the study of all rules; from files or from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from db.engine import make_engine, transaction
from db.queries.earned import EventRuleRow, replace_rules, stored_posts
from db.queries.market_history import market_minutes, market_span
from domain.errors import InputError
from domain.symbols import DEFAULT_SYMBOL
from domain.types import EMOTIONS
from models.manifest import ARTIFACTS
from training.trajectories import event_rules
from training.trajectories.event_rules import Posts, Rule
from training.trajectories.event_study import FEWEST_EVENTS, TESTED, Field, Ranked, figures, holm
from training.trajectories.pairs import load_tapes

READ = 4_000
"""Most posts whose mood is read for a rule about an emotion."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks: a rule (or ``study``: all of them), of a market, over files or over what is stored."""

    rule: Rule
    symbol: str | None = None
    posts: tuple[Path, ...] = ()
    candles: tuple[Path, ...] = ()
    study: bool = False
    stored: bool = False
    save: bool = False
    seed: int = 0


def answer(asked: Asked) -> dict[str, Any]:
    """The figures of a rule, or the whole study.

    Raises:
        InputError: nothing is asked, or there are too few posts or candles to say anything.
    """
    if not (asked.study or asked.rule.json()):
        raise InputError("Say which posts: --author, --text, --emotion, --cluster, or --study for all rules.")
    if asked.rule.emotion and asked.rule.emotion not in EMOTIONS:
        raise InputError(f"“{asked.rule.emotion[:20]}” is no emotion here; there are: {', '.join(EMOTIONS)}.")
    posts, fields, emotions = _stored(asked) if asked.stored else _files(asked)
    if asked.study:
        found = event_rules.study(posts, fields, event_rules.all_rules(posts), asked.seed)
        if asked.save:
            found["saved"] = _save(found)
        return found
    return _one(asked, posts, fields, emotions)


def _one(
    asked: Asked, posts: Posts, fields: Mapping[str, Sequence[Field]], emotions: NDArray[Any] | None
) -> dict[str, Any]:
    chosen = event_rules.matching(posts, asked.rule, emotions)
    if asked.rule.emotion and emotions is None:
        chosen = _of_emotion(posts, chosen, asked.rule.emotion)
    named = [s for n in np.flatnonzero(chosen) for s in posts.symbols[n]]
    symbol = asked.symbol or max(sorted(set(named)), key=named.count, default=None)
    if symbol is None:
        raise InputError("No post is such a post; try another author or pattern.")
    if symbol not in fields:
        raise InputError(f"There are no candles of {symbol}; there are: {', '.join(sorted(fields)) or 'none'}.")
    ranked = event_rules.ranked_of(posts, chosen, symbol, fields[symbol], asked.seed)
    if len(ranked.minute) < FEWEST_EVENTS:
        raise InputError(
            f"Of {int(chosen.sum())} such posts only {len(ranked.minute)} lie apart and have candles and controls around "
            f"them; {FEWEST_EVENTS} are needed."
        )
    return {"rule": asked.rule.json(), "symbol": symbol, "posts": int(chosen.sum()), **tested(ranked)}


def tested(ranked: Ranked) -> dict[str, Any]:
    """Figures of a rule; ``holds`` where Holm's procedure over what is tested of it rejects chance."""
    found = figures(ranked)
    p = [found["outcomes"][outcome][str(horizon)]["p"] for outcome, horizon in TESTED]
    holds = holm(p)
    return {
        "independent_windows": found["n"],
        "tested": [
            {"outcome": outcome, "minutes": horizon, "p": value, "holds": bool(held)}
            for (outcome, horizon), value, held in zip(TESTED, p, holds, strict=True)
        ],
        **found,
    }


def _files(asked: Asked) -> tuple[Posts, dict[str, list[Field]], None]:
    if not asked.posts or not asked.candles:
        raise InputError("Give both --posts FILE and --candles FILE, or neither for what is in the database.")
    return event_rules.load_posts(asked.posts), event_rules.fields_of(load_tapes(asked.candles)), None


def _stored(asked: Asked) -> tuple[Posts, dict[str, list[Field]], NDArray[Any]]:
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            rows = stored_posts(connection)
            symbols = tuple(tuple(row.symbols) or (DEFAULT_SYMBOL,) for row in rows)
            words = [np.array([getattr(row, n) for row in rows], dtype=object) for n in ("source", "author", "text")]
            times = np.array([int(row.posted_at.timestamp()) for row in rows], dtype=np.int64)
            posts = Posts(times, words[0], words[1], words[2], symbols)
            emotions = np.array([row.emotion for row in rows], dtype=object)
            fields = _fields(connection, {s for named in posts.symbols for s in named}, asked.symbol)
    finally:
        engine.dispose()
    return posts, fields, emotions


def _fields(connection: Connection, named: set[str], only: str | None) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    spans = market_span(connection)
    known = sorted({symbol for _, symbol, _, _ in spans})
    if only is not None and only not in known:
        raise InputError(f"There are no candles of {only}; there are: {', '.join(known) or 'none'}.")
    for market, symbol, first, last in spans:
        if symbol in named and only in (None, symbol):
            found.setdefault(symbol, []).append(Field.of(market_minutes(connection, market, symbol, first, last)))
    return found


def _of_emotion(posts: Posts, chosen: NDArray[np.bool_], emotion: str) -> NDArray[np.bool_]:
    """The chosen posts whose words the shipped model reads as an emotion; at most the newest :data:`READ` are read."""
    from models.emotion.text import EmotionTextReader

    reader, found = EmotionTextReader.from_pretrained(ARTIFACTS / "emotion-text"), np.zeros(len(posts), dtype=np.bool_)
    rows = np.flatnonzero(chosen)[-READ:]
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        readings = reader.read([posts.text[n] for n in part])
        found[part] = [r.abstained is None and EMOTIONS[int(r.probabilities.argmax())] == emotion for r in readings]
    return found


def _save(found: Mapping[str, Any]) -> int:
    """Put the confirmed rules about volume and volatility in the place of those stored before; returns how many."""
    rows = [
        EventRuleRow(
            symbol=c["symbol"],
            rule=c["rule"],
            outcome=c["outcome"],
            minutes=c["minutes"],
            ratio=c["ratio"],
            low=c["interval"][0],
            high=c["interval"][1],
            n=c["n"],
            held=c["above"],
            tried=found["tried"],
        )
        for c in found["confirmed"]
        if c["outcome"] in ("volume", "volatility")
    ]
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            return replace_rules(connection, rows)
    finally:
        engine.dispose()


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Bars of volume and volatility after the events over their controls, with intervals.

    Raises:
        InputError: the picture cannot be written, or a study is to be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if "outcomes" not in found:
        raise InputError("A picture is drawn of one rule, not of a study; leave --study out.")
    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.subplots()
    for n, outcome in enumerate(("volume", "volatility")):
        rows = found["outcomes"][outcome]
        ratios = np.array([row["ratio"] for row in rows.values()])
        spread = np.abs(np.array([row["interval"] for row in rows.values()]).T - ratios)
        axes.bar(np.arange(len(rows)) + 0.4 * n, ratios, 0.38, yerr=spread, capsize=4, label=outcome)
    axes.set_xticks(np.arange(len(rows)) + 0.2, [f"{minutes} min" for minutes in rows])
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("times the controls'")
    axes.set_title(f"{found['symbol']} after {found['n']} events")
    axes.legend()
    try:
        FigureCanvasAgg(figure).print_figure(path, format="png")
    except OSError as error:
        raise InputError(f"The picture cannot be written to {path}: {error.strerror}.") from None
