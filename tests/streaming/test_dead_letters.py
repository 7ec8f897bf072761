"""Dead letters from end to end: bad input on real topics, its reason and bytes in the table and on the topic, 70 at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db.queries import revisions, streams
from db.queries.streams import DeadLetter
from streaming import housekeeping
from streaming.broker import BrokerDown, MemoryBroker, Partition
from streaming.housekeeping import produce_due, replay
from streaming.kafka import KafkaBroker
from streaming.messages import CANDLES, DEAD_LETTERS, POSTS, TOPICS
from tests.streaming.kit import count
from tests.streaming.test_decode import BLOCK, CANDLE, POST, with_

NOW = int(time.time())
BAD: list[tuple[str, bytes, str]] = [
    (CANDLES, b'{"exchange": "binance", "sym', "truncated"),
    (CANDLES, with_(CANDLE, close=...), "missing required field"),
    (CANDLES, with_(CANDLE, close=float("nan")), "malformed"),
    (CANDLES, with_(CANDLE, close=-3.0, low=-3.0), "zero or negative"),
    (CANDLES, with_(CANDLE, at=1_700_000_040_000_000), "microseconds"),
    (CANDLES, with_(CANDLE, at=NOW // 60 * 60 + 86_400), "in the future"),
    (CANDLES, with_(BLOCK, close=[-1.0]), "zero or negative"),
    (POSTS, with_(POST, text="bit\0coin"), "NUL"),
    (POSTS, b'{"id": "x:9", "source": "x", "at": 1700000000, "text": "up \\ud83d"}', "surrogate"),
    (POSTS, with_(POST, text="bitcoin " * 131_072), "at most 524,288"),
]


def letter(number: int, reason: str = "no words") -> DeadLetter:
    return DeadLetter(POSTS, 0, number, "e", b"k", f"bad {number}".encode(), reason)


def keep(engine: Engine, *numbers: int) -> None:
    with engine.begin() as connection:
        streams.keep(connection, [letter(n) for n in numbers])


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.ensure(TOPICS)
    return broker


def test_letters_follow_onto_their_topic(engine: Engine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Original bytes and key, the reason and where they came from in the headers; each once while nothing breaks."""
    monkeypatch.setattr(housekeeping, "AT_ONCE", 2)
    keep(engine, 1, 2, 3)
    assert (produce_due(engine, broker), produce_due(engine, broker)) == (3, 0)
    sent = broker.logs[Partition(DEAD_LETTERS, 0)]
    assert [r.value for r in sent] == [b"bad 1", b"bad 2", b"bad 3"]
    headers = dict(sent[1].headers)
    assert (headers["reason"], headers["topic"], headers["offset"]) == (b"no words", b"posts", b"2")
    assert sent[1].key == b"k"


def test_a_broker_that_is_away_leaves_letters_due(engine: Engine, broker: MemoryBroker) -> None:
    """Nothing is marked that was not acknowledged, neither on the way to the topic nor in a replay."""
    keep(engine, 1)
    broker.down = True
    for work in (lambda: produce_due(engine, broker), lambda: replay(engine, broker, None)):
        with pytest.raises(BrokerDown):
            work()
    broker.down = False
    assert (produce_due(engine, broker), replay(engine, broker, None)) == (1, 1)


def test_a_replay_is_idempotent(engine: Engine, broker: MemoryBroker) -> None:
    """A letter goes back to its own topic once, however often one asks, and carries its id."""
    keep(engine, 1, 2, 3)
    with engine.connect() as connection:
        newest = streams.find(connection)[0].id
    assert [replay(engine, broker, [newest]), replay(engine, broker, [newest]), replay(engine, broker, None)] == [
        1,
        0,
        2,
    ]
    back = [r for p, log in broker.logs.items() if p.topic == POSTS for r in log]
    assert [r.value for r in back] == [b"bad 3", b"bad 1", b"bad 2"]
    assert dict(back[0].headers) == {"replayed": str(newest).encode()}


def test_a_replay_of_all_ends_while_letters_come_back(
    engine: Engine, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sink refuses again while the replay runs is a new letter, left to the next replay."""
    monkeypatch.setattr(housekeeping, "AT_ONCE", 2)
    keep(engine, *range(4))
    producer, flushed = broker.producer, []

    def refusing() -> Any:
        made = producer()
        flush = made.flush

        def then_refuse(timeout: float) -> None:
            flush(timeout)
            flushed.append(timeout)
            assert len(flushed) < 10, "the replay does not end"
            keep(engine, 100 + 2 * len(flushed), 101 + 2 * len(flushed))

        monkeypatch.setattr(made, "flush", then_refuse)
        return made

    monkeypatch.setattr(broker, "producer", refusing)
    assert replay(engine, broker, None) == 4
    assert count(engine, "select count(*) from dead_letters where replayed_at is null") == 2 * len(flushed)


@contextmanager
def sink(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-m", "streaming", "--role", "sink"], env=env, stderr=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def eventually(engine: Engine, query: str, wanted: Any, child: subprocess.Popen[bytes]) -> None:
    """Wait for the database to say so, while the sink lives."""
    for _ in range(1200):
        if count(engine, query) == wanted:
            return
        assert child.poll() is None, child.stderr.read().decode() if child.stderr else ""
        time.sleep(0.05)
    raise AssertionError(f"{query} gives {count(engine, query)}, not {wanted}")


def on_topic(broker: KafkaBroker, wanted: int) -> list[Any]:
    """What lies on the topic of dead letters."""
    reader, found = broker.consumer("reads-letters", (DEAD_LETTERS,)), []
    for _ in range(300):
        given, _ = reader.changes()
        reader.seek(dict.fromkeys(given, 0))
        found += [record for chunk in reader.poll(0.1, 1000) for record in chunk.records]
        if len(found) >= wanted:
            break
    reader.close()
    return found


@pytest.mark.stack
def test_bad_input_on_real_topics(
    tmp_path: Path, database_url: str, engine: Engine, fresh_kafka: str, redis_url: str
) -> None:
    """Each bad message: reason and bytes in the table and on the topic, the row after it stored; a flood ends with 70."""
    env = os.environ | {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP": fresh_kafka, "REDIS_URL": redis_url}
    env |= {"MOODTAPE_DATA_DIR": str(tmp_path)}
    with engine.begin() as connection:
        revisions.register(connection, "test", {})
    broker = KafkaBroker(fresh_kafka)
    broker.ensure(TOPICS)
    producer = broker.producer()
    good = {CANDLES: CANDLE, POSTS: POST}
    for number, (topic, payload, _) in enumerate(BAD):
        producer.send(topic, b"k", payload)
        named = {"id": f"x:good{number}"} if topic == POSTS else {"symbol": f"C{number}/USDT"}
        producer.send(topic, b"k", json.dumps(good[topic] | named).encode())
    producer.flush(30)
    with sink(env) as child:
        eventually(engine, "select (select count(*) from candles) + (select count(*) from posts)", len(BAD), child)
        eventually(engine, "select count(*) from dead_letters where produced_at is not null", len(BAD), child)
        with engine.connect() as connection:
            stored = {bytes(p): r for p, r in connection.execute(text("select payload, reason from dead_letters"))}
        assert set(stored) == {payload for _, payload, _ in BAD}
        assert [words for _, payload, words in BAD if words not in stored[payload]] == []
        found = on_topic(broker, len(BAD))
        assert {(r.value, dict(r.headers)["reason"].decode()) for r in found} == set(stored.items())
        for number in range(150):
            producer.send(POSTS, b"k", f"flood {number}".encode())
        producer.flush(30)
        producer.close()
        assert child.wait(60) == 70
        assert child.stderr is not None
        assert b"moodtape dlq list" in child.stderr.read()
    broker.close()
    assert count(engine, "select count(*) from dead_letters where payload like 'flood%'") >= 100
    assert count(engine, "select count(*) from dead_letters where produced_at is null") == 0
