"""Kinds of posts a market may answer to, and the study over all of them: found on earlier posts, confirmed on later ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import InputError
from domain.symbols import DEFAULT_SYMBOL, normalize
from models.trajectories.measures import Doubles
from training.trajectories.event_study import (
    FEWEST_EVENTS,
    TESTED,
    Field,
    Ranked,
    event_minutes,
    figures,
    holm,
    p_value,
    rank,
)
from training.trajectories.pairs import read, words_key
from training.trajectories.tape import Tape

FEWEST_POSTS = 30
"""Posts from which on an author is studied."""
CAMPAIGN = 3
"""Equal wordings within a day from which on they are a campaign."""
PLACEBO_RULES = 50
PLACEBO_EVENTS = 20
PATTERNS = (
    r"\bdoge",
    r"\belon\b|\bmusk\b",
    r"buy the dip|\bbtfd\b",
    r"to the moon|🚀",
    r"\bsec\b|\betf\b|regulat",
    r"\bhack|exploit|stolen",
    r"\bcrash|\bdump",
    r"\btesla\b",
    r"halving",
    r"liquidat",
    r"\bban(s|ned)?\b|china",
    r"\blisting|\blisted\b",
    r"\bpump",
    r"\bwhale",
    r"\bfed\b|inflation|\bcpi\b|interest rate",
    r"bullish",
    r"bearish",
    r"airdrop|giveaway",
    r"all[- ]time high|\bath\b",
    r"just bought|i bought|we bought",
    r"just sold|i sold|selling",
    r"\bbreaking\b|🚨",
    r"microstrategy|saylor",
    r"tariff",
)


@dataclass(frozen=True, slots=True, eq=False)
class Posts:
    """Posts ordered by time. ``time``: int64[n], epoch seconds; ``symbols``: the markets each names, or the default one."""

    time: NDArray[np.int64]
    source: NDArray[Any]
    author: NDArray[Any]
    text: NDArray[Any]
    symbols: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a post must be. ``author``: its hash or its source; ``text``: a pattern; ``campaign``: the first of near-copies."""

    author: str = ""
    text: str = ""
    emotion: str = ""
    campaign: bool = False

    def json(self) -> dict[str, Any]:
        """The parts that say something."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}


def load_posts(files: Sequence[Path]) -> Posts:
    """Posts of parquet files with ``t`` and ``text``, and ``source``, ``author_hash``, ``symbols`` where they have them.

    Raises:
        InputError: a column is missing.
    """
    table = read(files, ("t", "text", "source", "author_hash", "symbols"))
    if not {"t", "text"} <= set(table.column_names):
        raise InputError("The posts lack the columns t and text.")
    order = np.argsort(table["t"].to_numpy(), kind="stable")
    columns = {name: _texts(table, name) for name in ("text", "source", "author_hash", "symbols")}
    return Posts(
        table["t"].to_numpy().astype(np.int64)[order],
        columns["source"][order],
        columns["author_hash"][order],
        columns["text"][order],
        tuple(_markets(columns["symbols"][n]) for n in order),
    )


def _texts(table: pa.Table, name: str) -> NDArray[Any]:
    if name not in table.column_names:
        return np.full(table.num_rows, "", dtype=object)
    return np.array(["" if v is None else v for v in table.column(name).to_pylist()], dtype=object)


def _markets(named: Any) -> tuple[str, ...]:
    names = named if isinstance(named, list) else str(named).replace(",", " ").split()
    found = []
    for name in names:
        try:
            found.append(normalize(str(name)))
        except InputError:
            continue
    return tuple(dict.fromkeys(found)) or (DEFAULT_SYMBOL,)


def matching(posts: Posts, rule: Rule, emotions: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """Which posts a rule means.

    Raises:
        InputError: the pattern is none.
    """
    try:
        pattern = re.compile(rule.text, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"“{rule.text[:40]}” is not a pattern: {error}.") from None
    found = np.ones(len(posts), dtype=np.bool_)
    if rule.author:
        found &= (posts.author == rule.author) | (posts.source == rule.author)
    if rule.text:
        found &= np.array([bool(pattern.search(t)) for t in posts.text], dtype=np.bool_)
    if rule.campaign:
        found &= first_of_campaigns(posts)
    if rule.emotion and emotions is not None:
        found &= emotions == rule.emotion
    return found


def first_of_campaigns(posts: Posts) -> NDArray[np.bool_]:
    """The first post of every wording that at least three posts shared within a day."""
    groups: dict[str, list[int]] = {}
    for n, text in enumerate(posts.text):
        groups.setdefault(words_key(text), []).append(n)
    found = np.zeros(len(posts), dtype=np.bool_)
    for members in groups.values():
        times = posts.time[members]
        for k in range(len(members) - CAMPAIGN + 1):
            if times[k + CAMPAIGN - 1] - times[k] <= 86_400 and (k == 0 or times[k] - times[k - 1] > 86_400):
                found[members[k]] = True
    return found


def all_rules(posts: Posts) -> list[Rule]:
    """Every author (hash, or source without authors) with enough posts, every pattern, campaigns, and Musk naming doge."""
    names = Counter(a or s for a, s in zip(posts.author, posts.source, strict=True))
    authors = sorted(name for name, count in names.items() if name and count >= FEWEST_POSTS)
    musk = [s for s in sorted(set(posts.source)) if str(s).startswith("elon")]
    found = [Rule(author=name) for name in authors] + [Rule(text=pattern) for pattern in PATTERNS]
    return [*found, Rule(campaign=True), *(Rule(author=str(s), text=r"\bdoge") for s in musk)]


def fields_of(tapes: Mapping[tuple[str, str], Tape]) -> dict[str, list[Field]]:
    """Every venue's market prepared, by symbol, the longest first."""
    found: dict[str, list[Field]] = {}
    for (_, symbol), tape in sorted(tapes.items(), key=lambda item: -int(np.isfinite(item[1].mid).sum())):
        found.setdefault(symbol, []).append(Field.of(tape.minutes))
    return found


def ranked_of(posts: Posts, chosen: NDArray[np.bool_], symbol: str, fields: Sequence[Field], seed: int) -> Ranked:
    """The events of chosen posts on one symbol: each on the first venue that has its minutes."""
    rows = [n for n in np.flatnonzero(chosen) if symbol in posts.symbols[n]]
    left, parts = event_minutes(posts.time[rows]), []
    for field in fields:
        part = rank(field, left, seed)
        parts.append(part)
        left = np.setdiff1d(left, part.minute)
    joined = np.concatenate([p.minute for p in parts])
    order = np.argsort(joined, kind="stable")
    keys = parts[0].share
    return Ranked(
        joined[order],
        {key: np.concatenate([p.share[key] for p in parts])[order] for key in keys},
        {key: np.concatenate([p.gap[key] for p in parts])[order] for key in keys},
    )


def half(ranked: Ranked, later: bool) -> Ranked:
    """The earlier or the later half of the events."""
    rows = slice(len(ranked.minute) // 2, None) if later else slice(0, len(ranked.minute) // 2)

    def pick(values: dict[tuple[str, int], Doubles]) -> dict[tuple[str, int], Doubles]:
        return {key: value[rows] for key, value in values.items()}

    return Ranked(ranked.minute[rows], pick(ranked.share), pick(ranked.gap))


def study(posts: Posts, fields: Mapping[str, Sequence[Field]], rules: Sequence[Rule], seed: int = 0) -> dict[str, Any]:
    """All rules on all symbols that give enough events: what was tried, what the earlier half found, what the later confirmed.

    Holm's procedure runs over everything that was asked of the earlier half, and again over what is to be confirmed.
    """
    asked: list[tuple[Rule, str, str, int, Ranked, float]] = []
    for rule in rules:
        chosen = matching(posts, rule)
        markets = Counter(s for n in np.flatnonzero(chosen) for s in posts.symbols[n])
        for symbol in sorted(s for s, count in markets.items() if count >= 2 * FEWEST_EVENTS and s in fields):
            ranked = ranked_of(posts, chosen, symbol, fields[symbol], seed)
            if len(ranked.minute) < 2 * FEWEST_EVENTS:
                continue
            early = half(ranked, later=False)
            for outcome, horizon in TESTED:
                p = p_value(early.share[outcome, horizon], two_sided=outcome == "move")
                asked.append((rule, symbol, outcome, horizon, ranked, p))
    found = [asked[n] for n in np.flatnonzero(holm([a[-1] for a in asked]))] if asked else []
    later = [p_value(half(r, later=True).share[o, h], two_sided=o == "move") for _, _, o, h, r, _ in found]
    held = holm(later) if later else np.zeros(0, dtype=np.bool_)
    return {
        "posts": len(posts),
        "rules": len(rules),
        "tried": len(asked),
        "found": len(found),
        "confirmed": [_told(*found[n][:5], later[n]) for n in np.flatnonzero(held)],
        "not_confirmed": [_told(*found[n][:5], later[n]) for n in np.flatnonzero(~held)],
        "placebo": placebo(fields, seed),
    }


def _told(rule: Rule, symbol: str, outcome: str, horizon: int, ranked: Ranked, p: float) -> dict[str, Any]:
    late = half(ranked, later=True)
    told = figures(late)["outcomes"][outcome][str(horizon)]
    asked = {"rule": rule.json(), "symbol": symbol, "outcome": outcome, "minutes": horizon}
    return {**asked, "n": len(late.minute), **told, "p": p}


def placebo(fields: Mapping[str, Sequence[Field]], seed: int) -> dict[str, Any]:
    """Rules made of random minutes: how many of their hypotheses fall below .05, and how many Holm would let through."""
    rng, p = np.random.default_rng(seed + 1), []
    longest = max((found[0] for found in fields.values()), key=lambda f: len(f.at))
    for _ in range(PLACEBO_RULES):
        minutes = event_minutes((longest.tape.first + rng.choice(longest.at, PLACEBO_EVENTS, replace=False)) * 60)
        ranked = rank(longest, minutes, seed)
        p += [p_value(ranked.share[key], two_sided=key[0] == "move") for key in TESTED]
    events, below = PLACEBO_RULES * PLACEBO_EVENTS, round(float(np.mean(np.array(p) < 0.05)), 4)
    return {"events": events, "tests": len(p), "below_5_percent": below, "holm": int(holm(p).sum())}
