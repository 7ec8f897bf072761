"""A whole running stack with a live feed, and what must not disturb it: a delisted market, a post source gone, a bad import.

``python -m benchmarks.faults_live --victim items --minutes 10 --json`` starts ``moodtape up --live`` against a loopback
exchange with three markets and a loopback news feed. In the middle of the run one market is delisted and the news feed
answers 503. It tells how late the candles of the others were before, meanwhile and after, what ``status``, ``/ready`` and
the metrics said, and how long the two took to come back. ``--victim import`` imports files of 60,000 rows instead, of which
999 in 1,000 are NaN, one a minute. Both count processes that were started again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
from sqlalchemy import Engine, text

from benchmarks.faults_feed import minute_now, until
from db.engine import DatabaseSettings, make_engine
from moodtape.servers.common import free_port
from streaming.live import BACK
from tests.fakes.exchange import FakeExchange
from tests.fakes.post_servers import FakeRss, rss

PAIRS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
LOST = PAIRS[-1]
ROWS, GOOD = 60_000, 60
"""Rows of an imported file, and how many of them are no NaN."""
NEWEST = (
    "select m.symbol, extract(epoch from max(c.opened_at))::int8 from candles c join markets m on m.id = c.market_id "
    "where m.exchange = 'binance' and c.final group by m.symbol"
)


@dataclass
class Lags:
    """Seconds from the end of each minute until its candle was stored, by phase and market."""

    engine: Engine
    phase: str = "before"
    newest: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look at the database five times a second, until cancelled."""
        while True:
            for symbol, opened in await asyncio.to_thread(self._look):
                if opened > self.newest.get(symbol, opened):
                    late = round(time.time() - opened - 60, 2)
                    self.seconds.setdefault(self.phase, {}).setdefault(symbol, []).append(late)
                self.newest[symbol] = opened
            await asyncio.sleep(0.2)

    def _look(self) -> list[tuple[str, int]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(NEWEST))]

    def told(self) -> dict[str, Any]:
        """Median, worst and number by phase and market."""
        return {
            phase: {s: {"median": median(v), "worst": max(v), "n": len(v)} for s, v in sorted(own.items())}
            for phase, own in self.seconds.items()
        }


async def trade(exchange: FakeExchange) -> None:
    """Move every market each second, until cancelled; a delisted one is not spoken of."""
    while True:
        minute = minute_now()
        for pair in PAIRS:
            exchange.put(pair, minute, close=100.0 + (minute // 60) % 7 / 10)
            if pair not in exchange.delisted:
                await exchange.tick(pair, minute)
        await asyncio.sleep(1.0)


async def publish(feed: FakeRss) -> None:
    """A news item every twenty seconds, until cancelled."""
    while True:
        now = time.time()
        feed.items = [*feed.items[-50:], (f"n{now:.0f}", f"bitcoin news of {now:.0f}", formatdate(now, usegmt=True))]
        await asyncio.sleep(20.0)


class Stack:
    """``moodtape up --live`` in a folder of its own, and what it tells."""

    def __init__(self, folder: Path, exchange: FakeExchange, feed: FakeRss) -> None:
        self.folder, self.port = folder, free_port()
        self.env = {
            **os.environ, "MOODTAPE_DATA_DIR": str(folder), "MOODTAPE_EXCHANGE_URL": exchange.url,
            "MOODTAPE_SYMBOLS": ",".join(PAIRS), "MOODTAPE_POST_SOURCES": f"rss={feed.url}",
            "MOODTAPE_STREAM_METRICS_PORT": str(self.port),
        }  # fmt: skip
        for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "REDIS_URL", "TELEGRAM_TOKEN"):
            self.env.pop(name, None)
        log = (folder / "up.log").open("wb")
        argv = (sys.executable, "-m", "moodtape", "up", "--live", "--web-port", str(free_port()))
        self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log)

    def moodtape(self, *arguments: str) -> dict[str, Any]:
        """What a command prints as JSON."""
        argv = [sys.executable, "-m", "moodtape", *arguments, "--json"]
        done = subprocess.run(argv, env=self.env, check=False, capture_output=True, text=True, timeout=600)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pids(self) -> dict[str, int]:
        """The process of every server and service."""
        return {part["name"]: part["pid"] for part in self.moodtape("status")["services"]}

    def troubles(self) -> dict[str, Any]:
        """What ``status``, ``/ready`` and ``/metrics`` say of what is not read."""
        streaming = next(part for part in self.moodtape("status")["services"] if part["name"] == "streaming")
        ready = httpx.get(f"http://127.0.0.1:{self.port}/ready")
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        return {
            "status": {"ready": streaming["ready"], "troubles": (streaming.get("detail") or {}).get("troubles")},
            "ready": [ready.status_code, *ready.text.splitlines()],
            "metrics": [x for x in lines if x.startswith("moodtape_feed_refused{") and x.endswith(" 1.0")],
        }

    def engine(self) -> Engine:
        """The stack's database."""
        state = json.loads((self.folder / "state.json").read_text())
        return make_engine(DatabaseSettings.model_validate({"DATABASE_URL": state["addresses"]["DATABASE_URL"]}))

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(90)


def number(engine: Engine, query: str) -> int:
    """One number from the database."""
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar() or 0)


async def items(stack: Stack, lags: Lags, exchange: FakeExchange, feed: FakeRss, minutes: float) -> dict[str, Any]:
    """One market and the news feed go for ``minutes``, and come back."""
    await asyncio.sleep(60 * max(1.0, minutes / 3))
    lags.phase = "meanwhile"
    exchange.delisted.add(LOST)
    feed.status = 503
    await exchange.hang_up()
    await asyncio.sleep(60 * minutes)
    said = await asyncio.to_thread(stack.troubles)
    lags.phase = "coming back"
    exchange.delisted.clear()
    feed.status = 200
    posts = number(lags.engine, "select count(*) from posts")

    def candles_back() -> bool:
        return lags.newest[LOST] >= lags.newest[PAIRS[0]]

    def posts_back() -> bool:
        return number(lags.engine, "select count(*) from posts") > posts

    market, news = await asyncio.gather(until(candles_back, 300), until(posts_back, 300))
    back = {"market_seconds": market, "posts_seconds": news}
    lags.phase = "after"
    await asyncio.sleep(60 * max(1.0, minutes / 3))
    span = f"opened_at >= to_timestamp({min(lags.newest.values()) - 60 * (60 * minutes // 60 + 2)})"
    lost = f"select count(*) from candles c join markets m on m.id = c.market_id where m.symbol = '{{}}' and {span}"
    rows = {pair: number(lags.engine, lost.format(pair)) for pair in PAIRS}
    return {
        "said": said,
        "back": back,
        "candles_of_the_time": rows,
        "said_after": await asyncio.to_thread(stack.troubles),
    }


def nan_file(path: Path, first: int) -> None:
    """A file of :data:`ROWS` minutes with a whole row now and then."""
    at = [first + 60 * n for n in range(ROWS)]
    close = [100.0 if n % (ROWS // GOOD) == 0 else float("nan") for n in range(ROWS)]
    bars = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    pa.parquet.write_table(pa.table({"time": at, **bars}), path)


async def imports(stack: Stack, lags: Lags, minutes: float) -> dict[str, Any]:
    """A bad file before the end of each of some minutes."""
    await asyncio.sleep(60 * minutes)
    lags.phase = "meanwhile"
    told = []
    for turn in range(max(1, round(minutes))):
        path = stack.folder / f"XRPUSDT-1m-{turn}.parquet"
        await asyncio.to_thread(nan_file, path, 1_600_000_020 + 60 * ROWS * turn)
        await asyncio.sleep((55 - time.time()) % 60)
        began = time.monotonic()
        found = await asyncio.to_thread(stack.moodtape, "import", str(path))
        one = found["files"][0]
        told.append(
            {**{k: one[k] for k in ("rows", "stored", "refused")}, "seconds": round(time.monotonic() - began, 1)}
        )
    await asyncio.sleep((25 - time.time()) % 60)
    lags.phase = "after"
    await asyncio.sleep(60 * minutes)
    count = "select count(*) from candles c join markets m on m.id = c.market_id where m.symbol = 'XRP/USDT'"
    return {
        "imports": told,
        "rows_by_query": number(lags.engine, count),
        "dead_letters": number(lags.engine, "select count(*) from dead_letters"),
        "said_after": await asyncio.to_thread(stack.troubles),
    }


async def show(victim: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Start everything, let it run, disturb it."""
    async with FakeExchange() as exchange, rss() as feed:
        for pair in PAIRS:
            for minute in range(minute_now() - BACK - 600, minute_now(), 60):
                exchange.put(pair, minute)
        moving = [asyncio.create_task(trade(exchange)), asyncio.create_task(publish(feed))]
        stack = Stack(folder, exchange, feed)
        try:
            ready = await until(_is_ready(stack), 240)
            lags = Lags(stack.engine())
            moving.append(asyncio.create_task(lags.watch()))
            await until(lambda: len(lags.newest) == len(PAIRS), 120)
            before = await asyncio.to_thread(stack.pids)
            act = items(stack, lags, exchange, feed, minutes) if victim == "items" else imports(stack, lags, minutes)
            found = await act
            after = await asyncio.to_thread(stack.pids)
            found |= {"lag_seconds": lags.told(), "ready_seconds": ready, "processes": len(after)}
            return found | {"started_again": sorted(name for name in before if after.get(name) != before[name])}
        finally:
            for task in moving:
                task.cancel()
            await asyncio.gather(*moving, return_exceptions=True)
            await asyncio.to_thread(stack.end)


def _is_ready(stack: Stack) -> Callable[[], bool]:
    def ready() -> bool:
        if stack.process.poll() is not None:
            raise SystemExit((stack.folder / "up.log").read_text()[-3000:])
        try:
            return bool(json.loads((stack.folder / "state.json").read_text())["ready"])
        except (OSError, ValueError, KeyError):
            return False

    return ready


def good(found: dict[str, Any], victim: str) -> bool:
    """Whether the others were not late, nothing was started again and all came back."""
    others = [own["worst"] for pair, own in found["lag_seconds"].get("meanwhile", {}).items() if pair != LOST]
    calm = bool(others) and max(others) < 60 and not found["started_again"] and not found["said_after"]["metrics"]
    if victim == "import":
        return (
            calm
            and found["rows_by_query"] == sum(one["stored"] for one in found["imports"])
            and not found["dead_letters"]
        )
    return calm and None not in found["back"].values() and len(set(found["candles_of_the_time"].values())) == 1


def main() -> None:
    """Command line; exits 1 when something was disturbed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victim", choices=("items", "import"), default="items")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the fault lasts")
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mt-live-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        found = asyncio.run(show(asked.victim, asked.minutes, folder))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(0 if good(found, asked.victim) else 1)


if __name__ == "__main__":
    main()
