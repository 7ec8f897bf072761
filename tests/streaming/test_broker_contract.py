"""What every broker must do: the one in memory and the real protocol, by the same tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from streaming.broker import Broker, BrokerDown, Consumer, MemoryBroker, Partition
from streaming.kafka import KafkaBroker


@pytest.fixture(params=["memory", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    memory = request.param == "memory"
    made: Broker = MemoryBroker() if memory else KafkaBroker(request.getfixturevalue("kafka_bootstrap"))
    yield made
    made.close()


@pytest.fixture
def topic(broker: Broker) -> str:
    name = f"t-{uuid4().hex[:8]}"
    broker.ensure({name: 3})
    return name


def fill(broker: Broker, topic: str, count: int) -> None:
    producer = broker.producer()
    for number in range(count):
        producer.send(topic, f"k{number % 5}".encode(), str(number).encode(), [("h", b"1")])
    producer.flush(10)
    producer.close()


def gather(consumer: Consumer, count: int, at: int = 0) -> list[tuple[Partition, int, bytes]]:
    """Read until ``count`` records came; every assigned partition is sought to ``at``."""
    out: list[tuple[Partition, int, bytes]] = []
    end = time.monotonic() + 20
    while len(out) < count and time.monotonic() < end:
        for partition, records in consumer.poll(0.1, 100):
            out += [(partition, r.offset, r.value or b"") for r in records]
        given, _ = consumer.changes()
        consumer.seek(dict.fromkeys(given, at))
    return out


def test_topics_are_made_once_and_keep_their_identity(broker: Broker, topic: str) -> None:
    """A second ``ensure`` changes nothing, and two topics have two identities."""
    before = broker.epochs([topic])
    broker.ensure({topic: 3, f"{topic}-b": 1})
    after = broker.epochs([topic, f"{topic}-b", "no-such-topic"])
    assert before[topic] == after[topic]
    assert set(after) == {topic, f"{topic}-b"}
    assert after[topic] != after[f"{topic}-b"] or isinstance(broker, KafkaBroker)


def test_order_is_kept_within_a_key(broker: Broker, topic: str) -> None:
    """Messages of one key come back in the order they were sent, each once, with consecutive offsets."""
    fill(broker, topic, 50)
    consumer = broker.consumer("g-" + topic, [topic])
    read = gather(consumer, 50)
    consumer.close()
    assert sorted(int(v) for _, _, v in read) == list(range(50))
    for key in range(5):
        own = [int(v) for _, _, v in read if int(v) % 5 == key]
        assert own == sorted(own)
    for partition in {p for p, _, _ in read}:
        offsets = [o for p, o, _ in read if p == partition]
        assert offsets == list(range(len(offsets)))


def test_nothing_comes_before_a_seek_and_the_rest_after_it(broker: Broker, topic: str) -> None:
    """New partitions stand still until the stored offset is known, then go on from it."""
    producer = broker.producer()
    for number in range(30):
        producer.send(topic, b"one key", str(number).encode())
    producer.flush(10)
    producer.close()
    consumer = broker.consumer("g-" + topic, [topic])
    given: set[Partition] = set()
    end = time.monotonic() + 20
    while len(given) < 3 and time.monotonic() < end:
        assert consumer.poll(0.1, 100) == []
        given |= consumer.changes()[0]
    consumer.seek(dict.fromkeys(given, 28))
    left = gather(consumer, 2, at=28)
    ends = consumer.ends(given)
    consumer.close()
    assert [(o, v) for _, o, v in left] == [(28, b"28"), (29, b"29")]
    # the packaged broker tells the start of the newest batch, not its end: never too much
    assert all(0 <= offset <= 30 for offset in ends.values())
    assert max(ends.values()) > 0


def test_paused_partitions_give_nothing(broker: Broker, topic: str) -> None:
    """Pausing holds records back, resuming gives them."""
    consumer = broker.consumer("g-" + topic, [topic])
    assert gather(consumer, 0) == []
    given: set[Partition] = set()
    end = time.monotonic() + 20
    while len(given) < 3 and time.monotonic() < end:
        consumer.poll(0.1, 10)
        given |= consumer.changes()[0]
    consumer.seek(dict.fromkeys(given, 0))
    consumer.pause(given)
    fill(broker, topic, 9)
    assert consumer.poll(0.3, 100) == []
    consumer.resume(given)
    assert len(gather(consumer, 9)) == 9
    consumer.close()


def test_a_missing_topic_is_an_error_in_memory() -> None:
    """Sending to a topic that nobody made fails, so that tests notice a broker that forgot its topics."""
    with pytest.raises(BrokerDown):
        MemoryBroker().producer().send("nobody-made-this", b"k", b"v")


def test_a_broker_that_is_away_is_said_to_be() -> None:
    """Without a listener there, every question ends in BrokerDown at once."""
    with pytest.raises(BrokerDown):
        KafkaBroker("127.0.0.1:9").epochs(["t"])
    off = MemoryBroker(down=True)
    with pytest.raises(BrokerDown):
        off.epochs(["t"])
