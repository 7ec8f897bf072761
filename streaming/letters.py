"""Dead letters on their topic: the table is the truth, the topic follows it, each letter at least once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from db.engine import PATIENCE, transaction
from db.queries import dead_letters
from db.queries.dead_letters import Letter
from streaming.broker import Broker
from streaming.messages import DEAD_LETTERS, TOPICS

AT_ONCE = 200
FLUSH_SECONDS = 10.0
HELD_SECONDS = 20.0
"""Patience of the transaction that holds a portion's rows while the broker takes them: half of what they may be held."""


def produce_due(engine: Engine, broker: Broker) -> int:
    """Send the letters that are stored and not on the topic yet; returns how many.

    A message carries the original bytes as its value, the original key, and reason, topic, partition, offset and id as
    headers. A crash between sending and noting it sends a letter twice; its id tells.

    Raises:
        BrokerDown: not everything was acknowledged; asking again is safe.
        Unavailable: the database is away.
    """
    return _send(engine, broker, None, again=False)


def replay(engine: Engine, broker: Broker, ids: Sequence[int] | None) -> int:
    """Send letters (these, or all) to their own topics once more, as they were; those replayed before are passed over.

    Returns how many were sent.

    Raises:
        BrokerDown: not everything was acknowledged; asking again sends the rest.
    """
    return _send(engine, broker, ids, again=True)


def _send(engine: Engine, broker: Broker, ids: Sequence[int] | None, *, again: bool) -> int:
    """In portions, each noted in the transaction that holds its rows; what is refused meanwhile waits for the next call."""
    sent, after = 0, 0
    with transaction(engine, PATIENCE) as connection:
        last = dead_letters.newest(connection)
    while True:
        with transaction(engine, HELD_SECONDS) as connection:
            step = "replayed_at" if again else "produced_at"
            found = dead_letters.take(connection, step, ids, AT_ONCE, span=(after, last))
            if found:
                broker.ensure(TOPICS)
                producer = broker.producer()
                try:
                    for letter in found:
                        topic = letter.topic if again else DEAD_LETTERS
                        producer.send(topic, letter.key or b"", letter.payload, _headers(letter, again=again))
                    producer.flush(FLUSH_SECONDS)
                finally:
                    producer.close()
        sent += len(found)
        if len(found) < AT_ONCE:
            return sent
        after = found[-1].id


def _headers(letter: Letter, *, again: bool) -> list[tuple[str, bytes]]:
    if again:
        return [("replayed", str(letter.id).encode())]
    told = {"reason": letter.reason, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    return [(name, str(value).encode()) for name, value in {**told, "id": letter.id}.items()]
