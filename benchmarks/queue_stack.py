"""A database, a Redis and worker processes of their own, for the benchmarks of the queue."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from db.engine import DatabaseSettings, make_engine, transaction
from db.migrate import upgrade
from db.queries.jobs import SPACE
from db.queries.posts import insert_posts
from domain.errors import MoodtapeError
from domain.text import clean
from domain.types import Post
from moodtape.servers import Postgres, Redis

REAL = ("-m", "workers")
BY_RULE = ("-m", "tests.workers.fake_worker", "0.005")
SLOWLY = ("-m", "tests.workers.fake_worker", "0.1")
"""Worker commands: the models, or verdicts by rule in 5 or 100 ms each (for faults, where the models do not matter)."""


@dataclass(frozen=True, slots=True)
class Held:
    """A batch in the air. ``backend``: the server process that holds it; ``port``: the scorer's end of that connection."""

    id: int
    jobs: list[int]
    backend: int
    port: int


class Witness:
    """What a database tells of the queue: every writing of a verdict is logged in it, by whom, from here on.

    The table of verdicts cannot show a post that was scored twice: its key allows one row, and a later writing replaces
    all of it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with transaction(engine) as connection:
            for statement in _LOG:
                connection.execute(text(statement))

    def scalar(self, query: str, **values: Any) -> Any:
        """One value from the database, which may be away for a while."""
        end = time.monotonic() + 60
        while True:
            try:
                with transaction(self.engine) as connection:
                    return connection.execute(text(query), values).scalar()
            except (MoodtapeError, SQLAlchemyError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def writings(self) -> dict[str, int]:
        """``written``: how often a verdict was written; ``doubled``: how often over one of the same post and revision."""
        written = int(self.scalar("select count(*) from verdict_log"))
        once = int(self.scalar("select count(*) from (select distinct post_id, revision from verdict_log) v"))
        return {"written": written, "doubled": written - once}

    def held(self) -> list[Held]:
        """Batches whose scorer holds them at this moment."""
        return [Held(*row) for row in self.scalar(_HELD, space=SPACE) or ()]

    def died(self, batch: Held) -> bool:
        """Whether its scorer never wrote it; to be asked when its jobs are done."""
        by_it = "select count(*) from verdict_log join jobs using (post_id, revision) where id = any(:jobs) and writer = :who"
        return not self.scalar(by_it, jobs=batch.jobs, who=batch.backend)


_LOG = (
    "create table verdict_log (post_id text not null, revision text not null, writer int not null)",
    "create function log_verdict() returns trigger language plpgsql as $$ begin "
    "insert into verdict_log values (new.post_id, new.revision, pg_backend_pid()); return null; end $$",
    "create trigger log_verdict after insert or update on verdicts for each row execute function log_verdict()",
)

_HELD = """
select json_agg(json_build_array(b.id, b.job_ids, a.pid, a.client_port))
from pg_locks l join pg_stat_activity a on a.pid = l.pid join batches b on b.id % 2147483648 = l.objid::bigint
where l.locktype = 'advisory' and l.granted and l.classid::bigint = :space
  and a.datname = current_database() and a.xact_start <= b.started_at
"""
"""Its own transaction is older than the note of it; one that buries it takes the same lock, but later."""


class Stack(Witness):
    """Servers and workers of one benchmark; everything ends with it."""

    def __init__(self, folder: Path, worker: Sequence[str]) -> None:
        self.folder = folder
        self.postgres = Postgres(folder, tied=True)
        self.redis = Redis(folder, tied=True)
        self.environment = {"DATABASE_URL": self.postgres.start(), "REDIS_URL": self.redis.start()}
        self.environment |= {"MOODTAPE_DATA_DIR": str(folder)}
        self.worker = worker
        self.workers: list[subprocess.Popen[bytes]] = []
        settings = DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(self.environment["DATABASE_URL"])})
        upgrade(settings)
        super().__init__(make_engine(settings))

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more worker (a process group of its own), its log in the data directory."""
        known = {**os.environ, **self.environment, **environment}
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *self.worker], env=known, stdout=log, stderr=log, start_new_session=True
            )
        self.workers.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill -9 of a worker with all its scoring processes."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.workers.remove(process)

    def until(self, true: Callable[[], Any], seconds: float = 120.0) -> float:
        """Wait for something; returns the seconds it took."""
        started = time.monotonic()
        while not true():
            if time.monotonic() - started > seconds:
                raise TimeoutError((self.folder / "worker.log").read_text()[-3000:])
            time.sleep(0.01)
        return time.monotonic() - started

    def store(self, texts: Sequence[str], prefix: str) -> list[str]:
        """Posts a second apart, in the past."""
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=len(texts) + 60)
        posts = [
            Post(f"{prefix}:{n}", prefix, clean(words), "en", start + timedelta(seconds=n), ("BTC/USDT",))
            for n, words in enumerate(texts)
        ]
        with transaction(self.engine) as connection:
            insert_posts(connection, posts)
        return [post.id for post in posts]

    def close(self) -> None:
        """End everything."""
        for process in self.workers:
            process.terminate()
        for process in self.workers:
            process.wait(30)
        self.engine.dispose()
        self.redis.stop()
        self.postgres.remove()


@contextmanager
def stack(worker: Sequence[str]) -> Iterator[Stack]:
    """A stack in a temporary directory; nothing of it outlasts a SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="moodtape-bench-"))
    folder.chmod(0o711)
    made = Stack(folder, worker)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
