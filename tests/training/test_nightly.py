"""The service of the night: Celery's schedule, a ring over a real Redis that runs its child, no run beside another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from db.engine import transaction
from db.queries.earned import Fold, add_fold
from training import nightly

SERVICE = """
import sys
from datetime import timedelta
from pathlib import Path
from training.nightly import Child, serve

mark = "from pathlib import Path; import sys; Path(sys.argv[1]).open('a').write('night\\\\n')"
sys.exit(serve(Child((sys.executable, "-c", mark, sys.argv[1])), schedule=timedelta(seconds=0.2)))
"""


def test_the_beat_rings_once_a_night_on_its_own_queue() -> None:
    """A crontab at 02:15 UTC; scoring processes do not listen there, and Redis does not ring twice for a long run."""
    app = nightly.make_nightly(lambda: None)
    entry = app.conf.beat_schedule["nightly"]
    assert (entry["task"], entry["options"]["queue"]) == (nightly.TASK, nightly.QUEUE)
    assert (entry["schedule"].hour, entry["schedule"].minute) == ({2}, {15})
    assert app.conf.task_default_queue != nightly.QUEUE
    assert not app.conf.task_acks_late


def test_beat_and_worker_run_the_night_over_redis(
    engine: Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """With a schedule of a fifth of a second two nights run in processes of their own; SIGTERM ends the service at once."""
    with transaction(engine) as connection:
        add_fold(connection, Fold("store", "r", 9, {}, signal=False, alarms={"hub": 0.3, "gaps": 2}))
    env = {
        "DATABASE_URL": database_url, "REDIS_URL": redis_url, "MOODTAPE_DATA_DIR": str(tmp_path),
        "MOODTAPE_SERVICE": "nightly", "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    mark, beat = tmp_path / "nights", tmp_path / "run" / "nightly.ready"
    root = Path(nightly.__file__).parents[1]
    service = subprocess.Popen([sys.executable, "-c", SERVICE, str(mark)], env=env, cwd=root, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not (mark.exists() and mark.read_text().count("night") >= 2 and beat.exists()):
            assert service.poll() is None, service.stderr
            assert time.monotonic() < deadline
            time.sleep(0.05)
        detail = json.loads(beat.read_text())["detail"]
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
    finally:
        service.kill()
        service.wait()
        if service.stderr:
            service.stderr.close()
    assert detail["alarms"] == "gaps, hub"
    assert detail["due"] == "02:15 UTC"
    assert not beat.exists()


def test_a_night_runs_alone_and_once(engine: Engine) -> None:
    """While another holds the lock, or a walk-forward is younger than half a day, nothing runs; else it does."""
    now = datetime.now(UTC)
    ran: list[datetime] = []

    def once(_: Engine, at: datetime) -> dict[str, object]:
        ran.append(at)
        return {"walk_forward": {}}

    with engine.connect() as other:
        other.execute(text("select pg_advisory_xact_lock(:key)"), {"key": nightly.LOCK})
        assert nightly.night(engine, now, once) is None
    assert nightly.night(engine, now, once) == {"walk_forward": {}}
    with transaction(engine) as connection:
        add_fold(connection, Fold("store", "r", 9, {}, signal=False, alarms={}))
    assert nightly.night(engine, datetime.now(UTC) + timedelta(hours=11), once) is None
    assert nightly.night(engine, datetime.now(UTC) + timedelta(hours=13), once) is not None
    assert len(ran) == 2
    assert nightly.Seen(engine)()["alarms"] == "none"
