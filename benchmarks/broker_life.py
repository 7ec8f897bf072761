"""A month's feed at speed through the packaged broker, which the supervisor starts anew whenever it has grown.

``python -m benchmarks.broker_life --days 30 --seconds 120 --bound 8``: candles of four markets and posts are made up,
played by ``python -m streaming --replay`` in so many seconds, and counted in the database. Printed: the broker's memory and
the rows on their way to the database in each third of the run (flat when the last is like the first), the longest
time in which nothing was stored, how often the broker started anew, and rows lost or doubled. ``--bound 0`` never does so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.streams import Servers, servers
from moodtape.state import MARK, State
from moodtape.supervisor import Embedded, Supervisor
from runtime.logs import configure
from runtime.supervised import Service, Spec, heartbeat_probe

START = 1_700_000_040
MARKETS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")
POST_EVERY = 600
"""Seconds between two posts: 4,320 a month."""


DOUBLED = """
select (select count(*) - count(distinct (market_id, opened_at)) + count(*) filter (where revision > 0) from candles)
     + (select count(*) - count(distinct text) from posts)"""


def write_feed(folder: Path, days: float, seed: int = 7) -> tuple[int, int]:
    """Candles and posts as files that a replay takes; returns how many of each."""
    minutes, rng = int(days * 1440), np.random.default_rng(seed)
    at = START + 60 * np.arange(minutes)
    for market in MARKETS:
        price = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes)))
        columns = {"exchange": ["binance"] * minutes, "symbol": [market] * minutes, "t": at}
        columns |= dict.fromkeys(("open", "high", "low", "close"), price) | {"volume": np.ones(minutes)}
        pa.parquet.write_table(pa.table(columns), folder / f"candles-{market}.parquet")
    posted = np.arange(START, START + 60 * minutes, POST_EVERY)
    texts = [f"post number {n} about bitcoin and {rng.integers(1_000_000)}" for n in range(len(posted))]
    pa.parquet.write_table(pa.table({"t": posted, "text": texts}), folder / "stream.parquet")
    return minutes * len(MARKETS), len(posted)


def watch(stack: Servers, supervisor: Supervisor, wanted: tuple[int, int], seconds: float) -> list[dict[str, float]]:
    """Supervise until everything is stored, looking once a second: memory in MB, unread rows, rows stored."""
    assert stack.broker is not None
    began, samples, service = time.monotonic(), [], supervisor.services[0]
    while time.monotonic() - began < seconds:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            supervisor.step(time.monotonic())
            time.sleep(0.05)
        stored = stack.number("select (select count(*) from candles) + (select count(*) from posts)")
        unread = float(service.detail.get("unread") or 0)
        samples.append({"memory": stack.broker.memory / 2**20, "unread": unread, "stored": stored})
        if stored >= sum(wanted):
            break
    return samples


def streams(stack: Servers, state: State, arguments: tuple[str, ...]) -> Service:
    """The streams as the one-machine stack runs them."""
    env = {**stack.env, "MOODTAPE_SERVICE": "streaming", MARK: state.token}
    beat = state.run / "streaming.ready"
    argv = (sys.executable, "-m", "streaming", *arguments)
    return Service(Spec("streaming", argv, env, heartbeat_probe(beat), beat=beat), state.logs / "streaming.log")


def play(stack: Servers, days: float, seconds: float, bound: int, patience: float = 600.0) -> dict[str, Any]:
    """The whole run on servers of the caller's, whose broker is this run's own."""
    assert stack.broker is not None
    feed = stack.folder / "feed"
    feed.mkdir()
    wanted = write_feed(feed, days)
    state = State(stack.folder)
    state.prepare()
    service = streams(stack, state, ("--replay", str(feed), "--speed", str(days * 86400 / seconds), "--no-score"))
    supervisor = Supervisor(
        state,
        [Embedded(stack.broker, "KAFKA_BOOTSTRAP")],
        lambda _addresses: [service],
        external={"DATABASE_URL": stack.postgres.url},
        broker_memory=(bound or 1 << 20) << 20,
    )
    supervisor.start_servers()
    supervisor.start_services()
    try:
        samples = watch(stack, supervisor, wanted, patience)
    finally:
        service.end(patience=15.0)
    counted = {
        "candles": stack.number("select count(*) from candles"),
        "posts": stack.number("select count(*) from posts"),
        "doubled": stack.number(DOUBLED),
        "dead_letters": stack.number("select count(*) from dead_letters"),
    }
    return report(samples, counted, wanted) | {"recycled": stack.broker.recycled, "restarts": service.restarts}


def report(samples: list[dict[str, float]], counted: dict[str, int], wanted: tuple[int, int]) -> dict[str, Any]:
    """The figures."""
    thirds = np.array_split(np.arange(len(samples)), 3)
    series = {name: np.array([sample[name] for sample in samples]) for name in ("memory", "unread", "stored")}
    moved = np.flatnonzero(np.diff(series["stored"], prepend=0) > 0)
    return {
        "seconds": len(samples),
        "memory_mb_max": [round(float(series["memory"][part].max()), 1) for part in thirds if len(part)],
        "unread_median": [int(np.median(series["unread"][part])) for part in thirds if len(part)],
        "unread_max": [int(series["unread"][part].max()) for part in thirds if len(part)],
        "longest_pause_s": int(np.diff(moved).max()) if len(moved) > 1 else None,
        **counted,
        "lost": sum(wanted) - counted["candles"] - counted["posts"],
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Command line; exits 1 when a row is lost, doubled or refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the feed takes")
    parser.add_argument(
        "--bound", type=int, default=8, help="MB by which the broker grows until it starts anew; 0 for never"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    given = parser.parse_args()
    configure("benchmark")
    with servers() as stack:
        found = play(stack, given.days, given.seconds, given.bound)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if found["lost"] or found["doubled"] or found["dead_letters"] else 0)


if __name__ == "__main__":
    main()
