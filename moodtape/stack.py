"""The one-machine stack: which servers, which services, with which environment; the body of `moodtape up`."""

from __future__ import annotations

import hashlib
import logging
import logging.handlers
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import structlog

from domain.errors import EX_TEMPFAIL, EX_USAGE, BrokenInstall, ConfigError, MoodtapeError, Unavailable, WeightsError
from moodtape.servers import Broker, Postgres, Redis
from moodtape.servers.common import free_port, port_free
from moodtape.state import MARK, StackSettings, State
from moodtape.supervisor import Embedded, Supervisor
from runtime import processes
from runtime import processes as files
from runtime.supervised import Service, Spec, heartbeat_probe, http_probe
from web.settings import is_loopback

DEFAULT_PORT = 8000
TOKEN = "TELEGRAM_TOKEN"  # noqa: S105 - the variable's name
KEY = "MOODTAPE_API_KEY"
THREADS = "MOODTAPE_THREADS"


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
    """Workers, the page, streams, the nightly walk-forward and the bot; the last two do not count for readiness."""
    base = environment(plan, state, addresses)

    def beating(name: str, module: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Spec:
        env = {**base, "MOODTAPE_SERVICE": name, **(extra or {})}
        argv = (sys.executable, "-m", module, *arguments)
        beat = state.run / f"{name}.ready"
        return Spec(name=name, argv=argv, env=env, probe=heartbeat_probe(beat), beat=beat)

    web = Spec(
        name="web",
        argv=(sys.executable, "-m", "web", "--host", plan.host, "--port", str(plan.port)),
        env={**base, "MOODTAPE_SERVICE": "web"},
        probe=http_probe(plan.page.split("//")[1].rpartition(":")[0].strip("[]"), plan.port),
        address=plan.page,
        port=plan.port,
    )
    share = {} if plan.workers == 1 or base.get(THREADS) else {THREADS: str(max(1, _cores() // plan.workers))}
    specs = [beating(f"worker-{number}", "workers", extra=share) for number in range(1, plan.workers + 1)]
    specs += [web, beating("streaming", "streaming", *plan.feed)]
    specs.append(replace(beating("nightly", "training.nightly"), optional=True))
    if plan.bot:
        specs.append(replace(beating("bot", "bot", extra={TOKEN: os.environ[TOKEN]}), optional=True))
    return [Service(spec, state.logs / f"{spec.name}.log") for spec in specs]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Preparation:
    """Schema and starter library, brought up by a process of its own whose memory goes with it."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan = plan
        self._state = state
        self._log = state.logs / "migrate.log"
        self._seen = state.run / "prepared.json"
        self._offset = 0
        self._child: subprocess.Popen[bytes] | None = None
        self.fingerprint = _fingerprint(plan)

    @property
    def known(self) -> bool:
        """Whether this code prepared this database before, so that services need not wait for the check."""
        return bool(files.read_json(self._seen).get("fingerprint") == self.fingerprint)

    def begin(self, addresses: Mapping[str, str]) -> None:
        """Start the process."""
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        argv = (sys.executable, "-m", "moodtape", "migrate")
        self._child = processes.start(argv, log=self._log, env=environment(self._plan, self._state, addresses))

    def finish(self) -> None:
        """Wait for it.

        Raises:
            ConfigError, Unavailable, BrokenInstall: it failed; the sentence is its own.
        """
        code = self._child.wait() if self._child else 0
        if code != 0:
            raise self._failure(code)
        files.write_json(self._seen, {"fingerprint": self.fingerprint})

    def _failure(self, code: int) -> MoodtapeError:
        lines = files.tail(self._log, since=self._offset).splitlines()
        messages = [
            line.removeprefix("moodtape: ").rpartition(" (id ")[0] for line in lines if line.startswith("moodtape: ")
        ]
        kinds = {EX_USAGE: ConfigError, EX_TEMPFAIL: Unavailable}
        return kinds.get(code, BrokenInstall)(messages[-1] if messages else f"The migration failed (log: {self._log}).")


def _fingerprint(plan: Plan) -> str:
    """A digest of what preparing a database depends on: migrations, weights, and which database."""
    from models.manifest import ARTIFACTS

    digest = hashlib.sha256(plan.external.get("DATABASE_URL", "embedded").encode())
    spec = find_spec("migrations")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for path in sorted(path for folder in folders for path in Path(folder, "versions").glob("*.py")):
        digest.update(path.read_bytes())
    manifest = ARTIFACTS / "manifest.json"
    digest.update(manifest.read_bytes() if manifest.exists() else b"")
    return digest.hexdigest()


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
            broker_memory=settings.broker_memory << 20,
        )
        supervisor.facts = {"page": asked.page, "port": asked.port, "data_dir": str(asked.data_dir)}
        supervisor.listen_to_signals()
        processes.adopt_orphans()
        try:
            supervisor.clear_the_past()
            supervisor.start_servers()
            if not supervisor.stopping:
                _prepare(Preparation(asked, state), supervisor)
                supervisor.loop(on_ready=lambda: show(supervisor, asked))
        except Unavailable as error:
            raise supervisor.trouble() or error from None
        finally:
            supervisor.shut_down()


def _prepare(preparation: Preparation, supervisor: Supervisor) -> None:
    """Check schema, library and weights; where all was well last time, the services start beside the check."""
    early = preparation.known
    preparation.begin(supervisor.addresses)
    if early:
        supervisor.start_services()
        supervisor.step(time.monotonic())
    else:
        supervisor.tell("preparing the database: schema and starter library")
    altered = _altered_weights()
    preparation.finish()
    if altered is not None:
        raise altered
    if not early:
        supervisor.start_services()


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
