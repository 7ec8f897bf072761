"""The `moodtape` command. Exit codes: 0 well, 2 wrong input or setting, 70 a defect, 75 try again later."""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from domain.errors import EX_SOFTWARE, EX_TEMPFAIL, ConfigError, MoodtapeError, Unavailable

if TYPE_CHECKING:
    from answer.catalogue import Say

app = typer.Typer(
    help="Reads the mood of posts against the price tape.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OTHERS = {
    "evaluate": ("training.cli", "Score a task on labelled data: emotion, trajectories, hype, explanations."),
    "train": ("training.cli", "Train a recipe from its configuration."),
    "events": ("training.cli", "What markets did after a kind of post, beside matched controls."),
    "nightly": ("training.cli", "The walk-forward and event study over what is stored, each night or --once."),
    "reproduce": ("training.cli", "Run a recorded training again and compare the figures."),
    "pairs": ("training.trajectories.cli", "Build post–trajectory pairs from posts and candles, or describe them."),
    "backfill": ("streaming.cli", "Fetch candles of the past from an exchange."),
    "import": ("streaming.cli", "Store candles and posts from parquet or CSV files."),
    "dlq": ("streaming.cli", "List, show and replay dead letters."),
    "rescore": ("workers.cli", "Score stored posts anew with the present models."),
    "promote": ("workers.cli", "Make a model revision the champion."),
    "rollback": ("workers.cli", "Make the champion before the present one the champion again."),
    "replay": ("workers.market_cli", "Make a stored answer again from what was known then, and say what differs."),
    "scorecard": ("workers.market_cli", "How predictions held: coverage, width and skill, the worst shown."),
    "series": ("workers.series", "The mood of markets as a series: posts, moods, volume, volatility, hype."),
    "revisions": ("workers.cli", "Known model revisions; compare a challenger with the champion."),
}
"""Commands of other boxes; their modules are imported only when one is called, so that --help stays quick."""

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where databases, logs and state lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def settings(**flags: Any) -> Any:
    """The settings: flags before environment.

    Raises:
        ConfigError: a value cannot be used; the message names the variable.
    """
    from moodtape.state import StackSettings

    return StackSettings(**{name: value for name, value in flags.items() if value is not None and value is not False})


@app.command()
def up(
    web_port: Annotated[int | None, typer.Option(help="Port of the page; without it 8000, or a free one.")] = None,
    data_dir: DataDir = None,
    no_bot: Annotated[bool, typer.Option("--no-bot", help="No Telegram bot even with a token.")] = False,
    workers: Annotated[int | None, typer.Option(help="Worker processes (1).")] = None,
    replay: Annotated[Path | None, typer.Option(help="Play candles and posts of this directory as if live.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="How many times faster than it happened; 0: as fast as it goes.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Take real exchanges and post sources.")] = False,
    host: Annotated[str | None, typer.Option(help="Address of the page; an open one demands MOODTAPE_API_KEY.")] = None,
) -> None:
    """Start everything on this machine and watch over it, until Ctrl-C."""
    import time

    from moodtape import commands, stack
    from moodtape.state import State

    began = time.monotonic()
    asked = settings(
        web_port=web_port,
        data_dir=data_dir,
        no_bot=no_bot,
        workers=workers,
        replay=replay,
        speed=speed,
        live=live,
        host=host,
    )
    console = _console()
    stack.log_to_file(State(asked.data_dir))
    console.print("moodtape is starting; Ctrl-C ends it", style="dim")
    stack.run(
        asked,
        tell=lambda sentence: console.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True),
        show=lambda supervisor, _plan: commands.show_stack(
            console, supervisor.describe(), seconds=time.monotonic() - began
        ),
    )
    console.print("moodtape has stopped", style="dim")


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """What runs where; exit 0 when everything is ready, 75 otherwise."""
    from moodtape import commands, state
    from moodtape.state import State

    seen = state.current(State(settings(data_dir=data_dir).data_dir))
    if as_json:
        _print_json(state.public(seen))
    elif not seen["running"]:
        _console().print(state.NOT_RUNNING)
    else:
        commands.show_stack(_console(), seen)
    raise typer.Exit(0 if seen["ready"] else EX_TEMPFAIL)


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the stack of this data directory, also what a killed one left behind."""
    from moodtape import state
    from moodtape.state import State

    stopped = state.down(State(settings(data_dir=data_dir).data_dir))
    _console().print("moodtape has stopped" if stopped else "moodtape was not running")


@app.command()
def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ask database, broker, queue, weights, clock, GPU, token and disk; say what is wrong and what to do."""
    from moodtape import doctor, state
    from moodtape.state import State

    asked = settings(data_dir=data_dir)
    known = dict(state.current(State(asked.data_dir)).get("addresses", {}))
    known |= {
        name: value for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "REDIS_URL") if (value := os.environ.get(name))
    }
    findings = doctor.examine(asked, known)
    if as_json:
        _print_json(doctor.report(findings))
    else:
        styles = {"ok": "green", "note": "cyan", "wrong": "bold red"}
        for finding in findings:
            _console().print(f"[{styles[finding.state]}]{finding.state:5}[/] {finding.part:9}", end=" ")
            _console().print(finding.said, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(doctor.exit_code(findings))


@app.command()
def migrate(
    seed: Annotated[bool, typer.Option(help="Also store the starter library where its rows are missing.")] = True,
) -> None:
    """Bring the database of DATABASE_URL (or of the running stack) up to date and seed the starter library."""
    from moodtape import commands
    from moodtape.commands import prepare

    commands.connect(settings())
    _console(stderr=True).print(prepare(seed=seed), highlight=False)


@app.command()
def analyze(
    image: Annotated[Path | None, typer.Option(help="A picture file.")] = None,
    caption: Annotated[str, typer.Option(help="The words of the post.")] = "",
    symbol: Annotated[str | None, typer.Option(help="A market, for example BTC/USDT.")] = None,
    at: Annotated[str | None, typer.Option(help="When it was posted (ISO 8601, UTC); without it now.")] = None,
    as_json: AsJson = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the answer into this PNG.")] = None,
    lang: Annotated[str | None, typer.Option(help="Language of the words and the chart; without it LANG's.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Emotion, hype forecast and matched trajectories of one post, from the running stack."""
    from moodtape import commands

    say = commands.speaker(lang)
    try:
        commands.connect(settings(data_dir=data_dir))
        answer = commands.ask(image, caption, symbol, at)
    except MoodtapeError as error:
        _fail(error, say)
    if chart is not None:
        commands.save_chart(answer, chart, say)
    commands.show(answer, say, as_json=as_json)


@app.command()
def match(
    text: Annotated[str, typer.Option(help="Words: trajectories after posts like them.")] = "",
    series: Annotated[Path | None, typer.Option(help="A file of prices: posts that such paths followed.")] = None,
    symbol: Annotated[str | None, typer.Option(help="A market; alone, its last 256 minutes are the series.")] = None,
    at: Annotated[str | None, typer.Option(help="As of when (ISO 8601, UTC); without it now.")] = None,
    as_json: AsJson = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the matches into this PNG.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Past trajectories near a text, or past posts near a price path, from the running stack."""
    from moodtape import commands, matching

    request = matching.request(text, series, symbol, at)
    commands.connect(settings(data_dir=data_dir))
    matching.show(matching.ask(request), as_json=as_json, chart=chart)


@app.command()
def explain(
    symbol: Annotated[str, typer.Option(help="A market, for example BTC/USDT.")],
    at: Annotated[str | None, typer.Option(help="As of when (ISO 8601, UTC); without it now.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """What a market's last 256 minutes are about, in words, from the running stack."""
    from moodtape import commands, matching

    moment = matching.moment(at)
    commands.connect(settings(data_dir=data_dir))
    matching.show_explanation(matching.ask_explanation(symbol, moment), as_json=as_json)


def _mount(name: str, module: str, told: str) -> None:
    loose = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @app.command(name, help=told, context_settings=loose, add_help_option=False)
    def forward(context: typer.Context) -> None:
        _call(module, name, context.args)


def _call(module: str, name: str, arguments: list[str]) -> None:
    from importlib import import_module

    try:
        other = import_module(module)
    except ModuleNotFoundError as error:
        box = module.partition(".")[0]
        raise ConfigError(
            f"`moodtape {name}` needs {error.name}; install moodtape[{box}] (or run `make run`)."
        ) from None
    stored = of_what_is_stored(name, arguments)
    if (not module.startswith("training.") or stored) and not {"-h", "--help"} & set(arguments):
        from moodtape import commands

        looks = module == "streaming.cli" and "--dry-run" in arguments  # at files; at the database where there is one
        with suppress(*((Unavailable, ConfigError) if looks else ())):
            commands.connect(settings())
    command = typer.main.get_command(other.app)
    named = [name] if name in getattr(command, "commands", {}) else []
    command.main([*named, *arguments], prog_name=f"moodtape {name}" if not named else "moodtape")


def of_what_is_stored(name: str, arguments: list[str]) -> bool:
    """Whether a command of training reads or writes the database: events do where no files are named."""
    named = {argument.partition("=")[0] for argument in arguments}
    events = name == "events" and bool(arguments) and not {"--posts", "--candles"} & named
    return name == "nightly" or events or bool({"--stored", "--save"} & named)


for _name, (_module, _told) in OTHERS.items():
    _mount(_name, _module, _told)


def main() -> NoReturn:
    """Run the command line; every deliberate error is one sentence, every other one an id and a log file."""
    from dotenv import load_dotenv

    load_dotenv(Path.cwd() / ".env")
    try:
        app()
    except MoodtapeError as error:
        from moodtape.commands import speaker

        _fail(error, speaker())
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # the last wall: no traceback reaches a user
        sys.exit(_defect())
    sys.exit(0)


def _fail(error: MoodtapeError, say: Say) -> NoReturn:
    from answer.words import explain

    sys.stderr.write(f"moodtape: {explain(error, say)} (id {error.id})\n")
    sys.exit(error.exit_code)


def _defect() -> int:
    import secrets

    name = secrets.token_hex(3)
    try:
        path = settings().data_dir.expanduser() / "logs" / "moodtape.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"--- {name} {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}\n")
        where = f"the details stand in {path}"
    except (OSError, MoodtapeError):
        where = "its details could not be written"
    sys.stderr.write(f"moodtape: This is a defect of moodtape; {where}. (id {name})\n")
    return EX_SOFTWARE


def _print_json(body: Any) -> None:
    sys.stdout.write(json.dumps(body, indent=1) + "\n")


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)
