"""The one-machine stack: which servers, which services, with which environment; the body of `moodtape up`."""

from __future__ import annotations

import logging
import logging.handlers
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from domain.errors import EX_TEMPFAIL, EX_USAGE, BrokenInstall, ConfigError, Unavailable, WeightsError
from moodtape.servers import Broker, Postgres, Redis, processes
from moodtape.servers.common import free_port, port_free
from moodtape.service import Service, Spec, heartbeat_probe, http_probe
from moodtape.settings import StackSettings, is_loopback
from moodtape.state import MARK, State
from moodtape.supervisor import Embedded, Supervisor

DEFAULT_PORT = 8000
TOKEN = "TELEGRAM_TOKEN"  # noqa: S105 - the variable's name
KEY = "MOODTAPE_API_KEY"


@dataclass(frozen=True, slots=True)
class Plan:
    """What `moodtape up` was asked for, checked."""

    data_dir: Path
    host: str
    port: int
    workers: int
    bot: bool
    feed: tuple[str, ...]
    external: Mapping[str, str]

    @property
    def page(self) -> str:
        """Where a person on this machine finds the page."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def plan(settings: StackSettings) -> Plan:
    """Check the options against one another and against the machine.

    Raises:
        ConfigError: an open address without a key, a taken port, a feed that is not there.
    """
    if not is_loopback(settings.host) and not os.environ.get(KEY):
        raise ConfigError(
            f"--host {settings.host} opens the page to others, so {KEY} must be set; or leave --host out."
        )
    if settings.replay is not None and settings.live:
        raise ConfigError("--replay and --live exclude each other; choose one feed.")
    if settings.replay is not None and not settings.replay.is_dir():
        raise ConfigError(f"--replay {settings.replay} is not a directory; name one with candles and posts in it.")
    named = {
        "DATABASE_URL": settings.database_url and settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "REDIS_URL": settings.redis_url and settings.redis_url.get_secret_value(),
    }
    return Plan(
        data_dir=settings.data_dir.expanduser().resolve(),
        host=settings.host,
        port=_web_port(settings),
        workers=settings.workers,
        bot=bool(os.environ.get(TOKEN)) and not settings.no_bot,
        feed=_feed(settings),
        external={name: value for name, value in named.items() if value},
    )


def _web_port(settings: StackSettings) -> int:
    try:
        if settings.web_port is None:
            return DEFAULT_PORT if port_free(DEFAULT_PORT, settings.host) else free_port()
        taken = not port_free(settings.web_port, settings.host)
    except OSError:
        raise ConfigError(f"--host {settings.host} is no address of this machine.") from None
    if taken:
        raise ConfigError(
            f"Port {settings.web_port} of {settings.host} is taken or not allowed; end the program that has it, "
            "or choose another --web-port."
        )
    return settings.web_port


def _feed(settings: StackSettings) -> tuple[str, ...]:
    speed = ("--speed", str(settings.speed)) if settings.speed is not None else ()
    if settings.replay is not None:
        return ("--replay", str(settings.replay.resolve()), *speed)
    return ("--live",) if settings.live else speed


def embedded_servers(plan: Plan) -> list[Embedded]:
    """The servers of ours that nothing in the environment replaces."""
    every = (
        Embedded(Postgres(plan.data_dir), "DATABASE_URL"),
        Embedded(Broker(plan.data_dir), "KAFKA_BOOTSTRAP"),
        Embedded(Redis(plan.data_dir), "REDIS_URL"),
    )
    return [embedded for embedded in every if embedded.variable not in plan.external]


def environment(plan: Plan, state: State, addresses: Mapping[str, str]) -> dict[str, str]:
    """What every child sees; the Telegram token is taken out, only the bot gets it."""
    env = {name: value for name, value in os.environ.items() if name != TOKEN}
    env |= {**addresses, "MOODTAPE_DATA_DIR": str(plan.data_dir), MARK: state.token}
    env.setdefault("MOODTAPE_AUTHOR_KEY", state.secret("author"))
    env.setdefault("PYTHONUNBUFFERED", "1")
    return env


def services(plan: Plan, state: State, addresses: Mapping[str, str]) -> list[Service]:
    """The page first, for it is seen first; then workers, streams and the bot."""
    base = environment(plan, state, addresses)

    def beating(name: str, module: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Spec:
        env = {**base, "MOODTAPE_SERVICE": name, **(extra or {})}
        argv = (sys.executable, "-m", module, *arguments)
        return Spec(name=name, argv=argv, env=env, probe=heartbeat_probe(state.run / f"{name}.ready"))

    web = Spec(
        name="web",
        argv=(sys.executable, "-m", "web", "--host", plan.host, "--port", str(plan.port)),
        env={**base, "MOODTAPE_SERVICE": "web"},
        probe=http_probe(plan.page.split("//")[1].rpartition(":")[0].strip("[]"), plan.port),
        address=plan.page,
    )
    specs = [beating(f"worker-{number}", "workers") for number in range(1, plan.workers + 1)]
    specs += [web, beating("streaming", "streaming", *plan.feed)]
    if plan.bot:
        specs.append(replace(beating("bot", "bot", extra={TOKEN: os.environ[TOKEN]}), optional=True))
    return [Service(spec, state.logs / f"{spec.name}.log") for spec in specs]


def migrate(plan: Plan, state: State, addresses: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Begin to bring the schema up and to seed the starter library, in a process whose memory goes with it."""
    argv = (sys.executable, "-m", "moodtape", "migrate")
    return processes.start(argv, log=state.logs / "migrate.log", env=environment(plan, state, addresses))


def finish(child: subprocess.Popen[bytes], log: Path, offset: int) -> None:
    """Wait for the migration.

    Raises:
        ConfigError, Unavailable, BrokenInstall: it failed; the sentence is its own.
    """
    code = child.wait()
    if code == 0:
        return
    with log.open("rb") as file:
        file.seek(offset)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.startswith("moodtape: ")]
    said = lines[-1].removeprefix("moodtape: ").rpartition(" (id ")[0] if lines else f"The migration failed ({log})."
    kinds = {EX_USAGE: ConfigError, EX_TEMPFAIL: Unavailable}
    raise kinds.get(code, BrokenInstall)(said)


def _altered_weights() -> WeightsError | None:
    from models.manifest import verify

    try:
        verify()
    except WeightsError as error:
        return error
    return None


def run(settings: StackSettings, *, tell: Callable[[str], None], show: Callable[[Supervisor, Plan], None]) -> None:
    """Bring everything up and watch it until Ctrl-C, SIGTERM or `moodtape down`.

    Raises:
        MoodtapeError: the stack could not be started; nothing of it is left running.
    """
    state = State(settings.data_dir)
    state.prepare()
    with state.held():
        asked = plan(settings)
        supervisor = Supervisor(
            state,
            embedded_servers(asked),
            lambda addresses: services(asked, state, addresses),
            external=asked.external,
            tell=tell,
        )
        supervisor.facts = {"page": asked.page, "port": asked.port, "data_dir": str(asked.data_dir)}
        supervisor.listen_to_signals()
        processes.adopt_orphans()
        try:
            supervisor.clear_the_past()
            supervisor.start_servers()
            if not supervisor.stopping:
                log = state.logs / "migrate.log"
                offset = log.stat().st_size if log.exists() else 0
                child = migrate(asked, state, supervisor.addresses)
                altered = _altered_weights()
                finish(child, log, offset)
                if altered is not None:
                    raise altered
            if not supervisor.stopping:
                supervisor.start_services()
                supervisor.loop(on_ready=lambda: show(supervisor, asked))
        finally:
            supervisor.shut_down()


def log_to_file(state: State) -> None:
    """Send the supervisor's own log to its file; the terminal is for people.

    Raises:
        ConfigError, Unavailable: the data directory cannot be used.
    """
    state.prepare()
    handler = logging.handlers.RotatingFileHandler(state.logs / "supervisor.log", maxBytes=4 << 20, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
