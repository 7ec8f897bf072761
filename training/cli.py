"""``evaluate``, ``train`` and ``reproduce``: results on standard output, progress on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from domain.clock import parse_time
from domain.errors import InputError
from domain.symbols import normalize
from training.registry import EvaluateOptions, ReproduceOptions, TrainOptions, find, load_config

app = typer.Typer(no_args_is_help=True, help="Train, evaluate, reproduce.", pretty_exceptions_enable=False)

Files = Annotated[list[Path] | None, typer.Option(help="May be given several times.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="emotion, series, trajectories, hype or explanations.")],
    data: Files = None,
    pairs: Files = None,
    candles: Files = None,
    posts: Files = None,
    since: Annotated[
        str | None, typer.Option(help="ISO time, UTC if it names no zone; earlier rows are history.")
    ] = None,
    artifacts: Annotated[Path | None, typer.Option(help="Folder of the weights; those that ship by default.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder to draw plots into.")] = None,
    source: Annotated[str | None, typer.Option(help="Kind of text, where it is known; inferred otherwise.")] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split, where the file has splits.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score at most so many rows.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    challengers: Annotated[
        bool, typer.Option("--challengers", help="Of trajectories on candles: also the models that do not ship.")
    ] = False,
    judge: Annotated[str | None, typer.Option(help="Sentence encoder that compares decoded texts.")] = None,
    as_json: Json = False,
) -> None:
    """Score the shipped models, or others, on labelled data."""
    options = EvaluateOptions(
        data=_existing(data),
        pairs=_existing(pairs),
        candles=_existing(candles),
        posts=_existing(posts),
        since=parse_time(since) if since else None,
        artifacts=artifacts,
        plots=plots,
        source=source,
        split=split,
        limit=limit,
        seed=seed,
        challengers=challengers,
        **({"judge": judge} if judge else {}),
    )
    show(find("evaluate", task).run(options), as_json)


@app.command()
def events(
    author: Annotated[str, typer.Option(help="Posts of this author (hash) or source.")] = "",
    text: Annotated[str, typer.Option(help="Posts that this pattern is found in, whatever the case.")] = "",
    emotion: Annotated[str, typer.Option(help="Posts of this emotion.")] = "",
    cluster: Annotated[bool, typer.Option("--cluster", help="The first posts of campaigns.")] = False,
    symbol: Annotated[str | None, typer.Option(help="A market; else the one that such posts name most.")] = None,
    posts: Files = None,
    candles: Files = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Posts and candles of the database, also where files are named.")
    ] = False,
    study: Annotated[bool, typer.Option("--study", help="All authors with 30 posts, all patterns.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep what the study confirms: answers will tell it.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the rule's figures into this PNG.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn by lot.")] = 0,
    as_json: Json = False,
) -> None:
    """What a market did after such posts, stored ones or those of files: volume, volatility and moves beside controls."""
    from training.trajectories import events as study_of
    from training.trajectories.event_rules import Rule

    asked = study_of.Asked(
        Rule(author, text, emotion, cluster),
        normalize(symbol) if symbol else None,
        _existing(posts),
        _existing(candles),
        study,
        stored or not (posts or candles),
        save,
        seed,
    )
    found = study_of.answer(asked)
    if plot is not None:
        study_of.plot(found, plot)
    show(found, as_json)


@app.command()
def nightly(
    once: Annotated[bool, typer.Option("--once", help="Run now and end, instead of each night at 02:15 UTC.")] = False,
    as_of: Annotated[
        str | None, typer.Option(help="With --once: the end of what is scored, for a replay's time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The walk-forward and the event study over what is stored, each night by Celery's beat; its figures rule the signal."""
    from db.engine import make_engine
    from runtime.logs import configure

    configure("nightly")
    if not once:
        from training.nightly import serve

        raise typer.Exit(serve())
    from training.trajectories import nightly as night

    engine = make_engine()
    try:
        show(night.once(engine, parse_time(as_of) if as_of else None), as_json)
    finally:
        engine.dispose()


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A name in configs/, or a path to a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")],
    resume: Annotated[bool, typer.Option(help="Go on where a stopped run left off.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model from its recipe."""
    name, config = load_config(recipe)
    show(find("train", name).run(config, TrainOptions(_existing([data])[0], out, resume)), as_json)


@app.command()
def reproduce(
    report: Annotated[str, typer.Argument(help="000 to 004.")],
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("reproduced"),
    quick: Annotated[bool, typer.Option(help="Less data and fewer epochs: minutes, rougher figures.")] = False,
    faithful: Annotated[bool, typer.Option(help="Keep the report's faults as they were.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    table: Annotated[int, typer.Option(help="Print only this table, where the report has several.", min=0)] = 0,
    judge: Annotated[str | None, typer.Option(help="Sentence encoder that compares decoded texts.")] = None,
    as_json: Json = False,
) -> None:
    """Repeat a report: its figures and ours side by side."""
    options = ReproduceOptions(
        _existing([data])[0], out, quick, faithful, seed, table, **({"judge": judge} if judge else {})
    )
    show(find("reproduce", report).run(options), as_json)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result as one JSON object, or as readable lines."""
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
        return
    for line in _lines(result, 0):
        typer.echo(line)


def _lines(result: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += ["  " * depth + f"{key}:", *_lines(value, depth + 1)]
        else:
            lines.append(
                "  " * depth + f"{key}: {value:.4g}" if isinstance(value, float) else "  " * depth + f"{key}: {value}"
            )
    return lines


def _existing(paths: list[Path] | None) -> tuple[Path, ...]:
    for path in paths or []:
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.")
    return tuple(paths or ())
