"""What the embedded servers have in common: a place, a record on disk, a port that is free, start and stop."""

from __future__ import annotations

import errno
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from domain.errors import MoodtapeError, Unavailable
from runtime import processes
from runtime import processes as files

LOOPBACK = "127.0.0.1"
LOG_LIMIT = 8 << 20


def port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether this address can be listened on now.

    Raises:
        OSError: the host is no address of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True


def free_port(preferred: int | None = None, patience: float = 0.0) -> int:
    """A port on the loopback that nobody listens on now; the preferred one if it gets free within ``patience``.

    Raises:
        Unavailable: the loopback has no port left.
    """
    end = time.monotonic() + patience
    while preferred is not None:
        if port_free(preferred):
            return preferred
        if time.monotonic() >= end:
            break
        time.sleep(0.02)
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, 0))
        except OSError:
            raise Unavailable("No port is free on the loopback; end some programs and try again.") from None
        return int(probe.getsockname()[1])


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts connections on the loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout):
            return True
    except OSError:
        return False


class Server(ABC):
    """One embedded server below a data directory.

    ``launch`` then ``await_ready`` (or ``start``, both) bring it up or find it running; a second object over the same
    directory, in this process or a later one, finds the same server. ``tied`` ends it with the starting process.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    patience: ClassVar[float] = 30.0

    def __init__(self, data_dir: Path, *, tied: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / self.name
        self.log = self.data_dir / "logs" / f"{self.name}.log"
        self.tied = tied
        self.record: dict[str, Any] = {}
        self._found = False
        self._offset = 0

    @property
    def record_path(self) -> Path:
        return self.data_dir / "run" / f"{self.name}.json"

    @property
    def port(self) -> int:
        return int(self.record["port"])

    @property
    def pid(self) -> int | None:
        return self.record.get("pid")

    @property
    @abstractmethod
    def url(self) -> str:
        """How clients reach it, password included."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make or mend what must lie on the disk before the program starts."""

    @abstractmethod
    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        """Start the program."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the running program serves clients."""

    def recorded(self) -> dict[str, Any]:
        """What the directory remembers of this server."""
        return files.read_json(self.record_path)

    def running(self) -> bool:
        """Whether the recorded process lives (a dead child is reaped)."""
        return processes.same(self.record.get("pid"), self.record.get("born"))

    def start(self) -> str:
        """Reuse the server of this directory or start it; returns its URL.

        Raises:
            Unavailable, ConfigError: it does not come up; the message says why and names its log.
        """
        self.launch()
        return self.await_ready()

    def launch(self) -> None:
        """Find the running server or start its program, without waiting for it."""
        files.make_directory(self.data_dir, 0o711)
        for folder in ("run", "logs"):
            files.make_directory(self.data_dir / folder, 0o700)
        self.record = self.recorded()
        self._found = self.running()
        if not self._found:
            self._launch()

    def _launch(self) -> None:
        self._found = False
        self._offset = self.log.stat().st_size if self.log.exists() else 0
        self.record.setdefault("password", secrets.token_urlsafe(18))
        self._prepare()
        self._begin(free_port(self.record.get("port"), patience=1.0))

    def said(self) -> str:
        """What it wrote since this object started it, the last of it."""
        return files.tail(self.log, since=self._offset)

    def trouble(self) -> MoodtapeError | None:
        """Why a server that should run does not; None while it does."""
        return None if self.running() else self._failure()

    def _begin(self, port: int) -> None:
        try:
            pid = self._spawn(port).pid
        except OSError as error:
            raise files.explain(error, self.log) from None
        self.record |= {"pid": pid, "born": processes.birth(pid), "port": port}
        files.write_json(self.record_path, self.record)

    def await_ready(self, deadline: float = 60.0) -> str:
        """Wait until it serves; a port that was taken in between, or a found server that just died, means another try."""
        end = time.monotonic() + deadline
        again = 3
        while not (self.running() and self._ready()):
            if not self.running():
                again -= 1
                if again == 0 or not (self._found or self._mend()):
                    raise self._failure()
                self._launch()
            if time.monotonic() > end:
                raise self._failure()
            time.sleep(0.02)
        return self.url

    def _mend(self) -> bool:
        """After a start that failed: True when another try is worth it."""
        output = self.said().lower()
        return "address already in use" in output or "still in use" in output

    def _failure(self) -> MoodtapeError:
        output = self.said()
        self.stop()
        if "No space left" in output:
            return Unavailable(
                f"The disk that holds {self.home} is full; free some room, or choose another --data-dir."
            )
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = lines[-1][:200] if lines else "it said nothing"
        return Unavailable(f"{self.name} did not start: {last} (log: {self.log}).")

    def stop(self) -> bool:
        """Stop the server of this directory, whoever started it; False when none ran."""
        self.record = self.record or self.recorded()
        process = self.running()
        if process:
            processes.end(self.record["pid"], self.record["born"], self.stop_signal, self.patience)
        if self.record and self.record_path.exists():
            self.record |= {"pid": None, "born": None}
            files.write_json(self.record_path, self.record)
        return process
