"""A recorded hour of posts played through the streams at its own speed or many times faster: every post stored once.

``python -m benchmarks.hour --data FILE --speed 1 --minutes 5`` and ``--speed 100``. The file has the columns ``t`` (epoch
seconds) and ``text``. Printed beside what was stored: the groups of near-duplicates, and how much later than its moment in
the file a post was committed (``received_at``, the start of the transaction,
against the replay's clock, of which the quickest post gives the zero).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from benchmarks.streams import Servers, servers
from db.queries import revisions


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    moments = np.sort(pyarrow.parquet.read_table(options.data, columns=["t"])["t"].to_numpy())
    end = moments[0] + 60 * options.minutes if options.minutes else moments[-1] + 1
    due = moments[moments < end]
    until = datetime.fromtimestamp(float(end), UTC).isoformat()
    with servers(options.broker) as stack:
        with stack.engine.begin() as connection:
            revisions.register(connection, "bench", {})
        argv = [sys.executable, "-m", "streaming", "--replay", str(options.data), "--until", until]
        argv += ["--speed", str(options.speed), "--once"]
        began = time.monotonic()
        done = subprocess.run(argv, env=stack.env, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        told = json.loads(done.stdout)
        found = {"in_the_file": len(due), "sent": told["rows_sent"], **counted(stack, len(due))}
        found["lag_seconds"] = lag(stack, float(moments[0]), options.speed)
    return {
        **found,
        "speed": options.speed,
        "seconds": round(seconds, 1),
        "broker": options.broker or "embedded",
        "load_before": round(os.getloadavg()[0], 1),
    }


def counted(stack: Servers, wanted: int) -> dict[str, Any]:
    """What the database holds."""
    stored = stack.number("select count(*) from posts")
    grouped = "select count(*) from posts where cluster is not null or id in (select cluster from posts)"
    return {
        "stored": stored,
        "stored_once": stored == wanted,
        "jobs": stack.number("select count(*) from jobs"),
        "dead_letters": stack.number("select count(*) from dead_letters"),
        "clusters": stack.number("select count(distinct cluster) from posts"),
        "posts_in_clusters": stack.number(grouped),
    }


def lag(stack: Servers, first: float, speed: float) -> dict[str, float]:
    """Seconds that posts were stored behind their moment on the sped-up clock, the promptest one counting as 0."""
    with stack.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "select extract(epoch from received_at), extract(epoch from posted_at) from posts"
        )
        late = np.array([(float(s), float(p)) for s, p in rows])
    behind = late[:, 0] - (late[:, 1] - first) / speed
    behind -= behind.min()
    return {name: round(float(np.quantile(behind, q)), 2) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


def good(found: dict[str, Any]) -> bool:
    """Whether every post is stored and queued once, and near-duplicates have their groups."""
    queued = found["jobs"] == found["stored"]
    return bool(found["stored_once"] and queued and not found["dead_letters"] and found["clusters"])


def main() -> None:
    """Command line; exits 1 when a post is missing, refused or not queued once, or no near-duplicates were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="parquet with the columns t and text")
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--minutes", type=float, help="only the first minutes of the file")
    parser.add_argument("--broker", help="host:port of another broker")
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    found = measure(parser.parse_args())
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(0 if good(found) else 1)


if __name__ == "__main__":
    main()
