"""`moodtape status` and `moodtape down`: the running stack seen and ended from outside."""

from __future__ import annotations

import signal
import time
from typing import Any

from domain.errors import Unavailable
from moodtape.servers import Broker, Postgres, Redis, processes
from moodtape.state import MARK, State

NOT_RUNNING = "moodtape is not running; start it with `make run`."


def current(state: State) -> dict[str, Any]:
    """The state as it is now: what was recorded, with the dead left out; ``running`` and ``ready`` are always there."""
    seen = state.read()
    running = state.supervisor() is not None
    if not running:
        return {
            "running": False,
            "ready": False,
            "data_dir": str(state.data_dir),
            "supervisor": None,
            "servers": [],
            "services": [],
        }
    for part in (*seen["servers"], *seen["services"]):
        if part.get("kind") != "external" and not processes.same(part["pid"], part["born"]):
            part["ready"] = False
    needed = [service for service in seen["services"] if not service["optional"]]
    ready = seen["ready"] and all(part["ready"] for part in needed)
    return {**seen, "running": True, "ready": bool(ready)}


def public(seen: dict[str, Any]) -> dict[str, Any]:
    """What `status --json` prints: servers and services in one list, without the addresses, which hold passwords."""
    rows = [{"kind": "service", **part} for part in seen["services"]]
    told = {name: value for name, value in seen.items() if name not in ("addresses", "servers")}
    return {**told, "services": [*seen["servers"], *rows]}


def addresses(state: State) -> dict[str, str]:
    """Where the running stack's servers are, by variable name.

    Raises:
        Unavailable: no stack runs on this data directory.
    """
    seen = current(state)
    if not seen["running"] or not seen.get("addresses"):
        raise Unavailable(NOT_RUNNING)
    return dict(seen["addresses"])


def down(state: State, patience: float = 40.0) -> bool:
    """Stop the supervisor, or what a killed one left behind; False when there was nothing to stop."""
    if not state.run.is_dir():
        return False
    pid = state.supervisor()
    found = pid is not None
    if pid is not None:
        born = (state.read().get("supervisor") or {}).get("born")
        processes.end(pid, str(born), signal.SIGTERM, patience)
        deadline = time.monotonic() + 5.0
        while not state.free() and time.monotonic() < deadline:
            time.sleep(0.05)
    left = processes.marked(MARK, state.token)
    processes.end_all(left, patience=10.0)
    for kind in (Redis, Broker, Postgres):
        server = kind(state.data_dir)
        found = server.stop() or found
    return found or bool(left)
