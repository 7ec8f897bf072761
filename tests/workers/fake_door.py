"""A door's process: asks about one text twice and prints both labels: ``python -m tests.workers.fake_door TEXT``."""

from __future__ import annotations

import sys

from db.engine import make_engine
from domain.clock import SystemClock
from workers.client.analyze import Request, analyze
from workers.client.queue import ScoringClient

if __name__ == "__main__":
    engine = make_engine()
    client = ScoringClient(engine)
    client._champion = (float("inf"), "fake")
    clock = SystemClock()
    for _ in range(2):
        answer = analyze(engine, client, Request(sys.argv[1]), clock=clock, deadline=20)
        sys.stdout.write(answer["emotions"]["label"] + "\n")
    client.close()
    engine.dispose()
