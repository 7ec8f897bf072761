"""Commands about what was said of markets: ``scorecard`` and ``replay``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from answer.plots import draw_scorecard
from db.engine import make_engine
from domain.errors import EX_SOFTWARE, InputError
from workers.client.scorecard import scorecard as make_scorecard
from workers.client.scorecard import words
from workers.report import AsJson, database, say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def scorecard(
    days: Annotated[int, typer.Option(min=1, help="Closings of so many days.")] = 45,
    replayed: Annotated[bool, typer.Option("--replayed", help="Of replays, instead of live ones.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw coverage by day into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """How the predictions held: coverage, width, CRPS and volatility against their baselines, big moves, the worst ones."""
    with database() as connection:
        card = make_scorecard(connection, datetime.now(UTC), days, replayed)
    if plot is not None:
        _write(plot, draw_scorecard(card))
    say(card, words(card), as_json)


@app.command()
def replay(
    post_ids: Annotated[list[str] | None, typer.Argument(help="Posts whose stored answers to make again.")] = None,
    newest: Annotated[int, typer.Option(min=0, help="Instead of posts: so many of the newest answers.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make stored answers again from what was known then; exit 0 where they are the same, number for number, else 70."""
    from workers.again import again  # torch
    from workers.again import as_json as told

    if bool(post_ids) == bool(newest):
        raise InputError("Name the posts, or say --newest N.")
    engine = make_engine()
    try:
        found = told(again(engine, post_ids or [], newest))
    finally:
        engine.dispose()
    lines = [f"{found['identical']} of {found['answers']} answers are the same, number for number"]
    for post in found["posts"]:
        lines += [f"{post['post_id']} {d['path']}: {d['stored']} → {d['again']}" for d in post["differences"][:5]]
        if not post["same_inputs"]:
            lines.append(f"{post['post_id']}: its market's candles or history have changed since")
    say(found, "\n".join(lines), as_json)
    raise typer.Exit(0 if found["identical"] == found["answers"] else EX_SOFTWARE)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"The picture cannot be written to {path}: {error.strerror}.") from None
