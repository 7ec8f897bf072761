"""The stack's memory on disk: who supervises a data directory, and what runs where."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from db.engine import Settings
from domain.errors import Unavailable
from moodtape.servers import Broker, Postgres, Redis
from runtime import processes
from runtime import processes as files
from runtime.health import default_data_dir

MARK = "MOODTAPE_STACK"


class State:
    """``<data-dir>/state.json`` and the lock beside it; readable by its owner only, since URLs hold passwords."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.path = self.data_dir / "state.json"
        self.run = self.data_dir / "run"
        self.logs = self.data_dir / "logs"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            ConfigError, Unavailable: they cannot be made or written.
        """
        files.make_directory(self.data_dir, 0o711)
        for folder in (self.run, self.logs):
            files.make_directory(folder, 0o700)
        if not os.access(self.data_dir, os.W_OK):
            raise files.explain(PermissionError(13, "no permission"), self.data_dir)

    def read(self) -> dict[str, Any]:
        """What the last supervisor wrote; empty when there was none."""
        return files.read_json(self.path)

    def write(self, body: dict[str, Any]) -> None:
        files.write_json(self.path, body)

    def secret(self, name: str) -> str:
        """A random word of this directory's own, made when first asked for."""
        path = self.run / "secrets.json"
        known = files.read_json(path)
        if name not in known:
            known[name] = secrets.token_hex(16)
            files.write_json(path, known)
        return str(known[name])

    @property
    def token(self) -> str:
        """What marks this directory's processes in their environment."""
        return self.secret("stack")

    def supervisor(self) -> int | None:
        """The pid of the live supervisor of this directory."""
        seen = self.read().get("supervisor") or {}
        return seen["pid"] if processes.same(seen.get("pid"), seen.get("born")) else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """The right to supervise this directory; the kernel gives it back however the holder ends.

        Raises:
            Unavailable: another supervisor has it.
        """
        with (self.run / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid = self.supervisor()
                who = f" (pid {pid})" if pid else ""
                raise Unavailable(
                    f"moodtape already runs on {self.data_dir}{who}; stop it with `moodtape down`, "
                    "or give another --data-dir."
                ) from None
            yield

    def free(self) -> bool:
        """Whether nobody supervises this directory now."""
        if not self.run.is_dir():
            return True
        with (self.run / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True


NOT_RUNNING = "moodtape is not running; start it with `make run`."


def current(state: State) -> dict[str, Any]:
    """The state as it is now: what was recorded, with the dead left out; ``running`` and ``ready`` are always there."""
    seen = state.read()
    running = state.supervisor() is not None
    if not running:
        return {
            "running": False,
            "ready": False,
            "data_dir": str(state.data_dir),
            "supervisor": None,
            "servers": [],
            "services": [],
        }
    for part in (*seen["servers"], *seen["services"]):
        if part.get("kind") != "external" and not processes.same(part["pid"], part["born"]):
            part["ready"] = False
    needed = [service for service in seen["services"] if not service["optional"]]
    ready = seen["ready"] and all(part["ready"] for part in needed)
    return {**seen, "running": True, "ready": bool(ready)}


def public(seen: dict[str, Any]) -> dict[str, Any]:
    """What `status --json` prints: servers and services in one list, without the addresses, which hold passwords."""
    rows = [{"kind": "service", **part} for part in seen["services"]]
    shown = {name: value for name, value in seen.items() if name not in ("addresses", "servers")}
    return {**shown, "services": [*seen["servers"], *rows]}


def addresses(state: State) -> dict[str, str]:
    """Where the running stack's servers are, by variable name.

    Raises:
        Unavailable: no stack runs on this data directory.
    """
    seen = current(state)
    if not seen["running"] or not seen.get("addresses"):
        raise Unavailable(NOT_RUNNING)
    return dict(seen["addresses"])


def down(state: State, patience: float = 40.0) -> bool:
    """Stop the supervisor, or what a killed one left behind; False when there was nothing to stop."""
    if not state.run.is_dir():
        return False
    pid = state.supervisor()
    stopped = pid is not None
    if pid is not None:
        born = (state.read().get("supervisor") or {}).get("born")
        processes.end(pid, str(born), signal.SIGTERM, patience)
        deadline = time.monotonic() + 5.0
        while not state.free() and time.monotonic() < deadline:
            time.sleep(0.05)
    left = processes.marked(MARK, state.token)
    processes.end_all(left, patience=10.0)
    for kind in (Redis, Broker, Postgres):
        server = kind(state.data_dir)
        stopped = server.stop() or stopped
    return stopped or bool(left)


class StackSettings(Settings):
    """Servers that are named here are used; those that are not are started from wheels."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=default_data_dir, description="where databases, logs and state of this machine's stack lie"
    )
    database_url: SecretStr | None = Field(
        default=None, description="another PostgreSQL, with pgvector", validation_alias="DATABASE_URL"
    )
    kafka_bootstrap: str | None = Field(
        default=None, description="another Kafka: host:port, comma separated", validation_alias="KAFKA_BOOTSTRAP"
    )
    redis_url: SecretStr | None = Field(default=None, description="another Redis", validation_alias="REDIS_URL")
    host: str = Field(
        default="127.0.0.1", description="address of the page; other than the loopback demands MOODTAPE_API_KEY"
    )
    web_port: int | None = Field(
        default=None, ge=1, le=65535, description="port of the page; without it 8000, or a free one"
    )
    workers: int = Field(default=1, ge=1, le=64, description="worker processes")
    broker_memory: int = Field(
        default=256,
        ge=16,
        description="megabytes of messages that the packaged broker, which forgets none, may hold before it starts anew",
    )
    no_bot: bool = Field(default=False, description="no Telegram bot even with a token")
    replay: Path | None = Field(default=None, description="directory of recorded candles and posts to play as if live")
    speed: float | None = Field(
        default=None, ge=0, description="how many times faster than it happened; 0 is as fast as it goes"
    )
    live: bool = Field(default=False, description="take real exchanges and post sources")
