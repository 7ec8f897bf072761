"""What the fault shows share: a steady flow whose pace follows the faults, an eye on every partition, a black hole."""

from __future__ import annotations

import asyncio
import math
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.streams import START, Servers, candle_bars, wait_for
from domain.candles import MarketKey
from moodtape.servers.common import answers, free_port
from streaming.feed import Waiter
from streaming.kafka import KafkaBroker, partition_of
from streaming.messages import Message, PostMessage, candle_message
from streaming.service import Service
from streaming.settings import StreamingSettings

MARKETS, POST_STREAMS = 20, 4
TICK = 0.2
KEPT_BACK = 0.03
"""Share of the rows that flows after the last fault."""


class Steady:
    """A finite source: candles of 20 markets and posts of 4 sources, at the pace that :meth:`spread` sets."""

    name = "steady"
    live = False

    def __init__(self, candles: int, posts: int) -> None:
        self._ends = {f"steady/m{n}": candles // MARKETS for n in range(MARKETS)}
        self._ends |= {f"steady/p{n}": posts // POST_STREAMS for n in range(POST_STREAMS)}
        self._bars = candle_bars(candles // MARKETS)
        self._share = 0.0
        self._pace = 0.002

    def spread(self, seconds: float) -> None:
        """Let what is left, but for the part kept back, last about so long."""
        self._pace = max(0.0, 1 - KEPT_BACK - self._share) / max(seconds, TICK)

    def finish(self) -> None:
        """Give the rest within a few seconds."""
        self._pace = 0.25

    def streams(self) -> Mapping[str, int]:
        return dict.fromkeys(self._ends, 0)

    async def read(self, cursors: Mapping[str, int], wait: Waiter) -> AsyncIterator[Sequence[Message]]:
        at, before = dict(cursors), time.monotonic()
        while any(at[stream] < end for stream, end in self._ends.items()):
            now = time.monotonic()
            self._share, before = min(1.0, self._share + self._pace * (now - before)), now
            out: list[Message] = []
            for stream, end in self._ends.items():
                upto = min(end, math.ceil(end * self._share))
                out += [self._message(stream, row) for row in range(at[stream], upto)]
                at[stream] = max(at[stream], upto)
            yield out
            await wait.sleep(TICK)

    def _message(self, stream: str, row: int) -> Message:
        number = int(stream[len("steady/m") :])
        if stream.startswith("steady/p"):
            words = f"bitcoin number {row} of {number}"
            return PostMessage(
                f"s{number}:{row}", f"s{number}", words, START + row, stream=stream, after=row, upto=row + 1
            )
        key = MarketKey("steady", "spot", f"C{number}/USDT")
        return candle_message(key, [START + 60 * row], self._bars[row : row + 1], stream, row, row + 1)


class Flow:
    """The feed on a thread of its own. ``engine``: its own way to the database."""

    def __init__(self, stack: Servers, source: Steady, engine: Engine) -> None:
        settings = StreamingSettings(kafka_bootstrap=stack.bootstrap)
        broker = KafkaBroker(stack.bootstrap)
        self.source = source
        self.service = Service(engine, broker, settings, sources=[source], sink=False, once=True, kind="")
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self.service.run())
        except BaseException as error:
            self.error = error

    @property
    def sent(self) -> int:
        """Messages produced, those sent again included."""
        return sum(feed.sent for feed in self.service.feeds)


Place = tuple[str, int]
PLACES = len({partition_of(f"steady/m{n}".encode(), 4) for n in range(MARKETS)}) + len(
    {partition_of(f"steady/p{n}".encode(), 4) for n in range(POST_STREAMS)}
)
"""Partitions that the streams fall into."""


class Eye:
    """Looks at the stored offsets of every partition twenty times a second, on a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self.offsets: dict[Place, tuple[str, int]] = {}
        self.looks = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def recover(self, patience: float = 180.0) -> float:
        """Seconds from now until every partition that ever moved has moved once more.

        Raises:
            TimeoutError: a partition stood still all the time.
        """
        began, looks = time.monotonic(), self.looks
        wait_for(lambda: self.looks > looks + 1 or time.monotonic() - began > 0.3, 5)
        before = {place: found for place, found in self.offsets.items() if found[1]}
        wait_for(lambda: all(self._moved(place, *found) for place, found in before.items()), patience)
        return time.monotonic() - began

    def begin(self) -> None:
        """Wait until every partition of posts and candles that will ever move has begun to."""
        wait_for(lambda: sum(n > 0 for _, n in self.offsets.values()) >= PLACES, 120)

    def stop(self) -> None:
        """End the looking."""
        self._stop.set()
        self._thread.join()

    def _moved(self, place: Place, epoch: str, offset: int) -> bool:
        now = self.offsets[place]
        return now[1] > (offset if now[0] == epoch else 0)

    def _run(self) -> None:
        query = text("select topic, partition, epoch, next_offset from stream_offsets")
        while not self._stop.wait(0.05):
            try:
                with self._engine.connect() as connection:
                    self.offsets = {(t, p): (e, n) for t, p, e, n in connection.execute(query)}
                self.looks += 1
            except Exception:
                self._stop.wait(0.1)


class Hole:
    """A TCP proxy in front of a port of the loopback that can swallow every byte, while all its sockets stay open."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._open = True
        self._era = 0
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._listening.wait(10)

    def swallow(self, on: bool) -> None:
        """Connections from before a switch never work again: they have lost bytes."""
        self._era += 1
        self._open = not on

    def close(self) -> None:
        """End every connection."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._listening.set()
        await self._over.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        era = self._era
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._pipe(reader, back, era), self._pipe(there, writer, era))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, era: int) -> None:
        try:
            while data := await reader.read(65536):
                if self._open and era == self._era:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Other:
    """A broker started by a command with ``{port}`` and ``{folder}`` in it."""

    def __init__(self, command: str, folder: Path) -> None:
        self.port = free_port()
        self._argv = shlex.split(command.format(port=self.port, folder=folder))
        self.start()

    def start(self) -> None:
        """Start and wait for the port."""
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: answers(self.port), 300)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def other_broker(command: str | None, folder: Path) -> Iterator[Other | None]:
    """The broker of a command, for a while."""
    made = Other(command, folder) if command else None
    try:
        yield made
    finally:
        if made:
            made.stop()


def ready(port: int) -> bool:
    """Whether the streams that serve their health on this port call themselves ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asked:
            asked.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            return asked.recv(100).split()[1:2] == [b"200"]
    except OSError:
        return False
