"""Live candles at a steady pace: how long each update takes from its moment to the commit, and the sink's memory.

``python -m benchmarks.live --symbols 1000 --rate 1 --seconds 600`` is 1,000 markets with one update a second each;
``--rate 5 --seconds 60`` is 5,000 messages a second. Every message is the current minute of its market with a new close,
as an exchange sends it; the minute's last one is final. The latency of a message runs from the moment it was due (not from
when a late producer got to it) until a look at the stored offsets, every 20 ms, finds its offset committed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from sqlalchemy import text

from benchmarks.streams import Servers, servers, wait_for
from streaming.kafka import KafkaBroker, partition_of
from streaming.messages import CANDLES, TOPICS, CandleMessage, outgoing

LOOK_SECONDS = 0.02
PARTS = TOPICS[CANDLES]


@dataclass
class Ledger:
    """When each message of each partition was due, and when it was seen committed; both in monotonic seconds."""

    due: list[list[float]] = field(default_factory=lambda: [[] for _ in range(PARTS)])
    latency: list[NDArray[np.float64]] = field(default_factory=list)
    done: list[int] = field(default_factory=lambda: [0] * PARTS)

    def settle(self, part: int, offset: int, now: float) -> None:
        """Everything before ``offset`` is committed."""
        if offset > self.done[part]:
            self.latency.append(now - np.array(self.due[part][self.done[part] : offset]))
            self.done[part] = offset

    @property
    def open(self) -> int:
        """Messages not seen committed yet."""
        return sum(map(len, self.due)) - sum(self.done)


class Looker(threading.Thread):
    """Follows the stored offsets, and once a second the resident memory of a process."""

    def __init__(self, stack: Servers, ledger: Ledger, pid: int) -> None:
        super().__init__(daemon=True)
        self._stack, self._ledger, self._process = stack, ledger, psutil.Process(pid)
        self._stop_ = threading.Event()
        self.memory: list[tuple[float, float]] = []

    def run(self) -> None:
        """Until told to stop."""
        query = text("select partition, next_offset from stream_offsets where topic = :topic")
        with self._stack.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            while not self._stop_.wait(LOOK_SECONDS):
                found = connection.execute(query, {"topic": CANDLES}).all()
                now = time.monotonic()
                for part, offset in found:
                    self._ledger.settle(part, offset, now)
                if not self.memory or now - self.memory[-1][0] >= 1:
                    self.memory.append((now, self._process.memory_info().rss / 2**20))

    def stop(self) -> None:
        """End the looking."""
        self._stop_.set()
        self.join()


class Walks:
    """Random walks of many markets; knows what the newest candle of each must look like in the end."""

    def __init__(self, symbols: int, seed: int = 1) -> None:
        self._chance = np.random.default_rng(seed)
        self._close = np.full(symbols, 100.0)
        self._open = self._close.copy()
        self._minute = np.zeros(symbols, dtype=np.int64)
        self.finished = 0
        self.newest: dict[str, tuple[int, float]] = {}

    def message(self, number: int, now: float, last: bool) -> CandleMessage:
        """The current minute of one market; ``last``: no more will come of it."""
        minute = int(now // 60) * 60
        if minute != self._minute[number]:
            self._minute[number], self._open[number] = minute, self._close[number]
        opened = float(self._open[number])
        close = round(float(self._close[number]) * (1 + 0.0005 * float(self._chance.standard_normal())), 4)
        self._close[number] = close
        self.newest[f"L{number}/USDT"] = (minute, close)
        self.finished += last
        high, low = max(opened, close), min(opened, close)
        return CandleMessage("live", f"L{number}/USDT", minute, opened, high, low, close, 1.0, final=last)


def produce(stack: Servers, ledger: Ledger, symbols: int, rate: float, seconds: float) -> Walks:
    """Send every message when it is due; a market's message is final when its next one falls into another minute."""
    producer, walks = KafkaBroker(stack.bootstrap).producer(), Walks(symbols)
    parts: dict[bytes, int] = {}
    each, total = 1 / (symbols * rate), int(symbols * rate * seconds)
    began, wall = time.monotonic() + 0.2, time.time() + 0.2
    sent = 0
    while sent < total:
        upto = min(total, int((time.monotonic() - began) / each) + 1)
        for number in range(sent, upto):
            due = number * each
            last = (wall + due + 1 / rate) // 60 > (wall + due) // 60
            market = number % symbols
            message = outgoing(walks.message(market, wall + due, last))
            if message.key not in parts:
                parts[message.key] = partition_of(message.key, PARTS)
            ledger.due[parts[message.key]].append(began + due)
            producer.send(message.topic, message.key, message.value)
        sent = max(sent, upto)
        time.sleep(0.005)
    producer.flush(60)
    producer.close()
    return walks


def wrong(stack: Servers, walks: Walks) -> int:
    """Markets whose newest stored candle is not the one sent last, and finished minutes that are missing."""
    query = (
        "select distinct on (m.symbol) m.symbol, extract(epoch from c.opened_at)::bigint, c.close from candles c "
        "join markets m on m.id = c.market_id where m.exchange = 'live' order by m.symbol, c.opened_at desc"
    )
    with stack.engine.connect() as connection:
        stored = {symbol: (at, close) for symbol, at, close in connection.exec_driver_sql(query)}
    final = stack.number("select count(*) from candles where final")
    return sum(stored.get(symbol) != newest for symbol, newest in walks.newest.items()) + abs(walks.finished - final)


def memory(samples: list[tuple[float, float]]) -> dict[str, float]:
    """MB at the start, in the middle and at the end, and the slope over the second half in MB a minute."""
    at, size = np.array(samples).T
    half = len(at) // 2
    slope = float(np.polyfit(at[half:] - at[half], size[half:], 1)[0]) * 60 if len(at) > 4 else 0.0
    start = min(5, len(at) - 1)
    return {"start": round(size[start]), "middle": round(size[half]), "end": round(size[-1]), "slope": round(slope, 2)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    load, ledger = os.getloadavg()[0], Ledger()
    with servers(options.broker) as stack:
        KafkaBroker(stack.bootstrap).ensure(TOPICS)
        sink = stack.sink()
        wait_for(lambda: stack.logged("partitions assigned") > 0, 120)
        looker = Looker(stack, ledger, sink.pid)
        looker.start()
        walks = produce(stack, ledger, options.symbols, options.rate, options.seconds)
        wait_for(lambda: not ledger.open, 120)
        looker.stop()
        mistakes, dead_letters = wrong(stack, walks), stack.number("select count(*) from dead_letters")
    found = np.concatenate(ledger.latency)
    return {
        "messages": len(found),
        "per_second": options.symbols * options.rate,
        "latency_seconds": {
            "p50": round(float(np.quantile(found, 0.5)), 3),
            "p99": round(float(np.quantile(found, 0.99)), 3),
            "max": round(float(found.max()), 3),
        },
        "wrong_or_missing": mistakes,
        "dead_letters": dead_letters,
        "sink_memory_mb": memory(looker.memory),
        "seconds": options.seconds,
        "broker": options.broker or "embedded",
        "load_before": round(load, 1),
    }


def main() -> None:
    """Command line; exits 1 when a candle is wrong or missing, or a message was refused or not seen to be committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=1.0, help="messages a second of each market")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--broker", help="host:port of another broker")
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    options = parser.parse_args()
    found = measure(options)
    sys.stdout.write(json.dumps(found) + "\n")
    unseen = found["messages"] != int(options.symbols * options.rate * options.seconds)
    sys.exit(1 if found["wrong_or_missing"] or found["dead_letters"] or unseen else 0)


if __name__ == "__main__":
    main()
