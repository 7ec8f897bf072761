"""Two days of real candles and posts replayed through Kafka, undisturbed and with kill -9: the tables, row by row.

``python -m benchmarks.market --candles FILE --posts FILE --source NAME --begin TIME --broker-command "COMMAND"`` with
``{port}`` and ``{folder}`` in the command of another broker; without it the packaged one carries the messages. Candles of
twelve days and the posts of the last two go from files over the broker into PostgreSQL, a worker answers, the replay's clock
closes the cases, the night's walk-forward follows. Then everything once more in a fresh database and a fresh broker, where
the streaming process and the worker are killed in the middle, each as often as ``--kills`` says. Every row of both ends is
compared, every column of it but those named in :data:`TABLES`: moments of the wall's clock, and numbers given in the order
of arrival.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.flow import other_broker
from benchmarks.streams import Servers, servers, wait_for
from domain.clock import parse_time
from moodtape.servers import Redis

LONG = 900.0
HISTORY, SPAN, AFTER = timedelta(days=12), timedelta(hours=48), timedelta(hours=6)
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "candles": ("select c.*, m.exchange, m.symbol from candles c join markets m on m.id = c.market_id",
                ("market_id", "received_at", "updated_at")),
    "posts": ("select * from posts", ("received_at",)),
    "predictions": ("select * from predictions", ("made_at",)),
    "prediction_scores": ("select * from prediction_scores", ("scored_at",)),
    "band_states": ("select b.*, m.exchange, m.symbol from band_states b join markets m on m.id = b.market_id",
                    ("market_id", "made_at")),
    "trajectories": ("select * from trajectories where not starts_with(post_id, 'starter:')", ("id",)),
    "walk_forwards": ("select * from walk_forwards", ("id", "made_at")),
    "event_rules": ("select * from event_rules", ("id", "confirmed_at", "retired_at")),
}  # fmt: skip
"""Query, and the columns that are left out."""
KEYS = ("symbol", "exchange", "opened_at", "post_id", "revision", "slot", "source", "id", "rule", "outcome", "minutes")
"""Columns that name a row, where it has them."""


@dataclass
class Run:
    """One run: its servers, its processes, and who was killed when."""

    stack: Servers
    env: dict[str, str]
    feed: Path
    posts: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: list[dict[str, Any]] = field(default_factory=list)

    def start(self, name: str) -> None:
        """The streaming process (feed and sink) or the worker; its log lies beside the servers'."""
        play = ["streaming", "--replay", str(self.feed), "--speed", "0"]
        argv = [sys.executable, "-m", *(play if name == "streaming" else ["workers"])]
        with (self.stack.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(argv, env=self.env, stderr=log, stdout=log)

    def kill(self, name: str) -> None:
        """Kill -9, and start again."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.kills.append({"victim": name, **self.counts()})
        self.start(name)

    def reach(self, table: str, count: int) -> None:
        """Wait until a table has so many rows."""
        wait_for(lambda: self.counts()[table] >= count, LONG)

    def counts(self) -> dict[str, int]:
        """Rows so far."""
        tables = ("candles", "posts", "verdicts", "predictions", "prediction_scores", "band_states")
        return {table: self.stack.number(f"select count(*) from {table}") for table in tables}

    def close(self) -> None:
        """End both processes."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cut(options: argparse.Namespace, folder: Path) -> tuple[Path, int, int]:
    """The feed's folder, and how many candles and posts lie in it."""
    begin = parse_time(options.begin)
    feed = folder / "feed"
    feed.mkdir()
    candles = pq.read_table(
        options.candles, filters=[("symbol", "==", options.symbol), ("exchange", "==", options.exchange)]
    )
    candles = _between(candles, begin - HISTORY, begin + SPAN + AFTER)
    posts = _between(pq.read_table(options.posts, filters=[("source", "==", options.source)]), begin, begin + SPAN)
    if "symbols" in posts.column_names and options.named:
        posts = posts.filter(pc.match_substring(pc.cast(posts["symbols"], pa.string()), options.named))
    step = max(1, len(posts) // options.most)
    posts = posts.sort_by("t").take(list(range(0, len(posts), step))[: options.most])
    pq.write_table(candles.sort_by("t"), feed / "candles.parquet")
    pq.write_table(posts, feed / "posts.parquet")
    return feed, len(candles), len(posts)


def _between(table: pa.Table, first: datetime, end: datetime) -> pa.Table:
    at = table["t"]
    return table.filter(pc.and_(pc.greater_equal(at, first.timestamp()), pc.less(at, end.timestamp())))


@contextmanager
def running(options: argparse.Namespace, feed: Path, posts: int) -> Iterator[Run]:
    """Fresh servers with nothing started yet."""
    with (
        tempfile.TemporaryDirectory(prefix="moodtape-broker-") as name,
        other_broker(options.broker_command, Path(name)) as broker,
        servers(f"127.0.0.1:{broker.port}" if broker else None) as stack,
    ):
        redis = Redis(stack.folder, tied=True)
        more = {"REDIS_URL": redis.start(), "MOODTAPE_AUTHOR_KEY": "0" * 32, "MOODTAPE_THREADS": "1"}
        made = Run(stack, stack.env | more, feed, posts)
        try:
            yield made
        finally:
            made.close()
            redis.stop()


def play(run: Run, end: datetime, kills: int) -> dict[str, Any]:
    """The whole replay with its night; returns the counts at the end."""
    began = time.monotonic()
    run.start("worker")
    run.start("streaming")
    if kills:
        run.reach("candles", 2_000)
        run.kill("streaming")
    for n in range(1, kills + 1):
        run.reach("verdicts", run.posts * n // (kills + 1))
        run.kill("worker")
        run.kill("streaming")
    number = run.stack.number
    waiting = "select count(*) from open_windows where symbol in (select symbol from markets)"
    settled(lambda: run.counts()["verdicts"] >= run.posts and not number(waiting))
    unscored = (
        "select count(*) from predictions p where not exists (select from prediction_scores s "
        "where s.post_id = p.post_id and s.revision = p.revision)"
    )
    settled(lambda: number(unscored) == 0)
    seconds = time.monotonic() - began
    argv = [sys.executable, "-m", "moodtape", "nightly", "--once", "--json", "--as-of", end.isoformat()]
    night = subprocess.run(argv, env=run.env, capture_output=True, text=True, check=False)
    if night.returncode:
        raise RuntimeError(night.stderr[-2000:])
    told = json.loads(night.stdout)
    return {**run.counts(), "unscored": number(unscored), "dead_letters": number("select count(*) from dead_letters"),
            "seconds": round(seconds, 1), "kills": run.kills, "night": told}  # fmt: skip


def settled(done: Callable[[], bool]) -> None:
    """Wait for it, looking once a second."""
    wait_for(done, LONG, every=1.0)


def again(run: Run, newest: int) -> dict[str, Any]:
    """Stored answers, of batches before and after kills, made again by the command."""
    argv = [sys.executable, "-m", "moodtape", "replay", "--newest", str(newest), "--json"]
    done = subprocess.run(argv, env=run.env, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    return {"answers": told["answers"], "identical": told["identical"]}


def rows(run: Run) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each table every row by its key."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with run.stack.engine.connect() as connection:
        for table, (query, left_out) in TABLES.items():
            taken = connection.exec_driver_sql(f"select to_jsonb(t) from ({query}) t").scalars().all()
            kept = [{name: value for name, value in row.items() if name not in left_out} for row in taken]
            found[table] = {_key(row): row for row in kept}
            if len(found[table]) != len(kept):
                raise RuntimeError(f"two rows of {table} have one key")
    return found


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row[name] for name in KEYS if name in row])


def compared(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Rows that stand in one run only, and those that differ, by column with the largest difference of a number."""
    both = one.keys() & other.keys()
    columns: dict[str, dict[str, float]] = {}
    differing = 0
    for key in both:
        wrong = [name for name in one[key] if one[key][name] != other[key][name]]
        differing += bool(wrong)
        for name in wrong:
            seen = columns.setdefault(name, {"rows": 0, "largest": 0.0})
            seen["rows"] += 1
            seen["largest"] = max(seen["largest"], _apart(one[key][name], other[key][name]))
    lonely = len(one.keys() ^ other.keys())
    return {
        "rows": len(one),
        "same": len(both) - differing,
        "differing": differing,
        "in_one_only": lonely,
        "columns": columns,
    }


def _apart(one: Any, other: Any) -> float:
    """Largest difference of numbers; infinite where something else differs."""
    if isinstance(one, bool) or isinstance(other, bool) or type(one) is not type(other):
        return abs(one - other) if isinstance(one, int | float) and isinstance(other, int | float) else float("inf")
    if isinstance(one, int | float):
        return float(abs(one - other))
    if isinstance(one, str) and one.startswith("["):
        return _apart(json.loads(one), json.loads(other))
    if isinstance(one, list) and len(one) == len(other):
        return max((_apart(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, dict) and one.keys() == other.keys():
        return max((_apart(one[name], other[name]) for name in one), default=0.0)
    return 0.0 if one == other else float("inf")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both runs and their comparison."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="moodtape-feed-") as name:
        feed, candles, posts = cut(options, Path(name))
        end = parse_time(options.begin) + SPAN + AFTER
        with running(options, feed, posts) as run:
            calm = play(run, end, 0)
            before = rows(run)
        with running(options, feed, posts) as run:
            killed = play(run, end, options.kills)
            after = rows(run)
            made_again = again(run, options.newest)
    tables = {table: compared(before[table], after[table]) for table in TABLES}
    same = all(not found["differing"] and not found["in_one_only"] for found in tables.values())
    return {
        "in_the_files": {"candles": candles, "posts": posts},
        "undisturbed": calm,
        "killed": killed,
        "made_again": made_again,
        "tables": tables,
        "same": same,
        "left_out": {table: columns for table, (_, columns) in TABLES.items()},
        "broker": "another" if options.broker_command else "embedded",
        "load_before": round(load, 1),
    }


def main() -> None:
    """Command line; exits 1 when a row differs, or something was not scored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candles", type=Path, required=True, help="parquet: exchange, symbol, t, OHLC, volume")
    parser.add_argument("--posts", type=Path, required=True, help="parquet: source, t, text")
    parser.add_argument("--source", required=True, help="posts of this source only")
    parser.add_argument("--named", default="", help="posts that name this symbol only")
    parser.add_argument("--symbol", default="BTCUSDT", help="as the file of candles writes it")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--begin", required=True, help="first moment of the two days (ISO 8601, UTC)")
    parser.add_argument("--most", type=int, default=800, help="posts, spread evenly")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--newest", type=int, default=200, help="answers to make again")
    parser.add_argument("--broker-command", help="another broker, with {port} and {folder} in its command")
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    found = measure(parser.parse_args())
    sys.stdout.write(json.dumps(found) + "\n")
    unscored = found["undisturbed"]["unscored"] + found["killed"]["unscored"]
    sys.exit(0 if found["same"] and not unscored else 1)


if __name__ == "__main__":
    main()
