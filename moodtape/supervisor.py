"""One loop over the servers and the services: start, watch, start again, stop everything."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import psutil
import structlog

from domain.errors import BrokenInstall, ConfigError, MoodtapeError
from moodtape.servers import Broker, Server
from moodtape.state import MARK, State
from runtime import processes
from runtime import processes as files
from runtime.supervised import Phase, Service

LOG_LIMIT = 8 << 20
BROKER_MEMORY = 256 << 20
TICK = 0.1
SERVER_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Embedded:
    """A server of ours and the variable that tells its address."""

    server: Server
    variable: str


class Supervisor:
    """Runs servers and the services that ``build`` makes for their addresses, until told to stop.

    ``build`` gets the addresses by variable name; it is called again when a server had to come back elsewhere.
    ``tell`` gets sentences for the person in front of the terminal.
    """

    def __init__(
        self,
        state: State,
        servers: Sequence[Embedded],
        build: Callable[[Mapping[str, str]], Sequence[Service]],
        *,
        external: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = lambda _sentence: None,
        broker_memory: int = BROKER_MEMORY,
    ) -> None:
        self.state = state
        self.servers = servers
        self.build = build
        self.addresses: dict[str, str] = dict(external or {})
        self.external = dict(external or {})
        self.tell = tell
        self.broker_memory = broker_memory
        self.services: Sequence[Service] = ()
        self.facts: dict[str, Any] = {}
        self.started_at = datetime.now(UTC)
        self.ready_at: datetime | None = None
        self._stop = threading.Event()
        self._written: dict[str, Any] = {}
        self._looked = 0.0
        self._server_pause: dict[str, float] = {}

    def request_stop(self, number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask for an orderly stop; a second request while stopping interrupts the wait."""
        if self._stop.is_set() and number:
            raise KeyboardInterrupt
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def listen_to_signals(self) -> None:
        """Ctrl-C, SIGTERM and a closed terminal mean stop."""
        signal.signal(signal.SIGINT, self.request_stop)
        signal.signal(signal.SIGTERM, self.request_stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to live on
            signal.signal(signal.SIGHUP, self.request_stop)

    def clear_the_past(self) -> None:
        """End services that a killed supervisor left behind; its servers are found again by their records."""
        left = processes.marked(MARK, self.state.token)
        if left:
            log.warning("ending processes of an earlier run", pids=[process.pid for process in left])
            processes.end_all(left, patience=10.0)
        for stale in self.state.run.glob("*.ready"):
            stale.unlink(missing_ok=True)

    def start_servers(self) -> None:
        """Start or find every embedded server, side by side.

        Raises:
            MoodtapeError: one does not come up; the others are stopped by `shut_down`.
        """
        for embedded in self.servers:
            embedded.server.launch()
        for embedded in self.servers:
            self.addresses[embedded.variable] = embedded.server.await_ready()
        self.write_state()

    def start_services(self) -> None:
        self.services = self.build(self.addresses)
        self.write_state()

    @property
    def ready(self) -> bool:
        """Whether every service that counts is ready, and every server runs."""
        needed = [service for service in self.services if not service.spec.optional]
        return (
            bool(needed)
            and all(service.phase is Phase.READY for service in needed)
            and all(embedded.server.running() for embedded in self.servers)
        )

    def loop(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Watch until a stop is asked for.

        Raises:
            ConfigError, BrokenInstall: before the stack was ever ready, a service that counts gave up.
        """
        patience = time.monotonic() + SERVER_SECONDS
        while not self._stop.wait(TICK):
            self.step(time.monotonic())
            if self.ready_at is None:
                self._give_up_if_hopeless()
                if time.monotonic() > patience:
                    patience += SERVER_SECONDS
                    self.tell(f"still waiting for {self._awaited()}")
                if self.ready:
                    self.ready_at = datetime.now(UTC)
                    self.write_state()
                    on_ready()

    def step(self, now: float) -> None:
        """One look at everything."""
        for service in self.services:
            sentence = service.tick(now)
            if sentence is not None:
                log.info(sentence)
                if self.ready_at is not None or service.given_up:
                    self.tell(sentence)
        if now - self._looked >= 1.0:
            self._looked = now
            for embedded in self.servers:
                self._watch(embedded, now)
            for service in self.services:
                if service.log is not None:
                    files.trim_log(service.log, LOG_LIMIT)
        self.write_state()

    def _watch(self, embedded: Embedded, now: float) -> None:
        server = embedded.server
        files.trim_log(server.log, LOG_LIMIT)
        if isinstance(server, Broker) and server.recycle(self.broker_memory, self._unread()):
            log.info("the broker had grown and starts anew, empty", times=server.recycled)
        elif server.running() or now < self._server_pause.get(server.name, 0.0):
            return
        else:
            self.tell(f"{server.name} had stopped; it starts again")
            log.warning("server had stopped", server=server.name)
        try:
            address = server.start()
        except MoodtapeError as error:
            self._server_pause[server.name] = now + 10.0
            self.tell(error.message)
            log.error("server does not start", server=server.name, reason=error.message)
            return
        if address != self.addresses.get(embedded.variable):
            self.addresses[embedded.variable] = address
            self._move_services()

    def _unread(self) -> float | None:
        """Rows between the feeds and the database; None while a service that reads has not told."""
        unread = [service.detail.get("unread") for service in self.services if service.spec.name == "streaming"]
        return None if not unread or None in unread else sum(float(rows or 0) for rows in unread)

    def _move_services(self) -> None:
        fresh = {service.spec.name: service.spec for service in self.build(self.addresses)}
        for service in self.services:
            service.spec = fresh[service.spec.name]
            if not service.given_up:
                service.again()

    def _give_up_if_hopeless(self) -> None:
        for service in self.services:
            if service.spec.optional or not service.given_up:
                continue
            if service.phase is Phase.REFUSED:
                raise ConfigError(f"{service.spec.name} refuses its settings: {service.reason}")
            raise BrokenInstall(f"{service.spec.name} does not start: {service.reason} (log: {service.log}).")

    def _awaited(self) -> str:
        waiting = [
            service for service in self.services if service.phase is not Phase.READY and not service.spec.optional
        ]
        return (
            ", ".join(f"{service.spec.name} ({service.phase}, log: {service.log})" for service in waiting) or "a server"
        )

    def trouble(self) -> MoodtapeError | None:
        """Why one of our servers is down: often the reason behind a client's "does not answer"."""
        return next((found for embedded in self.servers if (found := embedded.server.trouble())), None)

    def shut_down(self, patience: float = 15.0) -> None:
        """End services, then servers, then whatever is still marked as ours."""
        try:
            deadline = time.monotonic() + patience
            for service in self.services:
                service.ask_to_end()
            for service in self.services:
                service.end(deadline - time.monotonic())
        finally:
            for embedded in self.servers:
                embedded.server.stop()
            processes.end_all(processes.marked(MARK, self.state.token), patience=2.0)
            self.services = ()
            self._save({**self.facts, "supervisor": None, "ready": False, "servers": [], "services": []})

    def describe(self) -> dict[str, Any]:
        """What `moodtape status` shows."""
        return {
            **self.facts,
            "supervisor": self._me(),
            "started_at": self.started_at.isoformat(),
            "ready_at": self.ready_at.isoformat() if self.ready_at else None,
            "ready": self.ready,
            "addresses": dict(self.addresses),
            "servers": [_server_row(embedded) for embedded in self.servers]
            + [{"name": name, "kind": "external", "variable": name} for name in self.external],
            "services": [service.describe() for service in self.services],
        }

    def _me(self) -> dict[str, Any]:
        pid = psutil.Process().pid
        return {"pid": pid, "born": processes.birth(pid)}

    def write_state(self) -> None:
        """Write the state file when something changed."""
        body = self.describe()
        if body != self._written:
            self._written = body
            self._save(body)

    def _save(self, body: dict[str, Any]) -> None:
        try:
            self.state.write(body)
        except MoodtapeError as error:
            log.error("state not written", reason=error.message)


def _server_row(embedded: Embedded) -> dict[str, Any]:
    server = embedded.server
    return {
        "name": server.name,
        "kind": "embedded",
        "variable": embedded.variable,
        "port": server.record.get("port"),
        "pid": server.pid,
        "born": server.record.get("born"),
        "ready": server.running(),
        "log": str(server.log),
        "detail": {"memory_mb": server.memory >> 20, "recycled": server.recycled} if isinstance(server, Broker) else {},
    }
