"""Break the streams while candles and posts flow, and count what is in the database: nothing lost, nothing doubled.

``python -m benchmarks.faults_ingest --kills 100 --candles 200000 --posts 20000`` kills a sink 100 times with -9. Other
faults by ``--victim``: ``members`` (three sinks, of which one leaves, by SIGTERM and kill -9 in turn, and another joins),
``stop`` (SIGSTOP of a sink that holds rows until another has taken over, then SIGCONT: its late write must be refused),
``broker`` and ``postgres`` (kill -9, started again as a supervisor would), ``hole`` (a proxy before PostgreSQL swallows
every byte). ``--broker HOST:PORT`` or ``--broker-command "COMMAND"`` (with ``{port}`` and ``{folder}``) take another broker.
Recovery is the time until every partition has moved again. Every write is counted by triggers; see :mod:`benchmarks.tally`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import make_url

from benchmarks import tally
from benchmarks.flow import MARKETS, POST_STREAMS, Eye, Flow, Hole, Other, Steady, other_broker, ready
from benchmarks.streams import Servers, servers, wait_for
from db.engine import DatabaseSettings, make_engine
from db.queries import revisions
from moodtape.servers.common import free_port

HOLE_SECONDS = 15.0
TRIES = 4
"""Stops that may in turn catch a sink with nothing in hand, so that it has nothing to write late."""
REFUSED = ("another consumer moved the offsets", "another consumer has the partitions")


@dataclass
class Show:
    """One run: what breaks things, and what it saw."""

    stack: Servers
    flow: Flow
    eye: Eye
    other: Other | None
    kills: int
    chance: random.Random
    hole: Hole | None = None
    healed: list[float] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    stops_made: int = 0
    fenced: int = 0
    """Faults after which a late write was refused, by whichever sink."""

    def pace(self, done: int, guess: float) -> None:
        """Spread the rows over the faults to come, at the seconds that one has taken so far."""
        each = (time.monotonic() - self.began) / done if done else guess
        self.flow.source.spread(1.1 * each * (self.kills - done))

    def sinks(self) -> None:
        """Kill -9 two sinks within a second of each other, again and again; each is started again at once by its name."""
        names = ("one", "two")
        running = [self.stack.sink(MOODTAPE_STREAM_MEMBER=name) for name in names]
        self._assigned(2)
        for number in range(self.kills):
            self.pace(number, 4.0)
            time.sleep(self.chance.random())
            place = number % 2
            _kill(running[place])
            running[place] = self.stack.sink(MOODTAPE_STREAM_MEMBER=names[place])
            if place or number == self.kills - 1:
                self.healed.append(self.eye.recover())

    def members(self) -> None:
        """Three sinks; one leaves, the others take its partitions, another joins."""
        running = [self.stack.sink() for _ in range(3)]
        self._assigned(3)
        for number in range(self.kills):
            self.pace(number, 12.0)
            time.sleep(self.chance.random())
            leaver = running.pop(0)
            if number % 2:
                _kill(leaver)
            else:
                leaver.terminate()
            self.healed.append(self.eye.recover())
            leaver.wait(20)
            known = self.stack.logged("partitions assigned")
            running.append(self.stack.sink())
            self._assigned(known + 1)
            self.healed.append(self.eye.recover())

    def stops(self) -> None:
        """SIGSTOP a sink, every other time in mid-transaction, until each time one had a late write refused."""
        running = [self.stack.sink(MOODTAPE_STREAM_LINGER="1.0") for _ in range(2)]
        self._assigned(2)
        for number in range(self.kills):
            refused, tries = self.late, 0
            while self.late == refused and tries < TRIES:
                self.pace(number, 20.0)
                time.sleep(1 + self.chance.random())
                self._stop(running[number % 2], in_transaction=number % 2 == 1)
                tries += 1
            self.stops_made += tries
            self.fenced += self.late > refused

    def _stop(self, victim: subprocess.Popen[bytes], in_transaction: bool) -> None:
        """Stop a sink, let it go on when another has taken over, and wait until both work again."""
        if in_transaction:
            self._stop_in_transaction(victim)
        else:
            victim.send_signal(signal.SIGSTOP)
        self.healed.append(self.eye.recover())
        known = self.stack.logged("partitions assigned")
        victim.send_signal(signal.SIGCONT)
        self._assigned(known + 1)
        self.eye.recover()

    @property
    def late(self) -> int:
        """Late writes refused so far."""
        return sum(map(self.stack.logged, REFUSED))

    def _stop_in_transaction(self, victim: subprocess.Popen[bytes]) -> None:
        """Hold the offsets until both sinks wait for them in their transactions, stop one, let go."""
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%stream_offsets%'"
        )
        with self.stack.engine.connect() as holder:
            holder.exec_driver_sql("lock table stream_offsets in share row exclusive mode")
            wait_for(lambda: self.stack.number(waiting) >= 2, 30)
            victim.send_signal(signal.SIGSTOP)

    def servers(self, kill: Callable[[], None]) -> None:
        """Kill -9 a server and start it again."""
        self.stack.sink(MOODTAPE_STREAM_MEMBER="one")
        self._assigned(1)
        for number in range(self.kills):
            self.pace(number, 12.0)
            time.sleep(self.chance.random())
            began = time.monotonic()
            kill()
            started = time.monotonic() - began
            self.healed.append(started + self.eye.recover())

    def kill_postgres(self) -> None:
        """Its postmaster; the others of its processes follow it."""
        self._kill_embedded(self.stack.postgres)

    def kill_broker(self) -> None:
        """The packaged broker loses its memory, another one keeps its log."""
        if self.other is not None:
            self.other.kill()
            self.other.start()
        else:
            self._kill_embedded(self.stack.broker)

    def holes(self) -> None:
        """Swallow all bytes between the streams and PostgreSQL; noticed is when the sink calls itself not ready."""
        assert self.hole is not None
        port = free_port()
        self.stack.sink(DATABASE_URL=_through(self.stack, self.hole), MOODTAPE_STREAM_METRICS_PORT=str(port))
        self._assigned(1)
        for number in range(self.kills):
            self.pace(number, 25.0)
            wait_for(lambda: ready(port), 30)
            self.hole.swallow(True)
            self.noticed.append(wait_for(lambda: not ready(port), 60))
            time.sleep(max(0.0, HOLE_SECONDS - self.noticed[-1]))
            self.hole.swallow(False)
            self.healed.append(self.eye.recover())

    def _kill_embedded(self, server: Any) -> None:
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not server.running(), 10)
        server.start()

    def _assigned(self, times: int) -> None:
        """Wait until sinks have been given partitions so many times in all, and every partition has moved."""
        wait_for(lambda: self.stack.logged("partitions assigned") >= times, 120)
        self.eye.begin()


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _through(stack: Servers, hole: Hole) -> str:
    return make_url(stack.postgres.url).set(port=hole.port).render_as_string(hide_password=False)


def run_show(stack: Servers, options: argparse.Namespace, other: Other | None) -> dict[str, Any]:
    """Run the flow with its faults and count."""
    with stack.engine.begin() as connection:
        revisions.register(connection, "bench", {})
    tally.watch(stack.engine)
    hole = Hole(stack.postgres.port) if options.victim == "hole" else None
    url = _through(stack, hole) if hole else stack.postgres.url
    engine, eye = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": url})), Eye(stack.engine)
    flow = Flow(stack, Steady(options.candles, options.posts), engine)
    show = Show(stack, flow, eye, other, options.kills, random.Random(options.seed), hole)
    faults: dict[str, Callable[[], None]] = {
        "sink": show.sinks,
        "members": show.members,
        "stop": show.stops,
        "broker": lambda: show.servers(show.kill_broker),
        "postgres": lambda: show.servers(show.kill_postgres),
        "hole": show.holes,
    }
    faults[options.victim]()
    under_load = flow.thread.is_alive()
    flow.source.finish()
    flow.thread.join(options.patience)
    eye.stop()
    engine.dispose()
    if hole:
        hole.close()
    return told(show, options) | {"under_load": under_load}


def told(show: Show, options: argparse.Namespace) -> dict[str, Any]:
    """What is in the database, against what was sent, and how long recoveries took."""
    stack, flow = show.stack, show.flow
    rows = options.candles // MARKETS * MARKETS, options.posts // POST_STREAMS * POST_STREAMS
    counted: dict[str, Any] = tally.count(stack, *rows)
    if options.victim == "broker" and show.other is None:  # its log began anew, and the offsets with it
        counted["refused_duplicates"] = None
    return {
        **counted,
        "sent": flow.sent,
        "late_writes_refused": show.late,
        "stops": show.stops_made,
        "stops_fenced": show.fenced,
        "kills": options.kills,
        "victim": options.victim,
        "broker": "other" if show.other or options.broker else "embedded",
        "healed_seconds": spread(show.healed),
        "noticed_seconds": spread(show.noticed),
        "seconds": round(time.monotonic() - show.began, 1),
        "ended": not flow.thread.is_alive() and flow.error is None,
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median and worst."""
    ordered = sorted(values)
    return {"median": round(ordered[len(ordered) // 2], 2), "worst": round(ordered[-1], 2)} if ordered else None


def run(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole show for some arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--candles", type=int, default=20_000)
    parser.add_argument("--posts", type=int, default=2_000)
    parser.add_argument("--victim", choices=("sink", "members", "stop", "broker", "postgres", "hole"), default="sink")
    parser.add_argument("--broker", help="host:port of a running broker")
    parser.add_argument("--broker-command", help="command that runs a broker on {port}, its files in {folder}")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds for the flow to end after the last fault"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="moodtape-broker-") as folder,
        other_broker(options.broker_command, Path(folder)) as other,
        servers(f"127.0.0.1:{other.port}" if other else options.broker) as stack,
    ):
        return run_show(stack, options, other)


def main() -> None:
    """Command line; exits 1 when anything is not as it should be, which ``wrong`` names."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    found = run()
    found["wrong"] = tally.wrong(found)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
