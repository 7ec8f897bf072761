"""Kill the streams while candles and posts flow, and count what is in the database: nothing lost, nothing doubled.

``python -m benchmarks.faults_ingest --kills 100 --candles 200000 --posts 20000`` kills a sink 100 times with -9.
``--victim broker|postgres`` kills those instead; ``--victim stop`` stops a sink (SIGSTOP) past its session and wakes it
after another has taken over. ``--broker HOST:PORT`` or ``--broker-command "COMMAND"`` (with ``{port}``) take another broker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from benchmarks.streams import START, Servers, candle_bars, servers, wait_for
from db.queries import revisions
from moodtape.servers.common import answers, free_port
from streaming.feed import Waiter
from streaming.kafka_broker import KafkaBroker
from streaming.messages import Message, PostMessage, bar_message
from streaming.service import Service
from streaming.settings import StreamingSettings

MARKETS, POST_LANES = 20, 4


class Steady:
    """A finite source: candles of 20 markets and posts of 4 sources, spread evenly over about ``seconds``."""

    name = "steady"
    live = False

    def __init__(self, candles: int, posts: int, seconds: float) -> None:
        self._ends = {f"steady/m{n}": candles // MARKETS for n in range(MARKETS)}
        self._ends |= {f"steady/p{n}": posts // POST_LANES for n in range(POST_LANES)}
        self._seconds = seconds
        self._bars = candle_bars(candles // MARKETS).tolist()

    def lanes(self) -> Mapping[str, int]:
        return dict.fromkeys(self._ends, 0)

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at = dict(cursors)
        while any(at[lane] < end for lane, end in self._ends.items()):
            out: list[Message] = []
            for lane, end in self._ends.items():
                upto = min(end, at[lane] + max(1, round(end * 0.2 / self._seconds)))
                out += [self._message(lane, row) for row in range(at[lane], upto)]
                at[lane] = upto
            yield out
            await wait.sleep(0.2)

    def _message(self, lane: str, row: int) -> Message:
        number = int(lane[len("steady/m") :])
        if lane.startswith("steady/p"):
            text = f"bitcoin number {row} of {number}"
            return PostMessage(f"s{number}:{row}", f"s{number}", text, START + row, lane=lane, after=row, upto=row + 1)
        key = ("steady", "spot", f"C{number}/USDT", "1m")
        return bar_message(key, START + 60 * row, self._bars[row], lane, row, row + 1)


class Flow:
    """The feed on a thread of its own."""

    def __init__(self, stack: Servers, source: Steady) -> None:
        settings = StreamingSettings(bootstrap=stack.bootstrap, data_dir=str(stack.folder))
        self.service = Service(
            stack.engine, KafkaBroker(stack.bootstrap), settings, sources=[source], sink=False, once=True, kind=""
        )
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self.service.run())
        except BaseException as error:
            self.error = error


def kill_sinks(stack: Servers, kills: int, flow: Flow, seed: int) -> list[float]:
    """Kill -9 one of two sinks again and again, while rows move; returns the seconds until rows moved again."""
    chance, sinks, healed = random.Random(seed), [stack.sink(), stack.sink()], []
    for number in range(kills):
        moving(stack, flow)
        time.sleep(chance.random())
        victim = number % 2
        sinks[victim].kill()
        sinks[victim].wait()
        began = time.monotonic()
        sinks[victim] = stack.sink()
        moving(stack, flow)
        healed.append(time.monotonic() - began)
    return healed


def stop_sinks(stack: Servers, kills: int, flow: Flow, seed: int) -> list[float]:
    """SIGSTOP a sink until the other has taken its partitions, then SIGCONT: its late write must be refused."""
    chance, sinks, healed = random.Random(seed), [stack.sink(), stack.sink()], []
    for number in range(kills):
        moving(stack, flow)
        time.sleep(chance.random())
        victim, began = sinks[number % 2], time.monotonic()
        victim.send_signal(signal.SIGSTOP)
        time.sleep(12)
        moving(stack, flow)
        victim.send_signal(signal.SIGCONT)
        healed.append(time.monotonic() - began - 12)
    return healed


def kill_servers(stack: Servers, kills: int, flow: Flow, kind: str, other: Other | None) -> list[float]:
    """Kill -9 the broker or the database, start it again; returns the seconds until rows moved again."""
    stack.sink()
    healed = []
    for _ in range(kills):
        moving(stack, flow)
        time.sleep(1)
        began = time.monotonic()
        if kind == "broker" and other is not None:
            other.kill()
            other.start()
        else:
            server = stack.postgres if kind == "postgres" else stack.broker
            assert server is not None
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda s=server: not s.running(), 10)  # type: ignore[misc]
            server.start()
        moving(stack, flow)
        healed.append(time.monotonic() - began)
    return healed


def rows(stack: Servers) -> int:
    """Rows stored; 0 growth while the database is away."""
    try:
        return stack.number("select (select count(*) from candles) + (select count(*) from posts)")
    except Exception:
        return -1


def moving(stack: Servers, flow: Flow) -> None:
    """Wait until rows move, or the flow has ended."""
    before = -1
    while before < 0:
        before = rows(stack)
        time.sleep(0.05)
    wait_for(lambda: rows(stack) > before or not flow.thread.is_alive(), 120)


class Other:
    """A broker started by a command, with ``{port}`` in it."""

    def __init__(self, command: str) -> None:
        self.port = free_port()
        self._argv = shlex.split(command.format(port=self.port))
        self.start()

    def start(self) -> None:
        """Start and wait for the port."""
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: answers(self.port), 60)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(20)


@contextmanager
def other_broker(command: str | None) -> Iterator[Other | None]:
    """The broker of a command, for a while."""
    made = Other(command) if command else None
    try:
        yield made
    finally:
        if made:
            made.stop()


def show(stack: Servers, options: argparse.Namespace, other: Other | None) -> dict[str, Any]:
    """Run the flow with its faults and count."""
    with stack.engine.begin() as connection:
        revisions.register(connection, "bench", {})
    per_kill = {"sink": 3.5, "stop": 14.0, "broker": 14.0, "postgres": 8.0}[options.victim]
    seconds = max(10.0, options.kills * per_kill)
    began = time.monotonic()
    flow = Flow(stack, Steady(options.candles, options.posts, seconds))
    if options.victim == "sink":
        healed = kill_sinks(stack, options.kills, flow, options.seed)
    elif options.victim == "stop":
        healed = stop_sinks(stack, options.kills, flow, options.seed)
    else:
        healed = kill_servers(stack, options.kills, flow, options.victim, other)
    flow.thread.join(options.patience)
    sent = sum(feed.sent for feed in flow.service.feeds)
    offsets = stack.stored()
    found = {
        "candles": stack.number("select count(*) from candles"),
        "posts": stack.number("select count(*) from posts"),
        "jobs": stack.number("select count(*) from jobs"),
        "revised": stack.number("select count(*) from candles where revision > 0"),
        "dead_letters": stack.number("select count(*) from dead_letters"),
    }
    markets, lanes = options.candles // MARKETS * MARKETS, options.posts // POST_LANES * POST_LANES
    return {
        **found,
        "lost": markets + lanes - found["candles"] - found["posts"],
        "doubled": found["revised"] + found["jobs"] - found["posts"],
        "sent": sent,
        "offsets": offsets,
        "kills": options.kills,
        "victim": options.victim,
        "broker": "other" if other or options.broker else "embedded",
        "healed_seconds": {"median": _at(healed, 0.5), "worst": _at(healed, 1.0)},
        "seconds": round(time.monotonic() - began, 1),
        "ended": not flow.thread.is_alive() and flow.error is None,
    }


def _at(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[int((len(ordered) - 1) * share)], 2) if ordered else None


def run(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole show for some arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--candles", type=int, default=20_000)
    parser.add_argument("--posts", type=int, default=2_000)
    parser.add_argument("--victim", choices=("sink", "stop", "broker", "postgres"), default="sink")
    parser.add_argument("--broker", help="host:port of a running broker")
    parser.add_argument("--broker-command", help="command that runs a broker on {port}")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds for the flow to end after the last fault"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    options = parser.parse_args(arguments)
    with other_broker(options.broker_command) as other:
        bootstrap = f"127.0.0.1:{other.port}" if other else options.broker
        with servers(bootstrap) as stack:
            return show(stack, options, other)


def main() -> None:
    """Command line; exits 1 when something was lost or doubled."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    found = run()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(0 if found["ended"] and not found["lost"] and not found["doubled"] else 1)


if __name__ == "__main__":
    main()
