"""What the benchmarks of the streams share: embedded servers for a while, sink processes, messages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr
from sqlalchemy import Engine, text

from db.engine import DatabaseSettings, make_engine
from db.migrate import upgrade
from domain.candles import MarketKey
from moodtape.servers import Broker, Postgres
from streaming.messages import CandleMessage, Outgoing, candle_message, outgoing

START = 1_700_000_040
STEP = 60


@dataclass
class Servers:
    """A database and a broker, and the environment that names them."""

    folder: Path
    postgres: Postgres
    broker: Broker | None
    bootstrap: str
    engine: Engine
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.postgres.url,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "MOODTAPE_DATA_DIR": str(self.folder),
        }

    def sink(self, **env: str) -> subprocess.Popen[bytes]:
        """Start one more consumer process, with more variables if need be; its log lies beside the servers'."""
        argv = [sys.executable, "-m", "streaming", "--role", "sink"]
        with (self.folder / "sink.log").open("ab") as log:
            child = subprocess.Popen(argv, env=self.env | env, stderr=log)
        self.children.append(child)
        return child

    def logged(self, words: str) -> int:
        """How often the sinks have said this."""
        return self.log.count(words)

    @property
    def log(self) -> str:
        """What the sinks have said."""
        path = self.folder / "sink.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def number(self, query: str) -> int:
        """One number from the database."""
        with self.engine.connect() as connection:
            return int(connection.execute(text(query)).scalar() or 0)

    def stored(self) -> int:
        """Messages stored, by the offsets."""
        return self.number("select coalesce(sum(next_offset), 0) from stream_offsets")


@contextmanager
def servers(bootstrap: str | None = None, durable: bool = True) -> Iterator[Servers]:
    """Postgres (and the packaged broker, unless ``bootstrap`` names another) in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="moodtape-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        postgres = Postgres(folder, tied=True, durable=durable)
        broker = None if bootstrap else Broker(folder, tied=True)
        try:
            postgres.start()
            address = bootstrap or broker.start()  # type: ignore[union-attr]
            settings = DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(postgres.url)})
            upgrade(settings)
            made = Servers(folder, postgres, broker, address, make_engine(settings))
            try:
                yield made
            except BaseException:
                sys.stderr.write(made.log[-6000:])
                raise
            finally:
                _end(made.children)
                made.engine.dispose()
        finally:
            if broker:
                broker.stop()
            postgres.stop()


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask all to end, insist after a while."""
    for child in children:
        child.send_signal(signal.SIGCONT)
        child.terminate()
    for child in children:
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(done: Callable[[], bool], seconds: float, every: float = 0.05) -> float:
    """Seconds until ``done()``.

    Raises:
        TimeoutError: it did not happen in time.
    """
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - start


def candle_bars(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A random walk: float64[count, 5] OHLCV."""
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.001, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0005, np.minimum(opened, close) * 0.9995
    return np.round(np.stack([opened, high, low, close, generator.random(count) * 10], axis=1), 5)


def singles(symbols: int, minutes: int) -> Iterator[Outgoing]:
    """One candle a message, minute by minute over the symbols, each market a stream that counts epoch seconds."""
    bars = [candle_bars(minutes, seed).tolist() for seed in range(symbols)]
    return (_single(number, bars[number][minute], minute) for minute in range(minutes) for number in range(symbols))


def _single(number: int, bar: list[float], minute: int) -> Outgoing:
    at = START + STEP * minute
    opened, high, low, close, volume = bar
    name, stream = f"C{number}/USDT", f"bench/{number}"
    return outgoing(
        CandleMessage("bench", name, at, opened, high, low, close, volume, stream=stream, after=at - STEP, upto=at)
    )


def blocks(symbols: int, minutes: int, size: int) -> Iterator[Outgoing]:
    """``size`` candles a message."""
    bars = [candle_bars(minutes, seed) for seed in range(symbols)]
    parts = [slice(first, first + size) for first in range(0, minutes, size)]
    return (_block(number, bars[number][part], part.start) for part in parts for number in range(symbols))


def _block(number: int, bars: np.ndarray[Any, np.dtype[np.float64]], first: int) -> Outgoing:
    at = START + STEP * np.arange(first, first + len(bars))
    key = MarketKey("bench", "spot", f"C{number}/USDT")
    return outgoing(candle_message(key, at.tolist(), bars, f"bench/{number}", int(at[0]) - STEP, int(at[-1])))
