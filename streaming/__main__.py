"""``python -m streaming``: the streams as a service – feed and sink, or one of them."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.entry import begin

    begin()

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from sqlalchemy import Engine

from db.engine import make_engine
from domain.clock import Clock, SystemClock
from domain.errors import InputError
from runtime.entry import told
from runtime.health import Heartbeat, serving
from runtime.logs import configure
from streaming.feed import Source
from streaming.files.tables import cut_of
from streaming.kafka import KafkaBroker
from streaming.replay import Replay
from streaming.service import Service
from streaming.settings import StreamingSettings
from streaming.synthetic import Synthetic
from workers.client.queue import ScoringClient

log = structlog.get_logger()


def main(
    replay: Annotated[
        list[Path] | None, typer.Option(help="directory or file with candles and posts; repeatable")
    ] = None,
    speed: Annotated[float, typer.Option(min=0, help="times real time; 0 is as fast as it goes")] = 1.0,
    since: Annotated[str | None, typer.Option(help="replay from this time")] = None,
    until: Annotated[str | None, typer.Option(help="replay up to before this time")] = None,
    symbols: Annotated[str, typer.Option(help="replay these markets only, separated by commas")] = "",
    live: Annotated[bool, typer.Option("--live", help="real exchanges and post sources")] = False,
    role: Annotated[str, typer.Option(help="all, feed or sink")] = "all",
    once: Annotated[
        bool, typer.Option("--once", help="end when the replay has been stored; prints its counts")
    ] = False,
    score: Annotated[bool, typer.Option(help="hand replayed posts to the scoring queue")] = True,
) -> None:
    """Carry candles and posts through Kafka into PostgreSQL; without options a synthetic demo feed plays."""
    configure("streaming")
    logging.getLogger("kafka").setLevel(logging.ERROR)  # it warns of every busy moment of its own loop
    with told("streaming"):
        if role not in ("all", "feed", "sink"):
            raise InputError(f"--role is all, feed or sink, not “{role[:20]}”.")
        settings, clock, engine = StreamingSettings(), SystemClock(), make_engine()
        sources: list[Source]
        if role == "sink":
            kind, sources = "synthetic", []
        elif replay:
            cut = cut_of(since, until, symbols)
            kind, sources = "replay", [Replay(replay, clock, speed=speed, cut=cut, score=score, replayed=True)]
        else:
            kind, sources = _endless(settings, clock, engine, live=live)
        asyncio.run(_serve(settings, engine, kind, sources, sink=role != "feed", once=once))


def _endless(settings: StreamingSettings, clock: Clock, engine: Engine, *, live: bool) -> tuple[str, list[Source]]:
    if live:
        from streaming.live import live_sources  # ccxt costs a second and 100 MB that the demo does not need

        return "live", live_sources(settings, clock, engine)
    return "synthetic", [Synthetic(settings.synthetic_seed, clock)]


async def _serve(
    settings: StreamingSettings, engine: Engine, kind: str, sources: list[Source], *, sink: bool, once: bool
) -> None:
    broker = KafkaBroker(settings.kafka_bootstrap, settings.stream_member)
    scoring = ScoringClient(engine)
    service = Service(engine, broker, settings, sources=sources, kind=kind, sink=sink, scoring=scoring, once=once)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    try:
        beating = Heartbeat("streaming").beating(lambda: service.healthy, service.detail)
        ready = serving(
            settings.stream_metrics_port, lambda: service.healthy, settings.metrics_host, lambda: service.troubles
        )
        with beating, ready:
            await service.run()
    finally:
        broker.close()
        scoring.close()
        engine.dispose()
    if once:
        sys.stdout.write(json.dumps(service.summary()) + "\n")


if __name__ == "__main__":
    typer.run(main)
