"""`moodtape doctor`: each part asked, what is wrong and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domain.errors import EX_SOFTWARE, EX_TEMPFAIL, BrokenInstall, ConfigError, MoodtapeError, Unavailable
from moodtape.state import StackSettings

if TYPE_CHECKING:
    from sqlalchemy import Engine

SKEW = timedelta(seconds=5)
ROOM = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: ``wrong`` means it does not work, ``note`` that something is worth knowing."""

    part: str
    state: Literal["ok", "note", "wrong"]
    said: str
    exit_code: int = 0


def examine(settings: StackSettings, addresses: Mapping[str, str]) -> list[Finding]:
    """Ask every part; a part that fails never keeps the others from being asked."""
    checks: list[tuple[str, Callable[[], str | Finding]]] = [
        ("database", lambda: database(addresses["DATABASE_URL"])),
        ("clock", lambda: clock(addresses["DATABASE_URL"])),
        ("broker", lambda: broker(addresses["KAFKA_BOOTSTRAP"])),
        ("queue", lambda: queue(addresses["REDIS_URL"])),
        ("weights", weights),
        ("GPU", gpu),
        ("token", lambda: token(os.environ)),
        ("disk", lambda: disk(settings.data_dir)),
    ]
    return [_ask(part, check) for part, check in checks]


def exit_code(findings: list[Finding]) -> int:
    """0 all well; 70 the installation is broken; 75 a service does not work now."""
    codes = {finding.exit_code for finding in findings if finding.state == "wrong"}
    return 0 if not codes else EX_SOFTWARE if EX_SOFTWARE in codes else EX_TEMPFAIL


def report(findings: list[Finding]) -> dict[str, Any]:
    """The JSON of `moodtape doctor --json`."""
    return {"ok": exit_code(findings) == 0, "findings": [asdict(finding) for finding in findings]}


def _ask(part: str, check: Callable[[], str | Finding]) -> Finding:
    try:
        sentence = check()
    except MoodtapeError as error:
        return Finding(part, "wrong", error.message, error.exit_code)
    except KeyError as error:
        return Finding(
            part, "wrong", f"It is not running, and {error.args[0]} is not set; run `make run`.", EX_TEMPFAIL
        )
    return sentence if isinstance(sentence, Finding) else Finding(part, "ok", sentence)


def database(url: str) -> str:
    """Reachable, the log-in right, pgvector there, the schema current.

    Raises:
        ConfigError, Unavailable: what is not so.
    """
    from sqlalchemy import text

    from db.engine import transaction
    from db.migrate import current, head

    with _engine(url) as engine, transaction(engine) as connection:
        version = connection.execute(text("show server_version")).scalar()
        available = connection.execute(
            text(
                "select coalesce(installed_version, default_version) from pg_available_extensions where name = 'vector'"
            )
        ).scalar()
        if available is None:
            raise ConfigError("This PostgreSQL has no pgvector; install the package postgresql-NN-pgvector there.")
        at = current(engine)
    if at != head():
        raise Unavailable(f"The schema is at {at or 'nothing'}, not at {head()}; run `moodtape migrate`.")
    return f"PostgreSQL {version}, pgvector {available}, schema {at}"


def clock(url: str) -> str:
    """Our clock and the database's agree within a few seconds.

    Raises:
        ConfigError: they do not.
    """
    from sqlalchemy import text

    from db.engine import transaction

    with _engine(url) as engine, transaction(engine) as connection:
        before = datetime.now(UTC)
        theirs = connection.execute(text("select clock_timestamp()")).scalar_one()
        after = datetime.now(UTC)
    skew = abs(theirs - (before + (after - before) / 2))
    if skew > SKEW + (after - before):
        raise ConfigError(
            f"This machine's clock and the database's differ by {skew.total_seconds():.0f} s; set them by NTP."
        )
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {skew.total_seconds() * 1000:.0f} ms from the database"


def broker(bootstrap: str) -> str:
    """Somebody accepts connections at one of the addresses.

    Raises:
        ConfigError: not host:port. Unavailable: nobody answers.
    """
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"KAFKA_BOOTSTRAP has “{address.strip()}”, which is not host:port.")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=3.0):
                return f"answers at {address.strip()}"
        except OSError:
            continue
    raise Unavailable("The Kafka broker does not answer; check that it runs and that KAFKA_BOOTSTRAP names it.")


def queue(url: str) -> str:
    """Redis answers and keeps what it is given.

    Raises:
        ConfigError: no Redis URL, wrong password. Unavailable: it does not answer.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        client = redis.Redis.from_url(url, socket_timeout=3.0, socket_connect_timeout=3.0, retry=Retry(NoBackoff(), 0))
    except ValueError:
        raise ConfigError("REDIS_URL is not a URL; write redis://:password@host:6379/0.") from None
    try:
        with client:
            facts: Any = client.info("server")
            return f"Redis {facts['redis_version']}"
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        raise ConfigError("Redis refused the log-in; check the password in REDIS_URL.") from None
    except redis.RedisError as error:
        if "auth" in str(error).lower():
            raise ConfigError("Redis refused the log-in; check the password in REDIS_URL.") from None
        raise Unavailable("Redis does not answer; check that it runs and that REDIS_URL names it.") from None


def weights() -> str:
    """Every shipped and packaged weight has the digest of the manifest.

    Raises:
        WeightsError: one is missing or altered.
    """
    from models.manifest import verify

    manifest = verify()
    count = len(manifest.files) + len(manifest.packages)
    return f"revision {manifest.revision}, trained until {manifest.trained_until:%Y-%m-%d}, {count} files as they should be"


def gpu() -> Finding:
    """Whether a GPU would be used; asked without loading torch."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise BrokenInstall("PyTorch is not installed, so no worker can run here; run `make run`.")
    there = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    sentence = (
        "an NVIDIA GPU is here; a CUDA build of PyTorch is needed to use it" if there else "none; the CPU is used"
    )
    return Finding("GPU", "ok" if there else "note", sentence)


def token(environ: Mapping[str, str]) -> Finding:
    """Whether the bot would start."""
    if environ.get("TELEGRAM_TOKEN"):
        return Finding("token", "ok", "TELEGRAM_TOKEN is set; the bot starts with the stack")
    return Finding("token", "note", "TELEGRAM_TOKEN is not set, so there is no bot; @BotFather gives one")


def disk(data_dir: Path) -> str:
    """Room for databases and logs.

    Raises:
        Unavailable: less than 1 GB.
    """
    place = data_dir.expanduser().resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < ROOM:
        raise Unavailable(f"Only {free / (1 << 20):.0f} MB are free where {data_dir} lies; make room.")
    return f"{free / (1 << 30):.0f} GB free at {place}"


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    from pydantic import SecretStr

    from db.engine import DatabaseSettings, make_engine

    engine = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(url)}))
    try:
        yield engine
    finally:
        engine.dispose()
