"""`moodtape match`: past trajectories near a text, or past posts near a price path, from the running stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import SystemClock, parse_time
from domain.errors import InputError
from runtime import processes

if TYPE_CHECKING:
    from datetime import datetime

    from domain.answer import Json
    from workers.client.match import MatchRequest


def request(text: str, series: Path | None, symbol: str | None, at: str | None) -> MatchRequest:
    """What is asked, checked before anything is connected to.

    Raises:
        InputError: not one of the three ways, or a file that holds no prices.
    """
    from workers.client.match import MatchRequest, path_of, read_prices

    if bool(text.strip()) + (series is not None) > 1 or not (text.strip() or series or symbol):
        raise InputError("Give one of --text, --series or --symbol.")
    prices: tuple[float, ...] = ()
    if series is not None:
        try:
            prices = read_prices(series.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The series {series} cannot be read ({error}).") from None
        path_of(prices)
    return MatchRequest(text, prices, symbol, parse_time(at) if at else None)


def ask(asked: MatchRequest) -> Json:
    """The matches from the running stack."""
    from db.engine import make_engine
    from workers.client.match import match
    from workers.client.queue import ScoringClient

    engine = make_engine()
    client = ScoringClient(engine)
    try:
        return match(engine, client, asked, clock=SystemClock())
    finally:
        client.close()
        engine.dispose()


def show(result: Json, *, as_json: bool, chart: Path | None = None) -> None:
    """Print the matches, as JSON or as lines; draw them where asked."""
    if chart is not None:
        from answer.plots import draw_matches

        try:
            chart.write_bytes(draw_matches(result))
        except OSError as error:
            raise processes.explain(error, chart) from None
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        return
    lines = [
        f"{len(result['matches'])} matches by {result['matcher']} as of {result['as_of']}; history, not a forecast"
    ]
    lines += [
        f"{m['posted_at']}  {m['symbol']:<10} {m['source']:<28} {m['similarity']:.3f}  ended {m['change'][-1]:+.2f} %"
        for m in result["matches"]
    ]
    if result["matches"]:
        ended = ", ".join(f"{name} {share:.0%}" for name, share in result["ended"].items())
        lines.append(f"they ended {ended}; mean {result['mean'][-1]:+.2f} %")
    lines.append(_tested(result))
    sys.stdout.write("\n".join(lines) + "\n")


def _tested(result: Json) -> str:
    """What the latest walk-forward says of the matcher, in one line."""
    if result["tested"] is None:
        return "this matcher has not been tested on what is stored yet; `moodtape nightly --once` does it"
    figures, verdict = result["tested"], "beats" if result["beats_placebo"] else "does not beat"
    shares = figures["r_at_10"]
    low, high = figures["interval"]
    return (
        f"in the walk-forward of {figures['at'][:10]} it {verdict} exchanged words: the right one among ten in "
        f"{shares['model']:.1%} of {figures['n']} windows, {shares['placebo']:.1%} with exchanged words, "
        f"{shares['chance']:.1%} by chance (gain {low:+.1%} to {high:+.1%})"
    )


EXPLAIN_DEADLINE = 30.0
"""Seconds that a person waits for a chart's explanation."""


def moment(at: str | None) -> datetime:
    """The time that is asked about: now without one.

    Raises:
        InputError: it is no time.
    """
    return parse_time(at) if at else SystemClock().now()


def ask_explanation(symbol: str, at: datetime) -> Json:
    """A chart's explanation from the running stack."""
    from db.engine import make_engine
    from domain.symbols import normalize
    from workers.client.queue import ScoringClient

    market = normalize(symbol)
    engine = make_engine()
    client = ScoringClient(engine)
    try:
        return client.explain(market, at, EXPLAIN_DEADLINE)
    finally:
        client.close()
        engine.dispose()


def show_explanation(found: Json, *, as_json: bool) -> None:
    """Print a chart's explanation, as JSON or as lines."""
    if as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        return
    from answer.catalogue import texts
    from answer.words import sentence

    way = f", going {found['direction']}" if found["direction"] else ""
    lines = [f"{found['symbol']} in the 256 minutes before {found['at']}{way}; {found['matches']} past paths like it"]
    if words := found["explanation"]:
        kind = "A typical post before such paths" if words["kind"] == "typical" else "Posts before such paths say"
        lines.append(f"{kind}: {words['text']} (round trip {words['round_trip']:.2f})")
    else:
        lines.append(f"No words: {sentence(found['explanation_reason'], texts().speaker('en'))}.")
    lines += [f"{post['posted_at']}  {post['source']:<24} {post['text']}" for post in found["posts"]]
    sys.stdout.write("\n".join(lines) + "\n")
